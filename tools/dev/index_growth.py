#!/usr/bin/env python3
"""What the global index costs in clusters of 8 to 1024 nodes: traffic, memory and lag, for a full mesh
and with directory nodes. A model, not a measurement: it multiplies what `larder-bench index --json`
measured on one machine with a workload that is stated in its options. Prints a Markdown table."""

import argparse
import json
import sys

CLUSTERS = (8, 64, 256, 1024)
HEARTBEAT_S = 1.0
KEY_BYTES = 16  # of a question to a directory node, a key
ANSWER_BYTES = 8  # and of its answer, a key


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", help="output of larder-bench index --json")
    parser.add_argument("--chunks-per-node", type=float, default=1e6,
                        help="held by each node, memory and disk")
    parser.add_argument("--holders", type=float, default=1.25, help="nodes that hold a chunk, on average")
    parser.add_argument("--events-per-s", type=float, default=200,
                        help="of each node: 50 chunks a second, each stored, moved twice, removed")
    parser.add_argument("--matches-per-s", type=float, default=20, help="of each node")
    parser.add_argument("--keys-per-match", type=float, default=500)
    parser.add_argument("--directories", type=int, default=4, help="nodes that follow all others")
    parser.add_argument("--gather-ms", type=float, default=5,
                        help="a node sends together what comes in this time (daemon/rpc/follow_stream.cc: 5)")
    parser.add_argument("--frame-bytes", type=float, default=120,
                        help="of HTTP/2, TCP and IP around a message, with its acknowledgement")
    parser.add_argument("--message-us", type=float, default=50,
                        help="of a core to receive one message, whatever is in it")
    return parser.parse_args()


class Model:
    def __init__(self, measured, options):
        raw = measured["raw"]
        self.options = options
        self.entry_bytes = measured["bytes_per_entry"]
        self.apply_s = 1 / raw["events_per_s_mean"]
        self.event_bytes = raw["wire_bytes_per_event"]
        self.message_bytes = raw["wire_bytes_per_single_event"] - self.event_bytes
        # Measured with 5 ms of gathering.
        self.lag_s = (raw["event_lag_p50_ms"] + options.gather_ms - 5) / 1000
        self.sync_s = measured["follower_sync_10m_s"] / raw["follower_sync_entries"]

    def messages_per_s(self):
        """Of one node to one follower: what comes within the gathering time shares a message."""
        rate = self.options.events_per_s
        return max(1 / HEARTBEAT_S, rate / (1 + rate * self.options.gather_ms / 1000))

    def stream_bytes_per_s(self):
        return (self.options.events_per_s * self.event_bytes
                + self.messages_per_s() * (self.message_bytes + self.options.frame_bytes))

    def follower(self, nodes):
        """(bytes a second in, share of a core, bytes of memory, lag, seconds to sync) of a node that
        follows all others."""
        others = nodes - 1
        busy = others * (self.options.events_per_s * self.apply_s
                         + self.messages_per_s() * self.options.message_us / 1e6)
        entries = nodes * self.options.chunks_per_node / self.options.holders
        # Events queue for a core that is busy for a share of the time: as in an M/D/1 queue.
        waiting = busy * (self.options.message_us / 1e6) / (2 * (1 - busy)) if busy < 1 else float("inf")
        return (others * self.stream_bytes_per_s(), busy, entries * self.entry_bytes,
                self.lag_s + waiting, others * self.options.chunks_per_node * self.sync_s)

    def questions(self, nodes):
        """Bytes a second of one node's questions to directory nodes, and of all to one of these."""
        one = (self.options.matches_per_s * (self.options.keys_per_match * (KEY_BYTES + ANSWER_BYTES)
                                             + 2 * self.options.frame_bytes))
        asking = max(0, nodes - self.options.directories)
        return one, one * asking / self.options.directories


def rate(value):
    return f"{value / 1e6:.3g} MB/s"


def main():
    options = parse_arguments()
    with open(options.measured) as file:
        model = Model(json.load(file), options)
    if model.apply_s <= 0 or options.holders < 1:
        sys.exit("index_growth.py: the measured figures or the options make no sense")
    print("| nodes | every node follows all: in and out of each | core | memory | lag | new node in sync "
          f"| {options.directories} directories: out of a plain node | questions of a plain node "
          "| questions to a directory |")
    print("|---|---|---|---|---|---|---|---|---|")
    for nodes in CLUSTERS:
        received, busy, memory, lag, sync = model.follower(nodes)
        asked, answered = model.questions(nodes)
        told = min(options.directories, nodes - 1) * model.stream_bytes_per_s()
        print(f"| {nodes} | {rate(received)} | {100 * busy:.2g} % | {memory / 1e9:.3g} GB "
              f"| {'falls behind' if busy >= 1 else f'{lag * 1e3:.2g} ms'} | {sync:.3g} s | {rate(told)} | {rate(asked)} | {rate(answered)} |")


if __name__ == "__main__":
    main()

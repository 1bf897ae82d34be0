// What the TCP transport keeps of transfers, connections, sessions and peers. Everything is guarded
// by the transport's mutex unless it says otherwise.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "transport/peer/frame_receiver.h"
#include "transport/peer/peer_handshake.h"
#include "transport/peer/peer_socket.h"

namespace larder {

// Bytes on their way out: a Write of this side, or the answer to a Read of the peer.
struct Transfer {
  bool is_reply = false;
  uint64_t token = 0;              // of a Write
  RangeList local;                 // the same
  std::shared_ptr<Window> source;  // of a reply
  uint64_t source_offset = 0;
  uint64_t bytes = 0;
  uint64_t window = 0, window_offset = 0;  // the peer's
  PayloadSum sum = PayloadSum::kTransport;
  MonotonicTime deadline;
  uint64_t carved_bytes = 0;  // that pieces were made of
  uint32_t pieces = 0;        // whose memory is in use
  bool stopped = false;       // no more pieces are made
  bool failed = false;
  bool ended = false;
  bool caller_waits = false;  // and learns of the end from Write itself

  const RangeList& ranges() const { return is_reply ? source->ranges : local; }
};

// A frame on its way out. While it is sent it belongs to the thread that sends.
struct OutFrame {
  std::vector<uint8_t> head;        // header and payload; of a piece the header, made when sent
  PeerFrame piece;                  // its header as a value
  std::vector<MemoryRange> ranges;  // its payload that is not sent yet
  size_t next_range = 0;
  bool by_file = false;
  std::shared_ptr<Transfer> transfer;  // whose piece it is
  bool is_message = false;
  size_t head_sent = 0;
  bool busy = false;

  void Advance(uint64_t bytes);
  bool done() const { return head_sent == head.size() && next_range == ranges.size(); }
};

struct Session;

struct Connection {
  enum class Phase : uint8_t {
    kConnecting,
    kAwaitsHello,
    kAwaitsChallenge,
    kAwaitsProof,
    kAwaitsWelcome,
    kProved,  // accepted; the node's older session ends first
    kUp,
    kRefusing,  // the other side reads why, and closes
  };

  Connection(uint64_t io_id, FileDescriptor fd, const SocketOptions& options,
             std::span<uint8_t> memory, uint32_t message_bytes_max)
      : id(io_id), socket(std::move(fd), options), receiver(memory, message_bytes_max) {}

  const uint64_t id;  // of the PeerIo
  const PeerSocket socket;

  // Of the engine's thread alone.
  FrameReceiver receiver;
  bool receiving = false;
  bool awaits_writable = false;
  Phase phase = Phase::kConnecting;
  bool dialled = false;
  PeerHello hello;
  std::vector<uint8_t> hello_bytes, challenge_bytes;
  uint64_t acceptor_epoch = 0;
  MonotonicTime handshake_deadline, last_heard, last_ping;

  // Output.
  bool closed = false;
  bool sending = false;  // a thread is in a system call for `out`, or about to be
  bool blocked = false;  // until the socket is writable again
  int send_error = 0;
  OutFrame out;
  std::deque<std::vector<uint8_t>> control;  // frames of the protocol itself, before all others
  std::deque<std::shared_ptr<Transfer>> untaken;  // pieces that the peer has not confirmed
  uint64_t taken = 0;                             // confirmed by the peer
  uint64_t taken_here = 0;                        // confirmed by this side
  std::shared_ptr<Session> session;
};

struct PendingRead {
  std::shared_ptr<Window> window;
  MonotonicTime deadline;
};

struct Session {
  uint64_t id = 0;
  std::string node;
  uint64_t epoch = 0;
  bool dialled = false;
  bool ended = false;
  std::string why_ended;
  std::vector<std::shared_ptr<Connection>> connections;  // by number; null: not there
  std::deque<std::vector<uint8_t>> messages;             // frames, for connection 0
  uint64_t queued_messages = 0, queued_bytes = 0;        // with what is half sent
  std::deque<std::shared_ptr<Transfer>> waiting;         // still to be made pieces of
  std::set<std::shared_ptr<Transfer>> transfers;         // all under way
  std::map<uint64_t, PendingRead> reads;                 // by reply window
  HeldMessages held;
};

struct Peer {
  bool named = false;
  std::string address;
  std::shared_ptr<Session> session;
  std::shared_ptr<Connection> proved;  // waits for the end of `session`
  // Dialling.
  std::map<uint32_t, std::shared_ptr<Connection>> dials;  // by the connection's number
  uint64_t dial_session = 0;
  bool resolving = false;
  absl::Duration delay;
  MonotonicTime next_dial;
  PeerStats stats;
};

}  // namespace larder

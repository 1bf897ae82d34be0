// A network of the simulation: the peer transport of all nodes at once, with everything that can
// happen to it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "common/random.h"
#include "tests/sim/event_queue.h"
#include "transport/peer/peer_transport.h"

namespace larder {

using SimNodeId = uint32_t;

// As PeerTransport says. A session between two nodes is several connections: messages keep their
// order, bytes of writes come in any; a lost packet that TCP cannot repair ends the session, on
// each side when that side notices. Not thread-safe; owns the events that are under way.
class SimNetwork {
 public:
  // What a node hears. Runs on its host.
  class Port {
   public:
    virtual ~Port() = default;
    virtual void OnPeerUp(SimNodeId node, uint64_t epoch) = 0;
    virtual void OnPeerDown(SimNodeId node, uint64_t epoch) = 0;
    virtual void OnMessage(SimNodeId node, std::vector<uint8_t> payload, uint64_t window) = 0;
    virtual void OnWritten(uint64_t token) = 0;
    virtual void OnWindowClosed(uint64_t window) = 0;
  };

  struct Faults {
    double loses = 0;    // this share of the messages, and the session with them
    double damages = 0;  // this share of the writes: a byte is another one
    absl::Duration jitter = absl::Microseconds(50);
    bool keeps_windows = false;  // the self-test's: closing a window is forgotten
  };

  SimNetwork(EventQueue* queue, uint64_t seed, size_t nodes);

  // The node has started; everything is its own until it is killed.
  void Attach(SimNodeId node, SimHost* host, Port* port, uint64_t epoch, std::span<uint8_t> memory);
  void Detach(SimNodeId node);
  void SetPeers(SimNodeId node, std::set<SimNodeId> peers) { ends_[node].peers = std::move(peers); }

  void Send(SimNodeId from, SimNodeId to, std::vector<uint8_t> payload);
  void SendAfter(SimNodeId from, SimNodeId to, std::vector<uint8_t> payload, uint64_t window,
                 uint64_t window_bytes);
  void Write(SimNodeId from, SimNodeId to, uint64_t token, uint64_t window, uint64_t window_offset,
             const std::vector<MemoryRange>& ranges, MonotonicTime deadline);
  void OpenWindow(SimNodeId node, uint64_t window, SimNodeId writer,
                  const std::vector<MemoryRange>& ranges);
  void CloseWindow(SimNodeId node, uint64_t window);
  // Of the one range that it has; nothing when it is closed.
  std::optional<MemoryRange> WindowRange(SimNodeId node, uint64_t window) const;
  size_t windows(SimNodeId node) const { return ends_[node].windows.size(); }
  bool IsUp(SimNodeId a, SimNodeId b) const;

  // Nothing gets from `from` to `to`. What is under way waits, as TCP repeats it.
  void SetBlocked(SimNodeId from, SimNodeId to, bool blocked);
  bool IsBlocked(SimNodeId from, SimNodeId to) const { return blocked_.contains({from, to}); }
  void SetSlowness(SimNodeId node, double factor) { ends_[node].slowness = factor; }
  // Ends the session of the two, if there is one.
  void Break(SimNodeId a, SimNodeId b);
  // How long a message of so many bytes takes; the sender's line is busy with it meanwhile.
  absl::Duration Delay(SimNodeId from, SimNodeId to, uint64_t bytes);

  Faults faults;

 private:
  struct Window {
    SimNodeId writer = 0;
    std::vector<MemoryRange> ranges;
  };
  struct End {
    SimHost* host = nullptr;
    Port* port = nullptr;
    uint64_t life = 0;
    uint64_t epoch = 0;
    std::span<uint8_t> memory;
    std::set<SimNodeId> peers;
    std::map<uint64_t, Window> windows;
    double slowness = 1;
    MonotonicTime line_free_at;
  };
  struct Held {
    uint64_t bytes = 0;
    std::vector<uint8_t> payload;
  };
  struct Transfer {
    uint32_t pieces = 0;  // that have not arrived
    bool late = false;
  };
  // Index 0 is the node with the smaller number; what a side has sent is in its own place.
  struct Session {
    uint64_t number = 0;
    std::array<SimNodeId, 2> nodes = {};
    std::array<uint64_t, 2> lives = {};
    std::array<uint64_t, 2> epochs = {};
    std::array<bool, 2> open = {};
    std::array<MonotonicTime, 2> heard_at = {};
    std::array<MonotonicTime, 2> last_arrival = {};
    std::array<std::deque<EventQueue::Action>, 2> repeated = {};  // wait for the line
    std::array<std::map<uint64_t, uint64_t>, 2> written = {};     // bytes, by window
    std::array<std::map<uint64_t, std::vector<Held>>, 2> held = {};
    std::array<std::map<uint64_t, Transfer>, 2> transfers = {};  // by token
  };
  using SessionPointer = std::shared_ptr<Session>;

  static std::pair<SimNodeId, SimNodeId> PairOf(SimNodeId a, SimNodeId b) {
    return {std::min(a, b), std::max(a, b)};
  }
  SessionPointer SessionFrom(SimNodeId from, SimNodeId to, size_t* side) const;
  // Runs `action` at the other side of `side` when what was sent now gets there; never, if it is
  // closed there by then.
  void Carry(const SessionPointer& session, size_t side, MonotonicTime arrival,
             EventQueue::Action action);
  void Deliver(const SessionPointer& session, size_t side, std::vector<uint8_t> payload,
               uint64_t window);
  void WritePiece(const SessionPointer& session, size_t side, uint64_t token, uint64_t window,
                  uint64_t window_offset, MemoryRange from, MonotonicTime deadline);
  void EndPiece(const SessionPointer& session, size_t side, uint64_t token, bool late);
  void ReleaseHeld(const SessionPointer& session, size_t side, uint64_t window);
  void Close(const SessionPointer& session, size_t side);
  void Pulse();
  void TryConnect(SimNodeId a, SimNodeId b);

  EventQueue* const queue_;
  SeededRandom random_;
  std::vector<End> ends_;
  std::map<std::pair<SimNodeId, SimNodeId>, SessionPointer> sessions_;
  std::map<std::pair<SimNodeId, SimNodeId>, MonotonicTime> connect_at_;
  std::set<std::pair<SimNodeId, SimNodeId>> blocked_;
  uint64_t next_session_ = 1;
};

}  // namespace larder

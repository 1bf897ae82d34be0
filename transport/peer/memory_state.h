// The state of an in-memory network, which all its nodes share.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "transport/peer/peer_transport.h"
#include "transport/peer/window_table.h"

namespace larder {

using MemoryLock = std::unique_lock<std::mutex>;
// A step of a node, run on its thread with the network locked; it unlocks to call the handler.
using MemoryStep = std::function<void(MemoryLock&)>;

// One session as one of its ends sees it.
struct MemorySession {
  uint64_t id = 0;
  uint64_t peer_epoch = 0;
  uint64_t undelivered_messages = 0, undelivered_bytes = 0;
  HeldMessages held;
  // Transfers of this end: what is to be called when they end.
  std::map<uint64_t, MemoryStep> transfers;
};

struct MemoryMember {
  PeerTransportOptions options;
  PeerMemory memory;
  PeerHandler* handler = nullptr;
  bool paused = false;
  bool leaving = false;
  std::map<std::string, bool> peers;  // name -> whether it is dialled
  std::map<std::string, MemorySession> sessions;
  std::map<std::string, PeerStats> stats;
  std::array<uint64_t, kPeerRefusals> refused = {}, refusals = {};
  WindowTable windows;
  // Steps by the node that caused them, itself included; each is in order and waits for its head.
  struct Waiting {
    MonotonicTime due;
    uint64_t sequence = 0;
    MemoryStep step;
  };
  std::map<std::string, std::deque<Waiting>> steps;
  std::multimap<MonotonicTime, MemoryStep> timers;
  std::condition_variable changed;
};

using MemoryPair = std::pair<std::string, std::string>;

MemoryPair MemoryPairOf(const std::string& one, const std::string& other);

// Everything is guarded by `mutex`, and its functions are called with it held.
struct MemoryNetworkState {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<MemoryMember>> members;
  std::set<MemoryPair> cut;
  std::map<MemoryPair, absl::Duration> delays;
  uint64_t sequence = 0;
  uint64_t next_session = 1;
  uint64_t next_transfer = 1;

  void Post(const std::string& from, MemoryMember& to, MemoryStep step);
  void AddTimer(MemoryMember& member, MonotonicTime due, MemoryStep step);
  bool IsCurrent(const MemoryMember& member) const;
  MemorySession* FindSession(MemoryMember& member, const std::string& node, uint64_t id);
  void EndOneSide(const std::shared_ptr<MemoryMember>& member, const std::string& node,
                  absl::string_view why);
  void EndSession(const std::shared_ptr<MemoryMember>& one, const std::string& node,
                  absl::string_view why);
  // What the acceptor would say to the dialler's hello.
  std::optional<PeerRefusal> Judge(const MemoryMember& dialler, const MemoryMember& acceptor) const;
  // `dialler` tries to reach `node`, and again later when that fails.
  void Connect(const std::shared_ptr<MemoryMember>& dialler, const std::string& node);
  void Begin(const std::shared_ptr<MemoryMember>& member, const MemoryMember& peer, uint64_t id);
  // Ends the session of the two in a while, unless they can hear each other by then.
  void EndUnlessHeard(const std::shared_ptr<MemoryMember>& member, const std::string& node);
};

}  // namespace larder

#include "transport/peer/memory_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

MonotonicTime Now() { return SystemClock::Get().Now(); }

}  // namespace

MemoryPair MemoryPairOf(const std::string& one, const std::string& other) {
  return one < other ? MemoryPair(one, other) : MemoryPair(other, one);
}

void MemoryNetworkState::Post(const std::string& from, MemoryMember& to, MemoryStep step) {
  if (to.leaving) return;
  const auto delay = delays.find(MemoryPairOf(from, to.options.self.node));
  const MonotonicTime due = delay == delays.end() ? MonotonicTime{} : Now() + delay->second;
  to.steps[from].push_back({due, sequence++, std::move(step)});
  to.changed.notify_one();
}

void MemoryNetworkState::AddTimer(MemoryMember& member, MonotonicTime due, MemoryStep step) {
  if (member.leaving) return;
  member.timers.emplace(due, std::move(step));
  member.changed.notify_one();
}

bool MemoryNetworkState::IsCurrent(const MemoryMember& member) const {
  const auto found = members.find(member.options.self.node);
  return found != members.end() && found->second.get() == &member;
}

MemorySession* MemoryNetworkState::FindSession(MemoryMember& member, const std::string& node,
                                               uint64_t id) {
  const auto found = member.sessions.find(node);
  return found != member.sessions.end() && found->second.id == id ? &found->second : nullptr;
}

void MemoryNetworkState::EndOneSide(const std::shared_ptr<MemoryMember>& member,
                                    const std::string& node, absl::string_view why) {
  auto found = member->sessions.extract(node);
  if (found.empty()) return;
  const std::string& self = member->options.self.node;
  for (auto& [id, failed] : found.mapped().transfers) Post(self, *member, std::move(failed));
  member->stats[node].last_error = std::string(why);
  const uint64_t epoch = found.mapped().peer_epoch;
  Post(self, *member, [member, node, epoch, text = std::string(why)](MemoryLock& lock) {
    lock.unlock();
    member->handler->OnPeerDown(node, epoch, text);
    lock.lock();
  });
  AddTimer(*member, Now() + member->options.reconnect_delay_min,
           [this, member, node](MemoryLock&) { Connect(member, node); });
}

void MemoryNetworkState::EndSession(const std::shared_ptr<MemoryMember>& one,
                                    const std::string& node, absl::string_view why) {
  const auto mine = one->sessions.find(node);
  if (mine == one->sessions.end()) return;
  const uint64_t id = mine->second.id;
  EndOneSide(one, node, why);
  const auto other = members.find(node);
  const std::string& self = one->options.self.node;
  if (other != members.end() && FindSession(*other->second, self, id) != nullptr) {
    EndOneSide(other->second, self, why);
  }
}

std::optional<PeerRefusal> MemoryNetworkState::Judge(const MemoryMember& dialler,
                                                     const MemoryMember& acceptor) const {
  const PeerTransportOptions &theirs = dialler.options, &own = acceptor.options;
  if (theirs.self.cluster != own.self.cluster) return PeerRefusal::kCluster;
  if (theirs.secret != own.secret) return PeerRefusal::kSecret;
  if (!acceptor.peers.contains(theirs.self.node)) return PeerRefusal::kUnknownNode;
  return std::nullopt;
}

void MemoryNetworkState::Connect(const std::shared_ptr<MemoryMember>& dialler,
                                 const std::string& node) {
  const auto named = dialler->peers.find(node);
  if (!IsCurrent(*dialler) || named == dialler->peers.end() || !named->second) return;
  if (dialler->sessions.contains(node)) return;
  const std::string self = dialler->options.self.node;
  const auto found = members.find(node);
  const bool reachable = found != members.end() && !cut.contains(MemoryPairOf(self, node)) &&
                         !found->second->paused && !dialler->paused;
  std::optional<PeerRefusal> refusal;
  if (reachable) refusal = Judge(*dialler, *found->second);
  if (!reachable || refusal.has_value()) {
    std::string& error = dialler->stats[node].last_error;
    error = "not reachable";
    if (refusal.has_value()) {
      error = absl::StrCat("refused: ", PeerRefusalName(*refusal));
      ++found->second->refused[static_cast<size_t>(*refusal)];
      ++dialler->refusals[static_cast<size_t>(*refusal)];
    }
    AddTimer(*dialler, Now() + dialler->options.reconnect_delay_min,
             [this, dialler, node](MemoryLock&) { Connect(dialler, node); });
    return;
  }
  const uint64_t id = next_session++;
  Begin(dialler, *found->second, id);
  Begin(found->second, *dialler, id);
}

void MemoryNetworkState::Begin(const std::shared_ptr<MemoryMember>& member,
                               const MemoryMember& peer, uint64_t id) {
  const std::string node = peer.options.self.node;
  const uint64_t epoch = peer.options.self.epoch;
  EndOneSide(member, node, "replaced by a newer session");
  MemorySession& session = member->sessions[node];
  session.id = id;
  session.peer_epoch = epoch;
  PeerStats& stats = member->stats[node];
  ++stats.sessions;
  stats.epoch = epoch;
  Post(member->options.self.node, *member, [member, node, epoch](MemoryLock& lock) {
    lock.unlock();
    member->handler->OnPeerUp(node, epoch);
    lock.lock();
  });
}

void MemoryNetworkState::EndUnlessHeard(const std::shared_ptr<MemoryMember>& member,
                                        const std::string& node) {
  const auto found = member->sessions.find(node);
  if (found == member->sessions.end()) return;
  const uint64_t id = found->second.id;
  AddTimer(*member, Now() + member->options.peer_timeout, [this, member, node, id](MemoryLock&) {
    const auto peer = members.find(node);
    const bool silent = cut.contains(MemoryPairOf(member->options.self.node, node)) ||
                        peer == members.end() || peer->second->paused;
    if (silent && FindSession(*member, node, id) != nullptr) {
      EndOneSide(member, node, "nothing heard for the peer timeout");
    }
  });
}

}  // namespace larder

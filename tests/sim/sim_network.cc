#include "tests/sim/sim_network.h"

#include <algorithm>
#include <cstring>

namespace larder {
namespace {

constexpr absl::Duration kPulse = absl::Milliseconds(250);
constexpr absl::Duration kPeerTimeout = absl::Seconds(3);
constexpr absl::Duration kLatency = absl::Microseconds(80);
constexpr double kNsPerByte = 1;
constexpr uint64_t kMessageOverhead = 100;
// TCP repeats what was lost after so long at the earliest.
constexpr absl::Duration kRepeatDelay = absl::Milliseconds(200);

}  // namespace

SimNetwork::SimNetwork(EventQueue* queue, uint64_t seed, size_t nodes)
    : queue_(queue), random_(seed), ends_(nodes) {
  queue_->After(kPulse, [this] { Pulse(); });
}

void SimNetwork::Attach(SimNodeId node, SimHost* host, Port* port, uint64_t epoch,
                        std::span<uint8_t> memory) {
  End& end = ends_[node];
  end.host = host;
  end.port = port;
  end.life = host->life();
  end.epoch = epoch;
  end.memory = memory;
  end.windows.clear();
  end.peers.clear();
}

void SimNetwork::Detach(SimNodeId node) {
  ends_[node].port = nullptr;
  ends_[node].windows.clear();
  for (const auto& [pair, session] : sessions_) {
    if (pair.first != node && pair.second != node) continue;
    const size_t side = session->nodes[0] == node ? 0 : 1;
    if (!session->open[side]) continue;
    session->open[side] = false;
    session->transfers[side].clear();
    // Its kernel says so, if it can; otherwise silence does.
    queue_->After(Delay(node, session->nodes[1 - side], 0), [this, session, side] {
      if (!IsBlocked(session->nodes[side], session->nodes[1 - side])) Close(session, 1 - side);
    });
  }
}

SimNetwork::SessionPointer SimNetwork::SessionFrom(SimNodeId from, SimNodeId to,
                                                   size_t* side) const {
  const auto found = sessions_.find(PairOf(from, to));
  if (found == sessions_.end()) return nullptr;
  *side = found->second->nodes[0] == from ? 0 : 1;
  return found->second->open[*side] ? found->second : nullptr;
}

bool SimNetwork::IsUp(SimNodeId a, SimNodeId b) const {
  size_t side = 0;
  const SessionPointer session = SessionFrom(a, b, &side);
  return session != nullptr && session->open[1 - side];
}

absl::Duration SimNetwork::Delay(SimNodeId from, SimNodeId to, uint64_t bytes) {
  End& sender = ends_[from];
  const double slowness = std::max(sender.slowness, ends_[to].slowness);
  const double line_ns = kNsPerByte * static_cast<double>(bytes + kMessageOverhead) * slowness;
  sender.line_free_at = std::max(sender.line_free_at, queue_->now()) + absl::Nanoseconds(line_ns);
  return sender.line_free_at - queue_->now() + kLatency * slowness +
         faults.jitter * (random_.Unit() * slowness);
}

// --- messages ----------------------------------------------------------------------------------

void SimNetwork::Carry(const SessionPointer& session, size_t side, MonotonicTime arrival,
                       EventQueue::Action action) {
  queue_->At(arrival, [this, session, side, action = std::move(action)]() mutable {
    if (!session->open[1 - side]) return;
    if (IsBlocked(session->nodes[side], session->nodes[1 - side])) {
      session->repeated[side].push_back(std::move(action));
    } else {
      action();
    }
  });
}

void SimNetwork::Send(SimNodeId from, SimNodeId to, std::vector<uint8_t> payload) {
  size_t side = 0;
  const SessionPointer session = SessionFrom(from, to, &side);
  if (session == nullptr) return;
  const absl::Duration delay = Delay(from, to, payload.size());
  if (random_.Unit() < faults.loses) {
    Break(from, to);
    return;
  }
  MonotonicTime& last = session->last_arrival[side];
  last = std::max(last + absl::Nanoseconds(1), queue_->now() + delay);
  Carry(session, side, last, [=, this, payload = std::move(payload)]() mutable {
    Deliver(session, side, std::move(payload), 0);
  });
}

void SimNetwork::Deliver(const SessionPointer& session, size_t side, std::vector<uint8_t> payload,
                         uint64_t window) {
  const SimNodeId from = session->nodes[side], to = session->nodes[1 - side];
  queue_->Note("message", {from, to, payload.size(), window});
  ends_[to].host->Post(session->lives[1 - side], [=, this, payload = std::move(payload)]() mutable {
    if (session->open[1 - side]) ends_[to].port->OnMessage(from, std::move(payload), window);
  });
}

void SimNetwork::SendAfter(SimNodeId from, SimNodeId to, std::vector<uint8_t> payload,
                           uint64_t window, uint64_t window_bytes) {
  size_t side = 0;
  const SessionPointer session = SessionFrom(from, to, &side);
  if (session == nullptr) return;
  const absl::Duration delay = Delay(from, to, payload.size());
  Carry(session, side, queue_->now() + delay, [=, this, payload = std::move(payload)]() mutable {
    session->held[side][window].push_back({window_bytes, std::move(payload)});
    ReleaseHeld(session, side, window);
  });
}

void SimNetwork::ReleaseHeld(const SessionPointer& session, size_t side, uint64_t window) {
  const auto held = session->held[side].find(window);
  if (held == session->held[side].end()) return;
  std::vector<Held> ready;
  std::erase_if(held->second, [&](Held& message) {
    if (session->written[side][window] < message.bytes) return false;
    ready.push_back(std::move(message));
    return true;
  });
  if (held->second.empty()) session->held[side].erase(held);
  const std::map<uint64_t, Window>& windows = ends_[session->nodes[1 - side]].windows;
  for (Held& message : ready) {
    if (windows.contains(window)) Deliver(session, side, std::move(message.payload), window);
  }
}

// --- windows -----------------------------------------------------------------------------------

void SimNetwork::OpenWindow(SimNodeId node, uint64_t window, SimNodeId writer,
                            const std::vector<MemoryRange>& ranges) {
  ends_[node].windows[window] = {.writer = writer, .ranges = ranges};
}

void SimNetwork::CloseWindow(SimNodeId node, uint64_t window) {
  End& end = ends_[node];
  if (faults.keeps_windows || !end.windows.contains(window)) return;
  // Until then bytes may come in.
  queue_->After(absl::Microseconds(random_.Below(3000)), [this, node, window, life = end.life] {
    SimHost* host = ends_[node].host;
    host->Post(life, [this, node, window] {
      ends_[node].windows.erase(window);
      ends_[node].port->OnWindowClosed(window);
    });
  });
}

std::optional<MemoryRange> SimNetwork::WindowRange(SimNodeId node, uint64_t window) const {
  const auto found = ends_[node].windows.find(window);
  if (found == ends_[node].windows.end()) return std::nullopt;
  return found->second.ranges[0];
}

void SimNetwork::Write(SimNodeId from, SimNodeId to, uint64_t token, uint64_t window,
                       uint64_t window_offset, const std::vector<MemoryRange>& ranges,
                       MonotonicTime deadline) {
  size_t side = 0;
  const SessionPointer session = SessionFrom(from, to, &side);
  if (session == nullptr) {
    // The answer of a transport that is down is an error at once: no bytes are in use.
    queue_->After(absl::ZeroDuration(), [this, from, token, life = ends_[from].life] {
      ends_[from].host->Post(life, [this, from, token] { ends_[from].port->OnWritten(token); });
    });
    return;
  }
  uint32_t pieces = 0;
  for (const MemoryRange& range : ranges) {
    // Two connections carry it, and neither waits for the other one.
    const uint64_t half = range.bytes / 2;
    for (const MemoryRange& piece :
         {MemoryRange{range.offset, half}, MemoryRange{range.offset + half, range.bytes - half}}) {
      const absl::Duration delay =
          Delay(from, to, piece.bytes) + faults.jitter * (2 * random_.Unit());
      ++pieces;
      Carry(session, side, queue_->now() + delay, [=, this] {
        WritePiece(session, side, token, window, window_offset, piece, deadline);
      });
      window_offset += piece.bytes;
    }
  }
  session->transfers[side][token].pieces = pieces;
}

void SimNetwork::WritePiece(const SessionPointer& session, size_t side, uint64_t token,
                            uint64_t window, uint64_t window_offset, MemoryRange from,
                            MonotonicTime deadline) {
  // Bytes are taken when they arrive: whoever reuses their memory before OnWritten is found out.
  if (!session->open[side]) return;
  const bool late = queue_->now() > deadline;
  End& sender = ends_[session->nodes[side]];
  const SimNodeId to = session->nodes[1 - side];
  if (!late) {
    const auto found = ends_[to].windows.find(window);
    const bool fits = found != ends_[to].windows.end() &&
                      found->second.writer == session->nodes[side] &&
                      window_offset + from.bytes <= found->second.ranges[0].bytes;
    if (fits && from.bytes > 0) {
      uint8_t* place = ends_[to].memory.data() + found->second.ranges[0].offset + window_offset;
      std::memcpy(place, sender.memory.data() + from.offset, from.bytes);
      if (random_.Unit() < faults.damages) place[random_.Below(from.bytes)] ^= 0x10;
    }
    session->written[side][window] += from.bytes;
    queue_->Note("written", {session->nodes[side], to, window, from.bytes});
    ReleaseHeld(session, side, window);
  }
  EndPiece(session, side, token, late);
}

void SimNetwork::EndPiece(const SessionPointer& session, size_t side, uint64_t token, bool late) {
  const auto found = session->transfers[side].find(token);
  if (found == session->transfers[side].end()) return;
  found->second.late = found->second.late || late;
  if (--found->second.pieces > 0) return;
  queue_->After(Delay(session->nodes[1 - side], session->nodes[side], 0), [=, this] {
    if (session->transfers[side].erase(token) == 0) return;
    const SimNodeId node = session->nodes[side];
    ends_[node].host->Post(session->lives[side],
                           [this, node, token] { ends_[node].port->OnWritten(token); });
  });
}

// --- sessions ----------------------------------------------------------------------------------

void SimNetwork::Close(const SessionPointer& session, size_t side) {
  if (!session->open[side]) return;
  session->open[side] = false;
  const SimNodeId node = session->nodes[side], other = session->nodes[1 - side];
  queue_->Note("down", {node, other, session->number});
  std::vector<uint64_t> tokens;
  for (const auto& [token, transfer] : session->transfers[side]) tokens.push_back(token);
  session->transfers[side].clear();
  ends_[node].host->Post(session->lives[side], [=, this] {
    for (const uint64_t token : tokens) ends_[node].port->OnWritten(token);
    ends_[node].port->OnPeerDown(other, session->epochs[1 - side]);
  });
  connect_at_[PairOf(node, other)] = queue_->now() + absl::Milliseconds(50 + random_.Below(500));
  if (!session->open[1 - side]) return;
  queue_->After(Delay(node, other, 0), [this, session, side, node, other] {
    if (!IsBlocked(node, other)) Close(session, 1 - side);
  });
}

void SimNetwork::Break(SimNodeId a, SimNodeId b) {
  const auto found = sessions_.find(PairOf(a, b));
  if (found == sessions_.end()) return;
  for (const size_t side : {0, 1}) {
    queue_->After(absl::Milliseconds(random_.Below(300)),
                  [this, session = found->second, side] { Close(session, side); });
  }
}

void SimNetwork::SetBlocked(SimNodeId from, SimNodeId to, bool blocked) {
  if (blocked) {
    blocked_.emplace(from, to);
    return;
  }
  if (blocked_.erase({from, to}) == 0) return;
  size_t side = 0;
  const SessionPointer session = SessionFrom(from, to, &side);
  if (session == nullptr) return;
  queue_->After(kRepeatDelay, [this, session, side] {
    if (IsBlocked(session->nodes[side], session->nodes[1 - side])) return;
    for (EventQueue::Action& action : std::exchange(session->repeated[side], {})) {
      if (session->open[1 - side]) action();
    }
  });
}

void SimNetwork::Pulse() {
  for (const auto& [pair, session] : sessions_) {
    for (const size_t side : {0, 1}) {
      const SimNodeId node = session->nodes[side], other = session->nodes[1 - side];
      if (!session->open[side]) continue;
      const SimHost& speaker = *ends_[other].host;
      const bool speaks = session->open[1 - side] && speaker.alive() && !speaker.stopped();
      if (speaks && !IsBlocked(other, node)) session->heard_at[side] = queue_->now();
      if (queue_->now() - session->heard_at[side] > kPeerTimeout) Close(session, side);
    }
  }
  for (SimNodeId a = 0; a < ends_.size(); ++a) {
    for (SimNodeId b = a + 1; b < ends_.size(); ++b) TryConnect(a, b);
  }
  queue_->After(kPulse, [this] { Pulse(); });
}

void SimNetwork::TryConnect(SimNodeId a, SimNodeId b) {
  const auto ready = [&](const End& end, SimNodeId other) {
    return end.port != nullptr && end.host->alive() && !end.host->stopped() &&
           end.peers.contains(other);
  };
  if (!ready(ends_[a], b) || !ready(ends_[b], a) || IsBlocked(a, b) || IsBlocked(b, a)) return;
  if (queue_->now() < connect_at_[{a, b}]) return;
  SessionPointer& current = sessions_[{a, b}];
  if (current != nullptr) {
    if (current->open[0] && current->open[1]) return;
    // The newer hello wins.
    Close(current, 0);
    Close(current, 1);
  }
  auto session = std::make_shared<Session>();
  session->number = next_session_++;
  session->nodes = {a, b};
  session->lives = {ends_[a].life, ends_[b].life};
  session->epochs = {ends_[a].epoch, ends_[b].epoch};
  session->open = {true, true};
  session->heard_at = {queue_->now(), queue_->now()};
  current = session;
  for (const size_t side : {0, 1}) {
    const absl::Duration delay = Delay(session->nodes[1 - side], session->nodes[side], 0);
    // What comes later comes after this.
    session->last_arrival[1 - side] = queue_->now() + delay;
    queue_->After(delay, [this, session, side] {
      const SimNodeId node = session->nodes[side];
      queue_->Note("up", {node, session->nodes[1 - side], session->number});
      ends_[node].host->Post(session->lives[side], [this, session, side, node] {
        if (!session->open[side]) return;
        ends_[node].port->OnPeerUp(session->nodes[1 - side], session->epochs[1 - side]);
      });
    });
  }
}

}  // namespace larder

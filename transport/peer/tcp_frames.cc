// What comes in a session.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/peer/tcp_node.h"

namespace larder {
namespace {

constexpr absl::Duration kRoundTripMax = absl::Minutes(1);

}  // namespace

absl::Status TcpNode::OnHeader(const ConnectionPtr& connection) {
  Connection& c = *connection;
  const PeerFrame& frame = c.receiver.frame();
  const bool of_session = frame.kind >= PeerFrameKind::kMessage;
  if (of_session != (c.phase == Connection::Phase::kUp) &&
      c.phase != Connection::Phase::kRefusing) {
    return absl::DataLossError(
        absl::StrCat("a frame of kind ", static_cast<int>(frame.kind), " out of its turn"));
  }
  if (frame.kind != PeerFrameKind::kWrite || c.phase != Connection::Phase::kUp) {
    return absl::OkStatus();
  }
  const bool summed = (frame.flags & kPeerFlagContentSum) == 0;
  WindowPtr window = windows_.Use(frame.window, c.session->node, WindowAccess::kWrite,
                                  frame.position, frame.payload_bytes, summed);
  if (window == nullptr) {
    peers_[c.session->node].stats.dropped_bytes += frame.payload_bytes;
    return absl::OkStatus();
  }
  ++window->users;
  c.receiver.Land(std::move(window));
  return absl::OkStatus();
}

absl::Status TcpNode::OnFrame(Lock& lock, const ConnectionPtr& connection) {
  Connection& c = *connection;
  const PeerFrame& frame = c.receiver.frame();
  switch (frame.kind) {
    case PeerFrameKind::kMessage:
      return OnMessageFrame(c);
    case PeerFrameKind::kWrite:
      OnWriteFrame(connection);
      return absl::OkStatus();
    case PeerFrameKind::kRead:
      RETURN_IF_ERROR(OnReadFrame(connection));
      PumpAll(lock, c.session);
      return absl::OkStatus();
    case PeerFrameKind::kReadFailed:
      EndRead(c.session, frame.window, false);
      return absl::OkStatus();
    case PeerFrameKind::kPing:
      QueueControl(c, {.kind = PeerFrameKind::kPong, .position = frame.position});
      return absl::OkStatus();
    case PeerFrameKind::kPong: {
      const absl::Duration trip =
          SystemClock::Get().Now() - MonotonicTime{static_cast<int64_t>(frame.position)};
      if (trip < absl::ZeroDuration() || trip > kRoundTripMax) return absl::OkStatus();
      absl::Duration& smoothed = peers_[c.session->node].stats.round_trip;
      smoothed = smoothed == absl::ZeroDuration() ? trip : smoothed * 0.875 + trip * 0.125;
      return absl::OkStatus();
    }
    case PeerFrameKind::kTaken:
      return OnTakenFrame(c);
    default:
      return absl::DataLossError("a handshake within a session");
  }
}

void TcpNode::HandMessage(const SessionPtr& session, std::vector<uint8_t> payload,
                          uint64_t window) {
  ++peers_[session->node].stats.messages_received;
  notices_.emplace_back([this, session, payload = std::move(payload), window]() mutable {
    handler_->OnMessage(session->node, session->epoch, std::move(payload), window);
  });
}

absl::Status TcpNode::OnMessageFrame(Connection& c) {
  const PeerFrame& frame = c.receiver.frame();
  std::vector<uint8_t> payload = c.receiver.TakePayload();
  if (frame.window == 0) {
    if (frame.position != 0) return absl::DataLossError("a message after bytes of no window");
    HandMessage(c.session, std::move(payload), 0);
    return absl::OkStatus();
  }
  const WindowPtr window = windows_.Find(frame.window);
  if (window == nullptr || window->node != c.session->node ||
      window->access != WindowAccess::kWrite || window->read_token.has_value()) {
    ++peers_[c.session->node].stats.dropped_messages;
    return absl::OkStatus();
  }
  const uint64_t written = window->session == c.session->id ? window->written_bytes : 0;
  if (written >= frame.position) {
    HandMessage(c.session, std::move(payload), frame.window);
    return absl::OkStatus();
  }
  HeldMessages& held = c.session->held;
  if (held.size() >= options_.queued_messages_max ||
      held.bytes() + payload.size() > options_.queued_bytes_max) {
    return absl::ResourceExhaustedError("too many messages wait for bytes of windows");
  }
  held.Hold({frame.window, frame.position, std::move(payload)});
  return absl::OkStatus();
}

void TcpNode::OnWriteFrame(const ConnectionPtr& connection) {
  Connection& c = *connection;
  const PeerFrame& frame = c.receiver.frame();
  if ((frame.flags & kPeerFlagWantsTaken) != 0) {
    QueueControl(c, {.kind = PeerFrameKind::kTaken, .position = ++c.taken_here});
  }
  const WindowPtr window = c.receiver.Divert();
  if (window == nullptr) return;
  ReleaseWindow(window);
  if (window->closed) return;
  window->AddWritten(c.session->id, frame.payload_bytes);
  if (window->read_token.has_value()) {
    if (window->written_bytes == window->ranges.bytes()) EndRead(c.session, window->number, true);
    return;
  }
  std::vector<HeldMessages::Message> ready;
  c.session->held.TakeReady(window->number, window->written_bytes, &ready);
  for (HeldMessages::Message& message : ready) {
    HandMessage(c.session, std::move(message.payload), message.window);
  }
}

absl::Status TcpNode::OnReadFrame(const ConnectionPtr& connection) {
  Connection& c = *connection;
  const PeerFrame& frame = c.receiver.frame();
  ASSIGN_OR_RETURN(const PeerReadRequest request, DecodeReadRequest(c.receiver.TakePayload()));
  const WindowPtr source = windows_.Use(frame.window, c.session->node, WindowAccess::kRead,
                                        frame.position, request.bytes, true);
  if (source == nullptr || c.session->transfers.size() >= kTransfersPerPeerMax) {
    QueueControl(c, {.kind = PeerFrameKind::kReadFailed, .window = request.reply_window});
    return absl::OkStatus();
  }
  ++source->users;
  auto transfer = std::make_shared<Transfer>();
  transfer->is_reply = true;
  transfer->source = source;
  transfer->source_offset = frame.position;
  transfer->bytes = request.bytes;
  transfer->window = request.reply_window;
  transfer->sum = request.sum == 1 ? PayloadSum::kTransport : PayloadSum::kContent;
  transfer->deadline = SystemClock::Get().Now() + absl::Milliseconds(request.deadline_ms);
  WakeBy(transfer->deadline);
  c.session->transfers.insert(transfer);
  c.session->waiting.push_back(transfer);
  return absl::OkStatus();
}

absl::Status TcpNode::OnTakenFrame(Connection& c) {
  const uint64_t taken = c.receiver.frame().position;
  if (taken <= c.taken || taken - c.taken > c.untaken.size()) {
    return absl::DataLossError(absl::StrCat("pieces confirmed: ", taken, " after ", c.taken,
                                            ", with ", c.untaken.size(), " sent"));
  }
  for (; c.taken < taken; ++c.taken) {
    const TransferPtr transfer = std::move(c.untaken.front());
    c.untaken.pop_front();
    ReleasePiece(c.session, transfer, true);
  }
  return absl::OkStatus();
}

void TcpNode::ReleaseWindow(const WindowPtr& window) {
  --window->users;
  if (window->closed && window->users == 0) ReportClosed(window);
}

void TcpNode::ReportClosed(const WindowPtr& window) {
  notices_.emplace_back([this, window] {
    if (window->read_token.has_value()) {
      handler_->OnRead(*window->read_token, window->read_ok);
    } else {
      handler_->OnWindowClosed(window->number);
    }
  });
}

void TcpNode::EndRead(const SessionPtr& session, uint64_t reply_window, bool ok) {
  const auto read = session->reads.find(reply_window);
  if (read == session->reads.end()) return;  // it missed its deadline
  const WindowPtr window = std::move(read->second.window);
  session->reads.erase(read);
  windows_.Close(reply_window);
  window->read_ok = ok;
  if (window->users == 0) {
    ReportClosed(window);
  } else {
    closing_.push_back(window);
  }
}

}  // namespace larder

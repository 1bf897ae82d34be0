// What goes out: messages before bytes, bytes in pieces over all connections of a session.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/crc32c.h"
#include "transport/peer/tcp_node.h"

namespace larder {
namespace {

// Below this the pages are cheaper to copy than to hand over one by one.
constexpr uint64_t kFileRangeBytesMin = 32 * 1024;
constexpr size_t kPieceRangesMax = 63;  // with the header they are one system call

void MakeHeader(OutFrame& out, const PeerMemory& memory) {
  if ((out.piece.flags & kPeerFlagContentSum) == 0) {
    uint32_t crc = 0;
    for (const MemoryRange& range : out.ranges) {
      crc = Crc32c(memory.bytes.subspan(range.offset, range.bytes), crc);
    }
    out.piece.payload_crc = crc;
  }
  const PeerHeaderBytes header = EncodePeerHeader(out.piece);
  out.head.assign(header.begin(), header.end());
}

}  // namespace

void OutFrame::Advance(uint64_t bytes) {
  const uint64_t of_head = std::min<uint64_t>(bytes, head.size() - head_sent);
  head_sent += of_head;
  bytes -= of_head;
  while (bytes > 0) {
    MemoryRange& range = ranges[next_range];
    const uint64_t part = std::min(bytes, range.bytes);
    range.offset += part;
    range.bytes -= part;
    bytes -= part;
    if (range.bytes == 0) ++next_range;
  }
}

void TcpNode::QueueControl(Connection& connection, PeerFrame frame) {
  connection.control.push_back(EncodePeerFrame(frame, {}));
}

// By value: the session may lose the connection while the lock is open.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void TcpNode::Pump(Lock& lock, ConnectionPtr connection, bool is_engine) {
  Connection& c = *connection;
  if (c.sending || c.blocked || c.closed || c.send_error != 0) return;
  c.sending = true;
  while (!c.closed && (c.out.busy || NextOutput(c, is_engine))) {
    lock.unlock();
    const ssize_t sent = SendSome(c);
    lock.lock();
    if (sent < 0) {
      c.blocked = sent == -EAGAIN || sent == -EWOULDBLOCK;
      if (!c.blocked) c.send_error = static_cast<int>(-sent);
      attention_.push_back(connection);
      must_wake_ = true;
      break;
    }
    c.out.Advance(static_cast<uint64_t>(sent));
    if (c.session != nullptr)
      peers_[c.session->node].stats.bytes_sent += static_cast<uint64_t>(sent);
    if (c.out.done()) FinishOutput(c);
  }
  c.sending = false;
  if (c.closed) {
    ReleaseOutput(c);
    attention_.push_back(connection);
    must_wake_ = true;
  } else if (!is_engine && c.session != nullptr && !c.session->waiting.empty()) {
    attention_.push_back(connection);
    must_wake_ = true;
  }
}

void TcpNode::PumpAll(Lock& lock, const SessionPtr& session) {
  // A copy: a connection may be lost meanwhile.
  const std::vector<ConnectionPtr> connections = session->connections;
  for (const ConnectionPtr& connection : connections) {
    if (connection != nullptr) Pump(lock, connection, true);
  }
}

bool TcpNode::NextOutput(Connection& c, bool is_engine) {
  c.out = OutFrame();
  if (!c.control.empty()) {
    c.out.head = std::move(c.control.front());
    c.control.pop_front();
    return c.out.busy = true;
  }
  if (c.session == nullptr || c.session->ended) return false;
  if (c.hello.connection == 0 && !c.session->messages.empty()) {
    c.out.head = std::move(c.session->messages.front());
    c.out.is_message = true;
    c.session->messages.pop_front();
    return c.out.busy = true;
  }
  return NextPiece(c, is_engine);
}

bool TcpNode::NextPiece(Connection& c, bool is_engine) {
  std::deque<TransferPtr>& waiting = c.session->waiting;
  while (!waiting.empty() &&
         (waiting.front()->stopped || waiting.front()->carved_bytes == waiting.front()->bytes)) {
    waiting.pop_front();
  }
  if (waiting.empty()) return false;
  const TransferPtr transfer = waiting.front();
  const bool small = transfer->bytes <= kDirectWriteBytesMax;
  if (!is_engine && !small) return false;
  OutFrame& out = c.out;
  const uint64_t wanted =
      std::min<uint64_t>(transfer->bytes - transfer->carved_bytes, kPeerPieceBytesMax);
  const uint64_t bytes = transfer->ranges().Slice(transfer->source_offset + transfer->carved_bytes,
                                                  wanted, kPieceRangesMax, &out.ranges);
  out.by_file =
      !small && file_works_ && memory_.fd >= 0 && bytes / out.ranges.size() >= kFileRangeBytesMin;
  out.piece = {.kind = PeerFrameKind::kWrite,
               .payload_bytes = static_cast<uint32_t>(bytes),
               .window = transfer->window,
               .position = transfer->window_offset + transfer->carved_bytes};
  if (transfer->sum == PayloadSum::kContent) out.piece.flags |= kPeerFlagContentSum;
  if (out.by_file) out.piece.flags |= kPeerFlagWantsTaken;
  transfer->carved_bytes += bytes;
  ++transfer->pieces;
  out.transfer = transfer;
  return out.busy = true;
}

ssize_t TcpNode::SendSome(Connection& c) {
  OutFrame& out = c.out;
  if (out.head.empty()) MakeHeader(out, memory_);
  const auto head = std::span<const uint8_t>(out.head).subspan(out.head_sent);
  const auto ranges = std::span<const MemoryRange>(out.ranges).subspan(out.next_range);
  if (!out.by_file) return c.socket.Send(head, ranges, memory_);
  if (!head.empty()) {
    const ssize_t sent = c.socket.SendHead(head);
    if (sent < 0 || static_cast<size_t>(sent) < head.size()) return sent;
    out.Advance(static_cast<uint64_t>(sent));
  }
  const ssize_t sent = c.socket.SendFile(out.ranges[out.next_range], memory_);
  if (sent != -EINVAL && sent != -ENOSYS) return sent;
  out.by_file = false;  // a file system without it
  return 0;
}

void TcpNode::FinishOutput(Connection& c) {
  OutFrame out = std::exchange(c.out, OutFrame());
  if (out.is_message) {
    --c.session->queued_messages;
    c.session->queued_bytes -= out.head.size() - sizeof(PeerFrameHeader);
    ++peers_[c.session->node].stats.messages_sent;
  }
  if (out.transfer == nullptr) return;
  if ((out.piece.flags & kPeerFlagWantsTaken) != 0) {
    file_works_ = file_works_ && out.by_file;
    c.untaken.push_back(std::move(out.transfer));
  } else {
    ReleasePiece(c.session, out.transfer, true);
  }
}

// Of a closed connection that nobody sends on any more.
void TcpNode::ReleaseOutput(Connection& c) {
  const OutFrame out = std::exchange(c.out, OutFrame());
  if (out.transfer != nullptr) ReleasePiece(c.session, out.transfer, false);
  for (const TransferPtr& transfer : std::exchange(c.untaken, {})) {
    ReleasePiece(c.session, transfer, false);
  }
  c.control.clear();
}

void TcpNode::ReleasePiece(const SessionPtr& session, const TransferPtr& transfer, bool ok) {
  --transfer->pieces;
  if (!ok) transfer->stopped = transfer->failed = true;
  EndIfDone(session, transfer);
}

void TcpNode::StopTransfer(const SessionPtr& session, const TransferPtr& transfer) {
  if (transfer->carved_bytes < transfer->bytes || session->ended) transfer->failed = true;
  transfer->stopped = true;
  EndIfDone(session, transfer);
}

void TcpNode::EndIfDone(const SessionPtr& session, const TransferPtr& transfer) {
  if (transfer->ended || transfer->pieces > 0) return;
  if (!transfer->stopped && transfer->carved_bytes < transfer->bytes) return;
  transfer->ended = true;
  session->transfers.erase(transfer);
  if (transfer->is_reply) {
    ReleaseWindow(transfer->source);
  } else if (!transfer->caller_waits) {
    notices_.emplace_back([this, token = transfer->token, ok = !transfer->failed] {
      handler_->OnWritten(token, ok);
    });
    must_wake_ = true;
  }
}

}  // namespace larder

#include "client/connection.h"

#include <poll.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "transport/local/message_codec.h"

namespace larder {
namespace {

// Pause between two tries to send while the ring is full: the daemon drains it in microseconds.
constexpr auto kFullRingPause = std::chrono::microseconds(20);

// Late replies taken in by one Poll.
constexpr int kRepliesPerPollMax = 1024;

// Requests without a reply that wait for room.
constexpr size_t kOwedMax = 4096;

uint32_t NextGeneration() {
  static std::atomic<uint32_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

absl::Status ReplyStatus(const Frame& reply) {
  if (reply.header.status == 0) return absl::OkStatus();
  return absl::Status(
      static_cast<absl::StatusCode>(reply.header.status),
      absl::string_view(reinterpret_cast<const char*>(reply.payload.data()), reply.payload.size()));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Connection>> Connection::Establish(const ClientOptions& options,
                                                                  MonotonicTime deadline) {
  const ConnectOptions connect_options{.client_name = options.name,
                                       .wants_rings = options.use_rings,
                                       .channel = {.spin_limit = options.spin_limit}};
  ASSIGN_OR_RETURN(ClientHandshake handshake,
                   ConnectLocal(options.socket_path, connect_options, deadline));
  ASSIGN_OR_RETURN(MemoryMapping arena,
                   MemoryMapping::MapShared(handshake.arena, handshake.welcome.arena_data_bytes,
                                            /*writable=*/true));
  return std::shared_ptr<Connection>(new Connection(std::move(handshake), std::move(arena)));
}

Connection::Connection(ClientHandshake handshake, MemoryMapping arena)
    : handshake_(std::move(handshake)),
      arena_(std::move(arena)),
      heartbeat_interval_(absl::Milliseconds(handshake_.welcome.heartbeat_interval_ms)),
      generation_(NextGeneration()) {}

absl::Status Connection::Call(Opcode opcode, std::span<const uint8_t> payload,
                              MonotonicTime deadline, Frame* reply) {
  if (suspect()) Poll();
  if (suspect()) return absl::UnavailableError("the daemon has stopped answering");
  Waiter waiter{.reply = reply};
  uint64_t request_id;
  {
    std::lock_guard lock(mutex_);
    if (!broken_status_.ok()) return broken_status_;
    request_id = next_request_id_++;
    waiters_.emplace(request_id, &waiter);
  }
  absl::Status status = SendWithin(opcode, request_id, payload, deadline);
  const bool sent = status.ok();
  if (sent) status = WaitForReply(&waiter, deadline);
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    if (!waiter.done) {
      waiters_.erase(request_id);
      if (sent) abandoned_.emplace(request_id, opcode);
      if (absl::IsDeadlineExceeded(status)) suspect_.store(true, std::memory_order_relaxed);
      return status;
    }
  }
  return ReplyStatus(*reply);
}

absl::Status Connection::TrySend(Opcode opcode, uint64_t request_id,
                                 std::span<const uint8_t> payload) {
  const FrameLabel label{.opcode = static_cast<uint16_t>(opcode),
                         .status = absl::StatusCode::kOk,
                         .request_id = request_id};
  absl::Status status;
  {
    std::lock_guard lock(send_mutex_);
    status = handshake_.channel->Send(label, payload);
  }
  if (status.ok() || absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status)) {
    return status;
  }
  return Break(status);
}

absl::Status Connection::SendWithin(Opcode opcode, uint64_t request_id,
                                    std::span<const uint8_t> payload, MonotonicTime deadline) {
  for (;;) {
    absl::Status status = TrySend(opcode, request_id, payload);
    if (!absl::IsResourceExhausted(status)) return status;
    if (SystemClock::Get().Now() >= deadline) {
      return absl::DeadlineExceededError("no room for the request: the daemon is not reading");
    }
    std::this_thread::sleep_for(kFullRingPause);
  }
}

void Connection::Post(Opcode opcode, std::span<const uint8_t> payload) {
  if (!absl::IsResourceExhausted(TrySend(opcode, 0, payload))) return;
  {
    std::lock_guard lock(mutex_);
    if (owed_.size() < kOwedMax) {
      owed_.push_back({opcode, {payload.begin(), payload.end()}});
      return;
    }
  }
  (void)Break(absl::ResourceExhaustedError("the daemon has not taken anything back for too long"));
}

void Connection::SendOwed() {
  std::vector<OwedRequest> owed;
  {
    std::lock_guard lock(mutex_);
    owed.swap(owed_);
  }
  for (const OwedRequest& request : owed) Post(request.opcode, request.payload);
}

absl::Status Connection::WaitForReply(Waiter* waiter, MonotonicTime deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (waiter->done) return absl::OkStatus();
    if (!broken_status_.ok()) return broken_status_;
    if (receiver_active_) {
      const auto wait =
          std::chrono::nanoseconds(deadline.nanoseconds - SystemClock::Get().Now().nanoseconds);
      if (wait.count() <= 0 || changed_.wait_for(lock, wait) == std::cv_status::timeout) {
        if (waiter->done) return absl::OkStatus();
        return absl::DeadlineExceededError("the daemon did not answer in time");
      }
      continue;
    }
    // Become the receiver for everyone until our own reply is there.
    receiver_active_ = true;
    absl::Status status;
    while (!waiter->done && status.ok()) {
      lock.unlock();
      absl::StatusOr<bool> received = ReceiveOne();
      if (received.ok() && !*received)
        received = [&]() -> absl::StatusOr<bool> {
          RETURN_IF_ERROR(handshake_.channel->WaitReadable(deadline));
          return false;
        }();
      status = received.status();
      lock.lock();
    }
    receiver_active_ = false;
    changed_.notify_all();
    if (waiter->done) return absl::OkStatus();
    if (absl::IsDeadlineExceeded(status)) {
      return absl::DeadlineExceededError("the daemon did not answer in time");
    }
    lock.unlock();
    return Break(status);
  }
}

absl::StatusOr<bool> Connection::ReceiveOne() {
  ASSIGN_OR_RETURN(const bool received, handshake_.channel->TryReceive(&received_));
  if (!received) return false;
  suspect_.store(false, std::memory_order_relaxed);
  Opcode undo{};
  {
    std::lock_guard lock(mutex_);
    const uint64_t request_id = received_.header.request_id;
    if (const auto waiting = waiters_.find(request_id); waiting != waiters_.end()) {
      std::swap(*waiting->second->reply, received_);
      waiting->second->done = true;
      waiters_.erase(waiting);
      changed_.notify_all();
      return true;
    }
    const auto abandoned = abandoned_.find(request_id);
    if (abandoned == abandoned_.end()) return true;  // Not asked for: nothing depends on it.
    undo = abandoned->second;
    abandoned_.erase(abandoned);
  }
  if (received_.header.status == 0) Undo(undo, received_);
  return true;
}

void Connection::Undo(Opcode opcode, const Frame& reply) {
  MessageReader reader(reply.payload);
  MessageWriter writer;
  if (opcode == Opcode::kAcquire) {
    const auto acquired = reader.Read<AcquireReply>();
    if (acquired.lease == 0) return;
    writer.Write(ReleaseRequest{.lease = acquired.lease});
    Post(Opcode::kRelease, writer.payload());
  } else if (opcode == Opcode::kReserve) {
    const auto outcomes = reader.ReadArray<ReserveOutcomeMessage>(
        reply.payload.size() / sizeof(ReserveOutcomeMessage), kMessageItemsMax);
    std::vector<uint64_t> granted;
    for (const ReserveOutcomeMessage& outcome : outcomes) {
      if (outcome.reservation != 0) granted.push_back(outcome.reservation);
    }
    if (granted.empty()) return;
    writer.Write(
        ReservationsRequest{.count = static_cast<uint32_t>(granted.size()), .reserved = 0});
    for (uint64_t reservation : granted) writer.Write(reservation);
    Post(Opcode::kAbort, writer.payload());
  }
}

void Connection::Poll() {
  {
    std::lock_guard lock(mutex_);
    if (receiver_active_ || !broken_status_.ok()) return;
    receiver_active_ = true;
  }
  absl::StatusOr<bool> received = true;
  for (int i = 0; i < kRepliesPerPollMax && received.ok() && *received; ++i) {
    received = ReceiveOne();
  }
  if (received.ok() && !*received) {
    // A wait that is over at once still looks whether the peer is alive.
    const absl::Status status = handshake_.channel->WaitReadable(MonotonicTime{});
    if (!status.ok() && !absl::IsDeadlineExceeded(status)) received = status;
  }
  {
    std::lock_guard lock(mutex_);
    receiver_active_ = false;
  }
  changed_.notify_all();
  if (!received.ok()) {
    (void)Break(received.status());
    return;
  }
  SendOwed();
}

void Connection::BeatHeart() {
  if (handshake_.rings != nullptr) handshake_.rings->Beat();
}

bool Connection::intact() const {
  if (broken() || (handshake_.rings != nullptr && handshake_.rings->IsRevoked())) return false;
  // A daemon that was killed revoked nothing, and the next one may have begun by now.
  const Channel& channel = *handshake_.channel;
  pollfd socket = {channel.hangup_fd() >= 0 ? channel.hangup_fd() : channel.readable_fd(),
                   POLLRDHUP, 0};
  return poll(&socket, 1, 0) == 0;
}

absl::Status Connection::Break(const absl::Status& why) {
  std::lock_guard lock(mutex_);
  if (broken_status_.ok()) {
    broken_status_ = absl::UnavailableError(
        absl::StrCat("the connection to the daemon is broken: ", why.message()));
  }
  broken_.store(true, std::memory_order_relaxed);
  changed_.notify_all();
  return broken_status_;
}

absl::StatusOr<std::span<uint8_t>> Connection::ArenaBytes(uint64_t offset, uint64_t size) const {
  if (size > arena_.size() || offset > arena_.size() - size) {
    return absl::InternalError(absl::StrCat("the daemon named bytes [", offset, ", +", size,
                                            ") of an arena of ", arena_.size(), " bytes"));
  }
  return arena_.bytes().subspan(offset, size);
}

}  // namespace larder

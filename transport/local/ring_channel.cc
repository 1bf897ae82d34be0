#include "transport/local/ring_channel.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace larder {
namespace {

// Between two looks at the clock; about a microsecond.
constexpr int kLooksPerClockRead = 32;

std::atomic_ref<uint32_t> Word(uint32_t& word) { return std::atomic_ref<uint32_t>(word); }

// Returns when woken, when `word` is not 1, after `timeout`, or for no reason.
void FutexWaitWhileOne(uint32_t* word, absl::Duration timeout) {
  const timespec relative = absl::ToTimespec(timeout);
  syscall(SYS_futex, word, FUTEX_WAIT, 1, &relative, nullptr, 0);
}

void FutexWakeAll(uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

RingChannel::RingChannel(Side side, RingMemory memory, FileDescriptor socket, FileDescriptor wakeup,
                         const ChannelOptions& options)
    : side_(side),
      options_(options),
      memory_(std::move(memory)),
      socket_(std::move(socket)),
      wakeup_(std::move(wakeup)),
      outbound_(side == Side::kClient ? &memory_.control()->request : &memory_.control()->reply),
      inbound_(side == Side::kClient ? &memory_.control()->reply : &memory_.control()->request),
      writer_(outbound_, side == Side::kClient ? memory_.request_ring() : memory_.reply_ring()),
      reader_(inbound_, side == Side::kClient ? memory_.reply_ring() : memory_.request_ring()) {}

RingChannel::~RingChannel() {
  if (side_ == Side::kServer) Revoke();
}

absl::Status RingChannel::Send(const FrameLabel& label, std::span<const uint8_t> payload) {
  RETURN_IF_ERROR(failure_.status());
  if (SeesRevocation()) return absl::UnavailableError("the session has ended");
  absl::Status status = writer_.TryWrite(label, payload);
  if (absl::IsResourceExhausted(status) && PeerHungUp()) {
    return absl::UnavailableError("the peer is gone");
  }
  if (absl::IsDataLoss(status)) return failure_.Keep(status);
  if (status.ok()) WakePeer();
  return status;
}

absl::StatusOr<bool> RingChannel::TryReceive(Frame* frame) {
  RETURN_IF_ERROR(failure_.status());
  // Looked at before the ring: what was sent before the end is received first.
  const bool revoked = SeesRevocation();
  absl::StatusOr<bool> received = reader_.TryRead(frame);
  if (!received.ok()) return failure_.Keep(received.status());
  if (!*received && revoked) {
    return failure_.Keep(absl::UnavailableError("the session has ended"));
  }
  return received;
}

absl::Status RingChannel::WaitReadable(MonotonicTime deadline) {
  RETURN_IF_ERROR(failure_.status());
  if (SomethingToSay() || spinner_.Until(options_.spin_limit, deadline, kLooksPerClockRead,
                                         [this] { return SomethingToSay(); })) {
    return absl::OkStatus();
  }
  return side_ == Side::kClient ? SleepOnFutex(deadline) : SleepOnEventfd(deadline);
}

absl::Status RingChannel::SleepOnFutex(MonotonicTime deadline) {
  while (true) {
    Word(inbound_->consumer_waiting).store(1, std::memory_order_seq_cst);
    const bool hung_up = PeerHungUp();
    const MonotonicTime now = SystemClock::Get().Now();
    const bool stop = SomethingToSay();  // After the hang-up: the dead send nothing more.
    if (!stop && !hung_up && now < deadline) {
      FutexWaitWhileOne(&inbound_->consumer_waiting, std::min(kDeathNoticeMax, deadline - now));
      continue;
    }
    Word(inbound_->consumer_waiting).store(0, std::memory_order_relaxed);
    if (stop) return absl::OkStatus();
    if (hung_up) return KeepPeerGone();
    return absl::DeadlineExceededError("nothing was received before the deadline");
  }
}

absl::Status RingChannel::SleepOnEventfd(MonotonicTime deadline) {
  while (true) {
    const bool hung_up = PeerHungUp();
    const MonotonicTime now = SystemClock::Get().Now();
    if (ArmWakeup() && !hung_up && now < deadline) {
      pollfd events[] = {{wakeup_.get(), POLLIN, 0}, {socket_.get(), POLLRDHUP, 0}};
      const timespec timeout = absl::ToTimespec(std::min(kDeathNoticeMax, deadline - now));
      ppoll(events, std::size(events), &timeout, nullptr);
      DisarmWakeup();
      continue;
    }
    DisarmWakeup();
    if (SomethingToSay()) return absl::OkStatus();
    if (hung_up) return KeepPeerGone();
    return absl::DeadlineExceededError("nothing was received before the deadline");
  }
}

int RingChannel::readable_fd() const { return side_ == Side::kServer ? wakeup_.get() : -1; }

bool RingChannel::ArmWakeup() {
  if (side_ == Side::kClient || !failure_.status().ok()) return false;
  Word(inbound_->consumer_waiting).store(1, std::memory_order_seq_cst);
  if (!SomethingToSay()) return true;
  Word(inbound_->consumer_waiting).store(0, std::memory_order_relaxed);
  return false;
}

void RingChannel::DisarmWakeup() {
  if (side_ == Side::kClient) return;
  Word(inbound_->consumer_waiting).store(0, std::memory_order_relaxed);
  // RWF_NOWAIT rather than trust in O_NONBLOCK: that flag belongs to the open file, which the
  // client shares, so a hostile one could clear it and have the daemon block here.
  uint64_t count = 0;
  const iovec target = {&count, sizeof count};
  preadv2(wakeup_.get(), &target, 1, -1, RWF_NOWAIT);
}

void RingChannel::WakePeer() {
  auto waiting = Word(outbound_->consumer_waiting);
  if (waiting.load(std::memory_order_seq_cst) == 0) return;
  if (waiting.exchange(0, std::memory_order_seq_cst) == 0) return;
  if (side_ == Side::kServer) {
    FutexWakeAll(&outbound_->consumer_waiting);
  } else {
    eventfd_write(wakeup_.get(), 1);
  }
}

bool RingChannel::PeerHungUp() const {
  pollfd event = {socket_.get(), POLLRDHUP, 0};
  return poll(&event, 1, 0) == 1;
}

absl::Status RingChannel::KeepPeerGone() {
  return failure_.Keep(absl::UnavailableError("the peer has closed its socket or died"));
}

void RingChannel::Beat() {
  RingControl* control = memory_.control();
  uint64_t& own = side_ == Side::kClient ? control->client_heartbeat : control->server_heartbeat;
  std::atomic_ref<uint64_t>(own).fetch_add(1, std::memory_order_relaxed);
}

uint64_t RingChannel::PeerHeartbeat() const {
  RingControl* control = memory_.control();
  uint64_t& peer = side_ == Side::kClient ? control->server_heartbeat : control->client_heartbeat;
  return std::atomic_ref<uint64_t>(peer).load(std::memory_order_relaxed);
}

void RingChannel::Revoke() {
  Word(memory_.control()->revoked).store(1, std::memory_order_seq_cst);
  WakePeer();
}

bool RingChannel::IsRevoked() const {
  // A read-modify-write rather than a load: no earlier read of the caller may move past it.
  return Word(memory_.control()->revoked).fetch_or(0, std::memory_order_acq_rel) != 0;
}

bool RingChannel::SeesRevocation() const {
  return Word(memory_.control()->revoked).load(std::memory_order_seq_cst) != 0;
}

}  // namespace larder

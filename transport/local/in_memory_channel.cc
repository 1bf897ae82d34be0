#include "transport/local/in_memory_channel.h"

#include <sys/eventfd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

namespace larder {

struct InMemoryChannel::Pipe {
  // REQUIRES: the mutex is held.
  bool SomethingToSay() const { return !frames.empty() || closed; }

  // REQUIRES: the mutex is held and SomethingToSay.
  void Wake() {
    changed.notify_all();
    if (std::exchange(armed, false)) eventfd_write(wakeup.get(), 1);
  }

  void Close() {
    std::lock_guard lock(mutex);
    closed = true;
    Wake();
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Frame> frames;
  size_t queued_bytes = 0;
  bool closed = false;
  bool armed = false;
  FileDescriptor wakeup;
};

namespace {

absl::StatusOr<std::shared_ptr<InMemoryChannel::Pipe>> NewPipe() {
  auto pipe = std::make_shared<InMemoryChannel::Pipe>();
  pipe->wakeup = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!pipe->wakeup) return ErrnoStatus(errno, "creating an eventfd");
  return pipe;
}

absl::Status PeerGone() { return absl::UnavailableError("the peer has closed its end"); }

}  // namespace

absl::StatusOr<InMemoryChannel::Pair> InMemoryChannel::CreatePair() {
  ASSIGN_OR_RETURN(std::shared_ptr<Pipe> requests, NewPipe());
  ASSIGN_OR_RETURN(std::shared_ptr<Pipe> replies, NewPipe());
  return Pair{.client = std::make_unique<InMemoryChannel>(requests, replies),
              .server = std::make_unique<InMemoryChannel>(replies, requests)};
}

InMemoryChannel::InMemoryChannel(std::shared_ptr<Pipe> outbound, std::shared_ptr<Pipe> inbound)
    : outbound_(std::move(outbound)), inbound_(std::move(inbound)) {}

InMemoryChannel::~InMemoryChannel() {
  outbound_->Close();
  inbound_->Close();
}

absl::Status InMemoryChannel::Send(const FrameLabel& label, std::span<const uint8_t> payload) {
  RETURN_IF_ERROR(CheckPayloadSize(payload.size()));
  Frame frame = {.header = MakeFrameHeader(label, payload.size()),
                 .payload = {payload.begin(), payload.end()}};
  std::lock_guard lock(outbound_->mutex);
  if (outbound_->closed) return PeerGone();
  if (outbound_->queued_bytes + frame.header.frame_bytes > kInMemoryPipeBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat("the pipe holds ", outbound_->queued_bytes,
                                                     " bytes of ", kInMemoryPipeBytesMax,
                                                     ", a frame needs ", frame.header.frame_bytes));
  }
  outbound_->queued_bytes += frame.header.frame_bytes;
  outbound_->frames.push_back(std::move(frame));
  outbound_->Wake();
  return absl::OkStatus();
}

absl::StatusOr<bool> InMemoryChannel::TryReceive(Frame* frame) {
  std::lock_guard lock(inbound_->mutex);
  if (inbound_->frames.empty()) {
    if (inbound_->closed) return PeerGone();
    return false;
  }
  *frame = std::move(inbound_->frames.front());
  inbound_->frames.pop_front();
  inbound_->queued_bytes -= frame->header.frame_bytes;
  return true;
}

absl::Status InMemoryChannel::WaitReadable(MonotonicTime deadline) {
  const std::chrono::steady_clock::time_point until{
      std::chrono::nanoseconds(deadline.nanoseconds)};  // steady_clock is CLOCK_MONOTONIC too
  std::unique_lock lock(inbound_->mutex);
  if (!inbound_->changed.wait_until(lock, until, [this] { return inbound_->SomethingToSay(); })) {
    return absl::DeadlineExceededError("nothing was received before the deadline");
  }
  return inbound_->frames.empty() ? PeerGone() : absl::OkStatus();
}

int InMemoryChannel::readable_fd() const { return inbound_->wakeup.get(); }

bool InMemoryChannel::ArmWakeup() {
  std::lock_guard lock(inbound_->mutex);
  inbound_->armed = !inbound_->SomethingToSay();
  return inbound_->armed;
}

void InMemoryChannel::DisarmWakeup() {
  std::lock_guard lock(inbound_->mutex);
  inbound_->armed = false;
  eventfd_t count;
  eventfd_read(inbound_->wakeup.get(), &count);
}

}  // namespace larder

#include "daemon/node/poller.h"

#include <array>
#include <cerrno>
#include <cmath>

namespace larder {
namespace {

constexpr int kEventsPerWaitMax = 256;

int TimeoutMs(absl::Duration timeout) {
  // Rounded up, so that a wait for a deadline does not end just before it, again and again.
  return static_cast<int>(absl::ToInt64Milliseconds(
      absl::Ceil(std::max(timeout, absl::ZeroDuration()), absl::Milliseconds(1))));
}

}  // namespace

absl::StatusOr<Poller> Poller::Create() {
  FileDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ErrnoStatus(errno, "creating an epoll instance");
  return Poller(std::move(epoll));
}

absl::Status Poller::Watch(int fd, uint64_t token, bool readable) {
  epoll_event event{};
  event.events = (readable ? EPOLLIN : 0u) | EPOLLRDHUP;
  event.data.u64 = token;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, "watching a descriptor");
  }
  return absl::OkStatus();
}

void Poller::StopReading(int fd, uint64_t token) {
  epoll_event event{};
  event.events = EPOLLRDHUP;
  event.data.u64 = token;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::Forget(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

const std::vector<Poller::Event>& Poller::Wait(absl::Duration timeout) {
  std::array<epoll_event, kEventsPerWaitMax> raw;
  const int count = epoll_wait(epoll_.get(), raw.data(), kEventsPerWaitMax, TimeoutMs(timeout));
  events_.clear();
  for (int i = 0; i < count; ++i) {
    events_.push_back({.token = raw[i].data.u64,
                       .readable = (raw[i].events & EPOLLIN) != 0,
                       .hung_up = (raw[i].events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0});
  }
  return events_;
}

}  // namespace larder

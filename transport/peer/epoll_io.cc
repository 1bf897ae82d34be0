#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_map>

#include "common/file_descriptor.h"
#include "transport/peer/peer_io.h"

namespace larder {
namespace {

constexpr uint64_t kWakeId = ~uint64_t{0};
constexpr size_t kEventsMax = 64;
// While receives succeed at once, the other sockets are looked after every so many rounds.
constexpr int kRoundsWithoutPoll = 4;

// Edge-triggered: a socket is registered once and what it reported is kept until it was used.
class EpollPeerIo final : public PeerIo {
 public:
  absl::Status Start() {
    epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return ErrnoStatus(errno, "making an epoll");
    wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) return ErrnoStatus(errno, "making an eventfd");
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u64 = kWakeId;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
      return ErrnoStatus(errno, "adding an eventfd to an epoll");
    }
    return absl::OkStatus();
  }

  void Receive(uint64_t id, int fd, std::span<const iovec> into) override {
    Socket& socket = Find(id, fd);
    socket.into = into;
    socket.receiving = true;
    if (socket.readable) attempts_.push_back(id);
  }

  void CancelReceive(uint64_t id) override {
    const auto found = sockets_.find(id);
    if (found == sockets_.end() || !found->second.receiving) return;
    found->second.receiving = false;
    ready_.push_back({PeerIoEvent::Kind::kReceived, id, -ECANCELED});
  }

  void AwaitReadable(uint64_t id, int fd) override {
    Socket& socket = Find(id, fd);
    socket.awaits_readable = true;
    Report(id, socket);
  }

  void AwaitWritable(uint64_t id, int fd) override {
    Socket& socket = Find(id, fd);
    socket.awaits_writable = true;
    Report(id, socket);
  }

  void Forget(uint64_t id, int fd) override {
    const auto found = sockets_.find(id);
    if (found == sockets_.end()) return;
    CancelReceive(id);
    sockets_.erase(found);
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }

  bool forgetting() const override { return false; }

  absl::Status Wait(absl::Duration timeout, std::vector<PeerIoEvent>* events) override {
    TryReceives();
    const bool idle = ready_.empty();
    if (idle || ++rounds_ >= kRoundsWithoutPoll) {
      rounds_ = 0;
      RETURN_IF_ERROR(Poll(idle ? timeout : absl::ZeroDuration()));
      if (idle) TryReceives();
    }
    events->insert(events->end(), ready_.begin(), ready_.end());
    ready_.clear();
    return absl::OkStatus();
  }

  void Wake() override {
    const uint64_t one = 1;
    // It cannot be full: the counter holds 2^64 - 2 wakes.
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  }

  absl::string_view name() const override { return "epoll"; }

 private:
  struct Socket {
    int fd = -1;
    std::span<const iovec> into;
    bool receiving = false;
    bool readable = true, writable = false;  // as far as is known
    bool ended = false;                      // stays readable to its end
    bool awaits_readable = false, awaits_writable = false;
  };

  Socket& Find(uint64_t id, int fd) {
    const auto [found, added] = sockets_.try_emplace(id);
    if (added) {
      found->second.fd = fd;
      epoll_event event = {};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.u64 = id;
      if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        // Then it is tried, fails or not, and is never waited for: its peer is found silent.
        found->second.ended = true;
      }
    }
    return found->second;
  }

  void TryReceives() {
    for (const uint64_t id : attempts_) {
      const auto found = sockets_.find(id);
      if (found != sockets_.end() && found->second.receiving) TryReceive(id, found->second);
    }
    attempts_.clear();
  }

  void TryReceive(uint64_t id, Socket& socket) {
    msghdr message = {};
    message.msg_iov = const_cast<iovec*>(socket.into.data());
    message.msg_iovlen = socket.into.size();
    size_t wanted = 0;
    for (const iovec& part : socket.into) wanted += part.iov_len;
    ssize_t received = 0;
    do {
      received = recvmsg(socket.fd, &message, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      socket.readable = false;
      return;
    }
    socket.receiving = false;
    // Less than wanted: what comes later is a new edge, except for an end that was reported.
    socket.readable = socket.ended || received < 0 || static_cast<size_t>(received) == wanted;
    ready_.push_back({PeerIoEvent::Kind::kReceived, id, received < 0 ? -errno : received});
  }

  void Report(uint64_t id, Socket& socket) {
    if (socket.awaits_readable && socket.readable) {
      socket.awaits_readable = socket.readable = false;
      ready_.push_back({PeerIoEvent::Kind::kReadable, id, 0});
    }
    if (socket.awaits_writable && socket.writable) {
      socket.awaits_writable = socket.writable = false;
      ready_.push_back({PeerIoEvent::Kind::kWritable, id, 0});
    }
  }

  absl::Status Poll(absl::Duration timeout) {
    const timespec limit = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
    std::array<epoll_event, kEventsMax> events;
    const int count = epoll_pwait2(epoll_.get(), events.data(), kEventsMax, &limit, nullptr);
    if (count < 0) {
      if (errno == EINTR) return absl::OkStatus();
      return absl::InternalError(ErrnoStatus(errno, "waiting for an epoll").message());
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[static_cast<size_t>(i)].data.u64;
      if (id == kWakeId) {
        uint64_t wakes = 0;
        [[maybe_unused]] const ssize_t got = read(wake_.get(), &wakes, sizeof wakes);
        continue;
      }
      const auto found = sockets_.find(id);
      if (found != sockets_.end()) {
        Note(id, found->second, events[static_cast<size_t>(i)].events);
      }
    }
    return absl::OkStatus();
  }

  void Note(uint64_t id, Socket& socket, uint32_t happened) {
    if ((happened & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.ended = true;
    if ((happened & EPOLLIN) != 0 || socket.ended) {
      socket.readable = true;
      if (socket.receiving) attempts_.push_back(id);
    }
    if ((happened & EPOLLOUT) != 0 || socket.ended) socket.writable = true;
    Report(id, socket);
  }

  FileDescriptor epoll_, wake_;
  std::unordered_map<uint64_t, Socket> sockets_;
  std::vector<uint64_t> attempts_;
  std::vector<PeerIoEvent> ready_;
  int rounds_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerIo>> MakeEpollPeerIo() {
  auto io = std::make_unique<EpollPeerIo>();
  RETURN_IF_ERROR(io->Start());
  return io;
}

}  // namespace larder

#include "tools/bench/raw_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/file_descriptor.h"

namespace larder {
namespace {

constexpr size_t kQuestionBytes = 64;

struct Ends {
  FileDescriptor client, server;
};

absl::Status SetOptions(int fd, const RawStreamOptions& options) {
  const int one = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
    return ErrnoStatus(errno, "setting TCP_NODELAY");
  }
  if (options.congestion.empty()) return absl::OkStatus();
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options.congestion.data(),
                 static_cast<socklen_t>(options.congestion.size())) != 0) {
    return ErrnoStatus(errno, absl::StrCat("setting the congestion control ", options.congestion));
  }
  return absl::OkStatus();
}

absl::StatusOr<Ends> Connect(const RawStreamOptions& options) {
  FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Ends ends;
  ends.client = FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || !ends.client) return ErrnoStatus(errno, "making a socket");
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (bind(listener.get(), name, size) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), name, &size) != 0) {
    return ErrnoStatus(errno, "listening on loopback");
  }
  if (connect(ends.client.get(), name, size) != 0) return ErrnoStatus(errno, "connecting");
  ends.server = FileDescriptor(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!ends.server) return ErrnoStatus(errno, "accepting");
  RETURN_IF_ERROR(SetOptions(ends.client.get(), options));
  RETURN_IF_ERROR(SetOptions(ends.server.get(), options));
  return ends;
}

// Blocking; false when the connection broke.
bool SendAll(int fd, const uint8_t* data, uint64_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    bytes -= static_cast<uint64_t>(sent);
  }
  return true;
}

bool ReceiveAll(int fd, uint8_t* data, uint64_t bytes) {
  while (bytes > 0) {
    const ssize_t received = recv(fd, data, bytes, MSG_WAITALL);
    if (received <= 0) return false;
    data += received;
    bytes -= static_cast<uint64_t>(received);
  }
  return true;
}

// Memory that is there already, as an arena's is, and in no cache.
absl::StatusOr<MemoryMapping> MakeRegion(uint64_t bytes) {
  ASSIGN_OR_RETURN(MemoryMapping region, MemoryMapping::MapAnonymous(bytes));
  std::memset(region.data(), 1, region.size());
  return region;
}

// The place of the next block in a region that is used round and round.
class Places {
 public:
  Places(const MemoryMapping& region, uint64_t block_bytes)
      : region_(region), block_bytes_(block_bytes) {}

  uint8_t* Next() {
    if (at_ + block_bytes_ > region_.size()) at_ = 0;
    return region_.data() + std::exchange(at_, at_ + block_bytes_);
  }

 private:
  const MemoryMapping& region_;
  const uint64_t block_bytes_;
  uint64_t at_ = 0;
};

absl::Status CheckSizes(uint64_t block_bytes, const RawStreamOptions& options) {
  if (block_bytes > 0 && block_bytes <= options.region_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("blocks of ", block_bytes, " bytes, possible are 1 to ", options.region_bytes));
}

}  // namespace

double OwnCpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

absl::StatusOr<RawStreamRun> RunRawStream(uint64_t block_bytes, uint64_t total_bytes,
                                          const RawStreamOptions& options) {
  RETURN_IF_ERROR(CheckSizes(block_bytes, options));
  ASSIGN_OR_RETURN(const Ends ends, Connect(options));
  ASSIGN_OR_RETURN(const MemoryMapping source, MakeRegion(options.region_bytes));
  ASSIGN_OR_RETURN(const MemoryMapping target, MakeRegion(options.region_bytes));
  const uint64_t blocks = std::max<uint64_t>(total_bytes / block_bytes, 1);
  const double cpu_begin = OwnCpuSeconds();
  const MonotonicTime start = SystemClock::Get().Now();
  std::thread sender([&] {
    Places places(source, block_bytes);
    for (uint64_t i = 0; i < blocks; ++i) {
      if (!SendAll(ends.client.get(), places.Next(), block_bytes)) break;
    }
    shutdown(ends.client.get(), SHUT_WR);
  });
  Places places(target, block_bytes);
  bool received = true;
  for (uint64_t i = 0; i < blocks && received; ++i) {
    received = ReceiveAll(ends.server.get(), places.Next(), block_bytes);
  }
  const absl::Duration taken = SystemClock::Get().Now() - start;
  shutdown(ends.server.get(), SHUT_RDWR);  // ends a sender that is still at it
  sender.join();
  if (!received) return absl::UnavailableError("the plain stream broke");
  return RawStreamRun{
      .bytes_per_second = static_cast<double>(blocks * block_bytes) / absl::ToDoubleSeconds(taken),
      .cpu_seconds = OwnCpuSeconds() - cpu_begin};
}

absl::StatusOr<std::vector<absl::Duration>> RawPingPong(uint64_t bytes, int rounds,
                                                        const RawStreamOptions& options) {
  RETURN_IF_ERROR(CheckSizes(bytes, options));
  ASSIGN_OR_RETURN(const Ends ends, Connect(options));
  ASSIGN_OR_RETURN(const MemoryMapping source, MakeRegion(options.region_bytes));
  ASSIGN_OR_RETURN(const MemoryMapping target, MakeRegion(options.region_bytes));
  std::thread answering([&] {
    Places places(source, bytes);
    std::vector<uint8_t> question(kQuestionBytes);
    while (ReceiveAll(ends.server.get(), question.data(), question.size())) {
      if (!SendAll(ends.server.get(), places.Next(), bytes)) break;
    }
  });
  Places places(target, bytes);
  const std::vector<uint8_t> question(kQuestionBytes);
  std::vector<absl::Duration> times;
  bool whole = true;
  for (int i = 0; i < rounds && whole; ++i) {
    const MonotonicTime start = SystemClock::Get().Now();
    whole = SendAll(ends.client.get(), question.data(), question.size()) &&
            ReceiveAll(ends.client.get(), places.Next(), bytes);
    times.push_back(SystemClock::Get().Now() - start);
  }
  shutdown(ends.client.get(), SHUT_RDWR);
  answering.join();
  if (!whole) return absl::UnavailableError("the plain ping-pong broke");
  return times;
}

}  // namespace larder

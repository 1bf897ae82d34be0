// Stands between two nodes of a test and harms what passes.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/random.h"

namespace larder {

inline sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A blocking connection to "127.0.0.1:PORT".
inline FileDescriptor ConnectTo(const std::string& address) {
  uint32_t port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) << address;
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in name = Loopback(static_cast<uint16_t>(port));
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  return fd;
}

// Forwards connections to `target` until it ends. Its switches are thread-safe.
class TcpProxy {
 public:
  // Called on the proxy's thread with what passes, as it comes; may change it.
  using Meddle = std::function<void(std::span<uint8_t> bytes)>;

  explicit TcpProxy(std::string target, uint64_t seed = 1, Meddle meddle = nullptr)
      : target_(std::move(target)),
        meddle_(std::move(meddle)),
        random_(seed),
        listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name = Loopback(0);
    socklen_t size = sizeof name;
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), size), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(name.sin_port));
    thread_ = std::thread([this] { Run(); });
  }
  ~TcpProxy() {
    stop_ = true;
    thread_.join();
  }
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  const std::string& address() const { return address_; }
  // Nothing passes any more, and nothing is closed.
  void Stall() { stalled_ = true; }
  // Flips one bit about every so many bytes.
  void FlipBits(uint64_t every_bytes) { flip_every_ = every_bytes; }
  uint64_t flipped() const { return flipped_; }

 private:
  struct Pipe {
    FileDescriptor from, to;
  };

  void Run() {
    while (!stop_) {
      std::vector<pollfd> waits = {{listener_.get(), POLLIN, 0}};
      if (!stalled_) {
        for (const Pipe& pipe : pipes_) waits.push_back({pipe.from.get(), POLLIN, 0});
      }
      if (poll(waits.data(), waits.size(), 10) <= 0) continue;
      for (size_t i = waits.size() - 1; i > 0; --i) {
        if (waits[i].revents != 0 && !Forward(pipes_[i - 1])) Drop(i - 1);
      }
      if (waits[0].revents != 0) Accept();
    }
  }

  void Accept() {
    FileDescriptor from(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    FileDescriptor to = ConnectTo(target_);
    absl::StatusOr<FileDescriptor> back_from = to.Duplicate(), back_to = from.Duplicate();
    ASSERT_TRUE(back_from.ok() && back_to.ok());
    pipes_.push_back({std::move(from), std::move(to)});
    pipes_.push_back({*std::move(back_from), *std::move(back_to)});
  }

  bool Forward(const Pipe& pipe) {
    std::array<uint8_t, 65536> buffer;
    const ssize_t received = recv(pipe.from.get(), buffer.data(), buffer.size(), 0);
    if (received <= 0) return false;
    const auto bytes = static_cast<size_t>(received);
    if (meddle_) meddle_(std::span(buffer).first(bytes));
    if (flip_every_ > 0 && random_.Below(flip_every_) < bytes) {
      buffer[random_.Below(bytes)] ^= static_cast<uint8_t>(1u << random_.Below(8));
      ++flipped_;
    }
    return send(pipe.to.get(), buffer.data(), bytes, MSG_NOSIGNAL) == received;
  }

  // Both directions of a connection lie next to each other.
  void Drop(size_t i) {
    const size_t first = i / 2 * 2;
    for (const size_t at : {first, first + 1}) shutdown(pipes_[at].from.get(), SHUT_RDWR);
    pipes_[first] = Pipe();
    pipes_[first + 1] = Pipe();
  }

  const std::string target_;
  const Meddle meddle_;
  SeededRandom random_;
  FileDescriptor listener_;
  std::string address_;
  std::vector<Pipe> pipes_;
  std::atomic<bool> stop_ = false, stalled_ = false;
  std::atomic<uint64_t> flip_every_ = 0, flipped_ = 0;
  std::thread thread_;
};

}  // namespace larder

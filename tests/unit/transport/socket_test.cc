#include "transport/local/socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/unit/transport/channel_pairs.h"
#include "tests/unit/transport/temporary_directory.h"

namespace larder {
namespace {

using testing::HasSubstr;

class SocketTest : public testing::Test {
 protected:
  std::string Path() const { return directory_.path() + "/larder.sock"; }
  absl::StatusOr<UnixListener> Listen() const { return UnixListener::Listen({.path = Path()}); }

  TemporaryDirectory directory_;
};

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

TEST_F(SocketTest, AcceptsWithCredentials) {
  const UnixListener listener = Listen().value();
  EXPECT_FALSE(listener.Accept().value().has_value());
  const FileDescriptor client = UnixConnect(Path(), After(kPatience)).value();
  const auto connection = listener.Accept().value();
  ASSERT_TRUE(connection.has_value());
  EXPECT_EQ(connection->peer.process_id, getpid());
  EXPECT_EQ(connection->peer.user_id, geteuid());
  EXPECT_EQ(connection->peer.group_id, getegid());
  EXPECT_TRUE(fcntl(connection->socket.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(fcntl(connection->socket.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(SocketTest, HasTheModeAskedFor) {
  const UnixListener listener = UnixListener::Listen({.path = Path(), .mode = 0660}).value();
  struct stat stat_buffer;
  ASSERT_EQ(lstat(Path().c_str(), &stat_buffer), 0);
  EXPECT_EQ(stat_buffer.st_mode & 07777, 0660u);
}

TEST_F(SocketTest, AnUnknownGroupIsNamedAndLeavesNoSocket) {
  const absl::Status status =
      UnixListener::Listen({.path = Path(), .group = "no-such-group-here"}).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-group-here"));
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

TEST_F(SocketTest, APathTooLongIsRefusedWithItsLength) {
  const std::string path = "/tmp/" + std::string(120, 'x');
  for (const absl::Status& status : {UnixListener::Listen({.path = path}).status(),
                                     UnixConnect(path, After(kPatience)).status()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("has 125 bytes, the system allows 107"));
  }
}

TEST_F(SocketTest, ReplacesAStaleSocketOnly) {
  {
    // What a killed daemon leaves: a bound name with nobody behind it.
    const FileDescriptor stale(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::memcpy(address.sun_path, Path().data(), Path().size());
    ASSERT_EQ(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  const absl::StatusOr<UnixListener> first = Listen();
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = Listen().status();
  EXPECT_TRUE(absl::IsAlreadyExists(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("another process listens"));
  EXPECT_TRUE(UnixConnect(Path(), After(kPatience)).ok());
}

TEST_F(SocketTest, LeavesWhatIsNoSocketAlone) {
  const FileDescriptor file(open(Path().c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  const absl::Status status = Listen().status();
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not a socket"));
  EXPECT_TRUE(std::filesystem::exists(Path()));
}

TEST_F(SocketTest, RemovesItsOwnNameOnly) {
  {
    const UnixListener listener = Listen().value();
    EXPECT_TRUE(std::filesystem::exists(Path()));
  }
  EXPECT_FALSE(std::filesystem::exists(Path()));
  auto first = std::make_unique<UnixListener>(Listen().value());
  std::filesystem::rename(Path(), Path() + ".old");
  const UnixListener second = Listen().value();
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(Path()));
}

TEST_F(SocketTest, NobodyThereIsUnavailable) {
  EXPECT_TRUE(absl::IsUnavailable(UnixConnect(Path(), After(kPatience)).status()));
}

TEST_F(SocketTest, AListenerThatNeverAcceptsIsADeadline) {
  const FileDescriptor listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path, Path().data(), Path().size());
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  const FileDescriptor first = UnixConnect(Path(), After(kPatience)).value();
  const absl::Status second = UnixConnect(Path(), After(absl::Milliseconds(30))).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(second)) << second;
}

TEST_F(SocketTest, DescriptorsArriveInOrder) {
  auto [left, right] = SocketPair();
  const FileDescriptor first(eventfd(11, EFD_CLOEXEC));
  const FileDescriptor second(eventfd(22, EFD_CLOEXEC));
  const int descriptors[] = {first.get(), second.get()};
  const std::vector<uint8_t> bytes = PatternPayload(1, 50);
  ASSERT_TRUE(SendWithDescriptors(left, bytes, descriptors).ok());
  std::vector<uint8_t> buffer(100);
  const auto packet = ReceiveWithDescriptors(right, buffer, 2).value();
  ASSERT_TRUE(packet.has_value());
  EXPECT_EQ(packet->packet_bytes, 50u);
  ASSERT_EQ(packet->descriptors.size(), 2u);
  eventfd_t count = 0;
  ASSERT_EQ(eventfd_read(packet->descriptors[0].get(), &count), 0);
  EXPECT_EQ(count, 11u);
  ASSERT_EQ(eventfd_read(packet->descriptors[1].get(), &count), 0);
  EXPECT_EQ(count, 22u);
  EXPECT_TRUE(fcntl(packet->descriptors[0].get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_FALSE(ReceiveWithDescriptors(right, buffer, 2).value().has_value());
}

TEST_F(SocketTest, SurplusDescriptorsAreRefusedAndClosed) {
  auto [left, right] = SocketPair();
  const std::vector<int> many(100, left.get());
  std::vector<uint8_t> buffer(100);
  const size_t open_before = OpenDescriptors();
  EXPECT_TRUE(absl::IsInvalidArgument(SendWithDescriptors(left, buffer, many)));
  for (const size_t sent : {size_t{1}, size_t{3}, kDescriptorsPerPacketMax, many.size()}) {
    for (const size_t wanted : {size_t{0}, size_t{2}}) {
      if (sent <= wanted) continue;
      // By hand, as only a hostile peer sends so many.
      std::vector<uint8_t> control(CMSG_SPACE(sent * sizeof(int)));
      iovec part = {buffer.data(), 10};
      msghdr message = {};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sent * sizeof(int));
      std::memcpy(CMSG_DATA(header), many.data(), sent * sizeof(int));
      ASSERT_GT(sendmsg(left.get(), &message, 0), 0);
      const absl::Status status = ReceiveWithDescriptors(right, buffer, wanted).status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
      EXPECT_EQ(OpenDescriptors(), open_before);
    }
  }
}

TEST_F(SocketTest, APacketLargerThanTheBufferIsRefused) {
  auto [left, right] = SocketPair();
  ASSERT_TRUE(SendWithDescriptors(left, PatternPayload(1, 200), {}).ok());
  std::vector<uint8_t> buffer(100);
  EXPECT_TRUE(absl::IsDataLoss(ReceiveWithDescriptors(right, buffer, 0).status()));
}

TEST_F(SocketTest, APeerThatHasGoneIsUnavailable) {
  auto [left, right] = SocketPair();
  left.Reset();
  std::vector<uint8_t> buffer(100);
  EXPECT_TRUE(absl::IsUnavailable(SendWithDescriptors(right, buffer, {})));
  EXPECT_TRUE(absl::IsUnavailable(ReceiveWithDescriptors(right, buffer, 0).status()));
}

}  // namespace
}  // namespace larder

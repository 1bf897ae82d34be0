// How the daemon's process begins and ends: one owner of an arena, draining, private daemons.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/raw_session.h"

namespace larder {
namespace {

constexpr size_t kChunks = 8;

// -------------------------------------------------------------

class DaemonLifeTest : public testing::Test {
 protected:
  const Manifest manifest_ = KnownManifest();
  SharedDirectory directory_;
  DaemonProcess daemon_{directory_.path(), {}};
};

TEST_F(DaemonLifeTest, ASecondDaemonOnTheSameArenaNamesTheFirst) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  std::vector<std::string> arguments = daemon_.CommandLine();
  arguments.push_back(absl::StrCat("--socket=", directory_.path(), "/other.sock"));
  const auto second = ChildProcess::Start(arguments);
  EXPECT_EQ(second->WaitForEnd(), "exit 1");
  EXPECT_THAT(second->Output(), testing::HasSubstr("another daemon owns the arena"));
  EXPECT_THAT(second->Output(), testing::HasSubstr(absl::StrCat(daemon_.process().pid())));
  // Same arena and same socket: the first one keeps both.
  const auto third = ChildProcess::Start(daemon_.CommandLine());
  EXPECT_EQ(third->WaitForEnd(), "exit 1");
  EXPECT_TRUE(ConnectClient(daemon_.socket_path())->connected());
}

TEST_F(DaemonLifeTest, AProfileThatIsNoneEndsTheStart) {
  std::vector<std::string> arguments = daemon_.CommandLine();
  arguments.insert(arguments.end(),
                   {"--grpc-listen=127.0.0.1:0", "--set", "grpc.profiles=/nonexistent/profile"});
  const auto daemon = ChildProcess::Start(arguments);
  EXPECT_EQ(daemon->WaitForEnd(), "exit 1");
  EXPECT_THAT(daemon->Output(), testing::HasSubstr("grpc.profiles: opening /nonexistent/profile"));
}

TEST_F(DaemonLifeTest, TheSignalToEndDrainsWhatIsBeingPut) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  const auto client = ConnectClient(daemon_.socket_path());
  ClientSpace space = *client->Open(manifest_);
  const auto keys = KnownKeys(1, kChunks);
  KnownBuffers buffers(kChunks, manifest_);
  buffers.Fill(keys);
  auto session = RawSession::Connect(daemon_.socket_path());
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->OpenSpace(manifest_).ok());
  const auto outcomes = session->Reserve(keys);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  daemon_.process().Signal(SIGTERM);
  ASSERT_TRUE(daemon_.process().WaitForOutput("draining"));
  EXPECT_TRUE(absl::IsUnavailable(space.Put(KnownKeys(2, 1), buffers.sources(1)).status));
  EXPECT_TRUE(daemon_.running()) << "it did not wait for the put in flight";
  std::vector<uint64_t> reservations;
  for (size_t i = 0; i < kChunks; ++i) {
    const auto source = buffers.sources(kChunks)[i][0];
    ASSERT_TRUE(session->Fill((*outcomes)[i], keys[i], {source.data, source.size}).ok());
    reservations.push_back((*outcomes)[i].reservation);
  }
  const auto codes = session->Commit(reservations);
  ASSERT_TRUE(codes.ok()) << codes.status();
  EXPECT_THAT(*codes, testing::Each(0u));
  EXPECT_EQ(daemon_.process().WaitForEnd(), "exit 0");
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  ASSERT_TRUE(Eventually([&] { return space.Match(keys).chunks == kChunks; }));
  buffers.Spoil();
  EXPECT_EQ(space.Fetch(keys, buffers.destinations(kChunks)).chunks, kChunks);
  EXPECT_EQ(buffers.CountRight(keys, kChunks), kChunks);
}

TEST_F(DaemonLifeTest, ADrainWaitsNoLongerThanItMayForWhoNeverCommits) {
  DaemonProcess impatient(directory_.path(), {.flags = {"--set", "drain.timeout=300ms"}});
  ASSERT_NO_FATAL_FAILURE(impatient.Start());
  auto session = RawSession::Connect(impatient.socket_path());
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->OpenSpace(manifest_).ok());
  ASSERT_TRUE(session->Reserve(KnownKeys(1, 1)).ok());
  impatient.process().Signal(SIGTERM);
  EXPECT_EQ(impatient.process().WaitForEnd(absl::Seconds(3)), "exit 0");
}

TEST_F(DaemonLifeTest, ASecondSignalEndsADrain) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  auto session = RawSession::Connect(daemon_.socket_path());
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->OpenSpace(manifest_).ok());
  ASSERT_TRUE(session->Reserve(KnownKeys(1, 1)).ok());
  daemon_.process().Signal(SIGTERM);
  ASSERT_TRUE(daemon_.process().WaitForOutput("draining"));
  EXPECT_EQ(daemon_.process().WaitForEnd(absl::Milliseconds(200)), std::nullopt);
  daemon_.process().Signal(SIGTERM);
  EXPECT_EQ(daemon_.process().WaitForEnd(absl::Seconds(2)), "exit 0");
}

TEST_F(DaemonLifeTest, AnIdleDaemonEndsAtTheSignalAtOnce) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  const auto client = ConnectClient(daemon_.socket_path());
  daemon_.process().Signal(SIGTERM);
  EXPECT_EQ(daemon_.process().WaitForEnd(absl::Seconds(2)), "exit 0");
}

// The pids of the processes that run larderd for `directory`.
std::vector<std::string> DaemonsOf(const std::string& directory) {
  std::vector<std::string> pids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::ifstream file(entry.path() / "cmdline");
    std::stringstream text;
    text << file.rdbuf();
    if (absl::StrContains(text.str(), "larderd") && absl::StrContains(text.str(), directory)) {
      pids.push_back(entry.path().filename());
    }
  }
  return pids;
}

TEST_F(DaemonLifeTest, APrivateDaemonDiesWithItsOwner) {
  const auto owner = ChildProcess::Start({E2E_CLIENT_PATH, "own", LARDERD_PATH});
  ASSERT_TRUE(owner->WaitForOutput("ready\n")) << owner->Output();
  const std::vector<std::string> words = absl::StrSplit(owner->Output(), ' ');
  const std::filesystem::path private_directory = std::filesystem::path(words[1]).parent_path();
  ASSERT_EQ(DaemonsOf(private_directory).size(), 1u) << owner->Output();
  owner->Kill();
  EXPECT_TRUE(Eventually([&] { return DaemonsOf(private_directory).empty(); }, absl::Seconds(2)));
  EXPECT_TRUE(
      Eventually([&] { return !std::filesystem::exists(private_directory); }, absl::Seconds(2)))
      << private_directory;
}

TEST(PrivateDaemonTest, OneThatCannotStartSaysWhy) {
  PrivateDaemonOptions options;
  options.larderd = LARDERD_PATH;
  options.flags = {"--set", "local.nonsense=1"};
  const auto client = Client::StartPrivate(options);
  EXPECT_TRUE(absl::IsUnavailable(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), testing::HasSubstr("local.nonsense"));
}

TEST(PrivateDaemonTest, KeepsNoneOfItsOwnersDescriptorsOpen) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // Both are inherited by every program that this process starts.
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  PrivateDaemonOptions options;
  options.larderd = LARDERD_PATH;
  const auto client = Client::StartPrivate(options);
  ASSERT_TRUE(client.ok()) << client.status();
  writer.Reset();
  pollfd end = {reader.get(), POLLIN, 0};
  ASSERT_EQ(poll(&end, 1, 1000), 1) << "somebody still holds the pipe's other end";
  EXPECT_NE(end.revents & POLLHUP, 0);
}

}  // namespace
}  // namespace larder

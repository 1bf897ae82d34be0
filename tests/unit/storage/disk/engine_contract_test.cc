// What every engine promises, on each of them.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "common/file_descriptor.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/io_engine.h"
#include "storage/disk/segment_format.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk/fake_disk.h"

namespace larder {
namespace {

constexpr uint64_t kFileBytes = uint64_t{4} << 20;
constexpr uint32_t kDepth = 16;
constexpr absl::Duration kLong = absl::Seconds(30);

enum class EngineKind { kIoUring, kThreads, kMemory };

std::string NameOf(const ::testing::TestParamInfo<EngineKind>& parameter) {
  switch (parameter.param) {
    case EngineKind::kIoUring:
      return "IoUring";
    case EngineKind::kThreads:
      return "Threads";
    case EngineKind::kMemory:
      return "Memory";
  }
  return "Unknown";
}

class EngineContractTest : public ::testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    auto memory = MemoryMapping::MapAnonymous(kFileBytes);
    ASSERT_TRUE(memory.ok());
    memory_ = *std::move(memory);
    Make(memory_.bytes().first(kFileBytes / 2));
  }

  // Half of the memory is registered.
  void Make(std::span<uint8_t> registered) {
    engine_.reset();
    const IoEngineOptions options = {.depth = kDepth, .registered_memory = {registered}};
    if (GetParam() == EngineKind::kMemory) {
      space_ = disk_.MakeSpace();
      ASSERT_EQ(space_->Extend(kFileBytes, 0), absl::OkStatus());
      engine_ = disk_.MakeEngine(kDepth);
      return;
    }
    const std::string path = directory_.path() + "/file";
    file_ = FileDescriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(file_);
    ASSERT_EQ(ftruncate(file_.get(), kFileBytes), 0);
    auto engine = GetParam() == EngineKind::kIoUring ? MakeIoUringEngine(file_.get(), options)
                                                     : MakeThreadedEngine(file_.get(), options, 4);
    if (!engine.ok()) GTEST_SKIP() << engine.status();
    engine_ = *std::move(engine);
  }

  std::vector<IoCompletion> WaitFor(size_t count) {
    std::vector<IoCompletion> completions;
    while (completions.size() < count) {
      const size_t before = completions.size();
      EXPECT_EQ(engine_->Wait(kLong, &completions), absl::OkStatus());
      if (completions.size() == before) break;
    }
    EXPECT_EQ(completions.size(), count);
    return completions;
  }

  IoCompletion Do(IoOperation::Kind kind, uint64_t offset, std::span<uint8_t> memory) {
    const IoOperation operation = {kind, offset, memory, 7};
    EXPECT_EQ(engine_->Submit({&operation, 1}), 1u);
    const std::vector<IoCompletion> completions = WaitFor(1);
    return completions.empty() ? IoCompletion{} : completions[0];
  }

  std::span<uint8_t> Block(size_t index, size_t blocks = 1) {
    return memory_.bytes().subspan(index * kDiskBlockBytes, blocks * kDiskBlockBytes);
  }

  ScratchDirectory directory_;
  FakeDisk disk_{kFileBytes, 1};
  std::unique_ptr<SegmentSpace> space_;
  FileDescriptor file_;
  MemoryMapping memory_;
  std::unique_ptr<IoEngine> engine_;
};

TEST_P(EngineContractTest, WhatWasWrittenIsRead) {
  const size_t blocks = kFileBytes / kDiskBlockBytes;
  // Within the registered half, across its end, and beyond it.
  for (const size_t at : {size_t{0}, blocks / 2 - 2, blocks - 4}) {
    SCOPED_TRACE(at);
    std::fill_n(Block(at, 4).data(), 4 * kDiskBlockBytes, static_cast<uint8_t>(at + 3));
    const IoCompletion written = Do(IoOperation::Kind::kWrite, 8 * kDiskBlockBytes, Block(at, 4));
    EXPECT_EQ(written.error, 0);
    EXPECT_EQ(written.bytes, 4 * kDiskBlockBytes);
    EXPECT_EQ(written.token, 7u);
    std::fill_n(Block(at, 4).data(), 4 * kDiskBlockBytes, 0);
    EXPECT_EQ(Do(IoOperation::Kind::kRead, 8 * kDiskBlockBytes, Block(at, 4)).bytes,
              4 * kDiskBlockBytes);
    EXPECT_THAT(Block(at, 4), ::testing::Each(static_cast<uint8_t>(at + 3)));
  }
  EXPECT_EQ(Do(IoOperation::Kind::kSync, 0, {}).error, 0);
  EXPECT_EQ(engine_->in_flight(), 0u);
}

TEST_P(EngineContractTest, TakesAsManyAsItIsDeep) {
  std::vector<IoOperation> operations;
  for (size_t i = 0; i < kDepth + 5; ++i) {
    operations.push_back({IoOperation::Kind::kWrite, i * kDiskBlockBytes, Block(i), i});
  }
  EXPECT_EQ(engine_->depth(), kDepth);
  EXPECT_EQ(engine_->Submit(operations), kDepth);
  EXPECT_EQ(engine_->in_flight(), kDepth);
  std::vector<uint64_t> tokens;
  for (const IoCompletion& completion : WaitFor(kDepth)) tokens.push_back(completion.token);
  std::sort(tokens.begin(), tokens.end());
  for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i], i);
  EXPECT_EQ(engine_->Submit(std::span(operations).subspan(kDepth)), 5u);
  WaitFor(5);
}

TEST_P(EngineContractTest, ReadsPastTheEndAreShort) {
  EXPECT_EQ(Do(IoOperation::Kind::kRead, kFileBytes - kDiskBlockBytes, Block(0, 2)).bytes,
            kDiskBlockBytes);
  EXPECT_EQ(Do(IoOperation::Kind::kRead, kFileBytes, Block(0)).bytes, 0u);
}

TEST_P(EngineContractTest, WaitEndsAtItsTimeout) {
  std::vector<IoCompletion> completions;
  EXPECT_EQ(engine_->Wait(absl::Milliseconds(5), &completions), absl::OkStatus());
  EXPECT_TRUE(completions.empty());
}

TEST_P(EngineContractTest, WakeEndsAWait) {
  std::vector<IoCompletion> completions;
  for (int round = 0; round < 20; ++round) {
    // Before and during the wait; it would take half a minute otherwise.
    engine_->Wake();
    EXPECT_EQ(engine_->Wait(kLong, &completions), absl::OkStatus());
    std::thread waker([this] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      engine_->Wake();
    });
    EXPECT_EQ(engine_->Wait(kLong, &completions), absl::OkStatus());
    waker.join();
  }
  EXPECT_TRUE(completions.empty());
}

TEST_P(EngineContractTest, EndsWithOperationsInFlight) {
  std::vector<IoOperation> operations;
  std::memset(memory_.data(), 9, kDepth * kDiskBlockBytes);
  for (size_t i = 0; i < kDepth; ++i) {
    operations.push_back({IoOperation::Kind::kWrite, i * kDiskBlockBytes, Block(i), i});
  }
  EXPECT_EQ(engine_->Submit(operations), kDepth);
  Make({});
  EXPECT_EQ(Do(IoOperation::Kind::kRead, 0, Block(100, kDepth)).bytes, kDepth * kDiskBlockBytes);
  EXPECT_THAT(Block(100, kDepth), ::testing::Each(9));
}

INSTANTIATE_TEST_SUITE_P(All, EngineContractTest,
                         ::testing::Values(EngineKind::kIoUring, EngineKind::kThreads,
                                           EngineKind::kMemory),
                         NameOf);

TEST(IoEngineTest, ReportsTheErrorsOfTheFile) {
  FileDescriptor file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  std::vector<uint8_t> memory(kDiskBlockBytes);
  auto threaded = MakeThreadedEngine(file.get(), {.depth = 4}, 1);
  ASSERT_TRUE(threaded.ok());
  auto ring = MakeIoUringEngine(file.get(), {.depth = 4});
  for (auto* engine : {&threaded, &ring}) {
    if (!engine->ok()) continue;  // no io_uring here
    const IoOperation write = {IoOperation::Kind::kWrite, 0, memory, 1};
    ASSERT_EQ((**engine)->Submit({&write, 1}), 1u);
    std::vector<IoCompletion> completions;
    ASSERT_EQ((**engine)->Wait(kLong, &completions), absl::OkStatus());
    ASSERT_EQ(completions.size(), 1u);
    EXPECT_EQ(completions[0].error, EBADF);
  }
}

TEST(IoEngineTest, RefusesImpossibleDepths) {
  for (const uint32_t depth : {0u, 1u << 20}) {
    EXPECT_TRUE(absl::IsInvalidArgument(MakeIoUringEngine(0, {.depth = depth}).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(MakeThreadedEngine(0, {.depth = depth}, 1).status()));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(MakeThreadedEngine(0, {}, 0).status()));
}

}  // namespace
}  // namespace larder

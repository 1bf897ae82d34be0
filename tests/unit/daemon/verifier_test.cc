#include "daemon/node/verifier.h"

#include <algorithm>
#include <thread>

#include "gtest/gtest.h"
#include "tests/unit/daemon/request_handler_testing.h"

namespace larder {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);

class VerifierTest : public ::testing::Test {
 protected:
  VerifierTest()
      : tasks_(*TaskQueue::Create()),
        verifier_(&core(), tasks_.get(), handler_.arena()),
        space_(handler_.harness().Open()),
        session_(handler_.harness().OpenSession()) {}
  ~VerifierTest() override {
    verifier_.Stop();
    tasks_->Close();
  }

  Core& core() { return handler_.core(); }

  // Where the chunk lies.
  uint64_t Put(const TestChunk& chunk) {
    const ReserveOutcome reserved = handler_.harness().Reserve(session_, space_, chunk.item);
    EXPECT_EQ(reserved.kind, ReserveOutcome::Kind::kGranted);
    std::copy(chunk.container.begin(), chunk.container.end(),
              handler_.arena().begin() + static_cast<ptrdiff_t>(reserved.offset));
    EXPECT_TRUE(handler_.harness().Commit(session_, reserved.id).ok());
    return reserved.offset;
  }

  void Damage(uint64_t offset, const TestChunk& chunk) {
    handler_.arena()[offset + chunk.container.size() - 1] ^= 1;
  }

  // Waits until the verifier has given its lease back.
  void RunUntilVerified() {
    const MonotonicTime deadline = SystemClock::Get().Now() + kPatience;
    while (core().Stats().leases > 0 && SystemClock::Get().Now() < deadline) {
      tasks_->RunAll();
      std::this_thread::yield();
    }
    EXPECT_EQ(core().Stats().leases, 0u);
  }

  void Verify(const TestChunk& chunk) {
    verifier_.Verify(space_, std::span(&chunk.item.key, 1), handler_.harness().now);
  }

  HandlerHarness handler_;
  std::unique_ptr<TaskQueue> tasks_;
  Verifier verifier_;
  const SpaceHandle space_;
  const SessionId session_;
  const TestChunk chunk_ = MakeChunk(TestSpace(), 1, TestSpace().manifest.WholePart());
};

TEST_F(VerifierTest, KeepsAGoodChunkAndRemovesADamagedOne) {
  const uint64_t offset = Put(chunk_);
  Verify(chunk_);
  RunUntilVerified();
  EXPECT_TRUE(core().Inspect(space_, chunk_.item.key));
  Damage(offset, chunk_);
  Verify(chunk_);
  RunUntilVerified();
  EXPECT_FALSE(core().Inspect(space_, chunk_.item.key));
}

TEST_F(VerifierTest, ADamagedChunkThatWasPutAgainMeanwhileIsKept) {
  Damage(Put(chunk_), chunk_);
  Verify(chunk_);
  ASSERT_TRUE(core().Remove(space_, std::span(&chunk_.item.key, 1), RemovalCause::kRemoved).ok());
  Put(chunk_);
  RunUntilVerified();
  EXPECT_TRUE(core().Inspect(space_, chunk_.item.key));
}

TEST_F(VerifierTest, AFullTaskQueueDelaysTheVerdictOnly) {
  Damage(Put(chunk_), chunk_);
  while (tasks_->Post([] {}).ok()) {
  }
  Verify(chunk_);
  RunUntilVerified();
  EXPECT_FALSE(core().Inspect(space_, chunk_.item.key));
}

}  // namespace
}  // namespace larder

// What codec 2 runs on a GPU, run on the CPU: its planning, and its warps as loops over 32 lanes.
#include "kernels/codec/lossless/lossless_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/codec/lossless/lossless_codec.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

// An engine's memory: blocks of tokens in any order, each [token][head][dim].
class PagedPlane {
 public:
  PagedPlane(Random& random, const PlaneGeometry& geometry)
      : geometry_(geometry),
        token_bytes_(geometry.head_dim * CodecElementBytes(geometry.element)),
        block_tokens_(static_cast<uint32_t>(1 + random.Below(20))) {
    const uint32_t blocks = (geometry.tokens + block_tokens_ - 1) / block_tokens_;
    for (uint32_t i = 0; i < blocks; ++i) table_.push_back(i);
    for (uint32_t i = blocks; i > 1; --i) std::swap(table_[i - 1], table_[random.Below(i)]);
    memory_.resize(blocks * BlockStride(), 0xa5);
  }

  template <typename Places>
  std::vector<Places> Heads() {
    std::vector<Places> heads;
    for (uint32_t head = 0; head < geometry_.heads; ++head) {
      heads.push_back({memory_.data() + head * token_bytes_, geometry_.heads * token_bytes_,
                       table_.data(), block_tokens_, BlockStride()});
    }
    return heads;
  }

  void Write(std::span<const uint8_t> plane) {
    ForEachToken([&](size_t at, uint8_t* token) { std::copy_n(&plane[at], token_bytes_, token); });
  }
  std::vector<uint8_t> Read() {
    std::vector<uint8_t> plane(geometry_.PlaneBytes());
    ForEachToken([&](size_t at, uint8_t* token) { std::copy_n(token, token_bytes_, &plane[at]); });
    return plane;
  }

 private:
  size_t BlockStride() const { return block_tokens_ * geometry_.heads * token_bytes_; }

  template <typename Visit>
  void ForEachToken(Visit visit) {
    const std::vector<TokenDestinations> heads = Heads<TokenDestinations>();
    for (uint32_t head = 0; head < geometry_.heads; ++head) {
      for (uint32_t token = 0; token < geometry_.tokens; ++token) {
        visit((size_t{head} * geometry_.tokens + token) * token_bytes_, heads[head].At(token));
      }
    }
  }

  PlaneGeometry geometry_;
  size_t token_bytes_;
  uint32_t block_tokens_;
  std::vector<uint32_t> table_;
  std::vector<uint8_t> memory_;
};

bool DecodeTask(CodecElement element, const LosslessTask& task, const LosslessTables& tables) {
  return ChooseLosslessPath(CpuPath::kScalar, element).decode(task, tables.decode);
}

size_t EncodeTask(CodecElement element, const LosslessHeadToEncode& task,
                  const LosslessTables& tables) {
  using enum CodecElement;
  LosslessCounts counts;
  switch (element) {
    case kBfloat16:
      return LosslessHeadEncoder<CpuLanes, kBfloat16>::Encode(task, tables, counts);
    case kFloat16:
      return LosslessHeadEncoder<CpuLanes, kFloat16>::Encode(task, tables, counts);
    case kFloat8E4M3:
      return LosslessHeadEncoder<CpuLanes, kFloat8E4M3>::Encode(task, tables, counts);
    case kFloat8E5M2:
      return LosslessHeadEncoder<CpuLanes, kFloat8E5M2>::Encode(task, tables, counts);
  }
  return 0;
}

class LosslessDeviceTest : public ::testing::Test {
 protected:
  LosslessDeviceTest() { BuildLosslessTables(tables_.get()); }

  std::unique_ptr<LosslessTables> tables_ = std::make_unique<LosslessTables>();
  std::unique_ptr<Codec> codec_ = MakeLosslessCodec(BestCpuPath());
};

TEST_F(LosslessDeviceTest, WarpsEncodeTheBytesOfTheCodecFromPagedBlocks) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = RandomGeometry(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, kPlaneContents[seed % 4]);
    PagedPlane engine(random, geometry);
    engine.Write(plane);

    std::vector<uint8_t> workspace(LosslessEncodeWorkspaceBytes(geometry, 1));
    std::vector<LosslessHeadToEncode> tasks(geometry.heads);
    ASSERT_TRUE(
        PlanLosslessEncode(geometry, 1, engine.Heads<TokenSources>(), workspace.data(), tasks)
            .ok());
    std::vector<uint8_t> run(codec_->LevelBytesMax(geometry, 0));
    RunWriter writer(run, 0, geometry.heads);
    for (const LosslessHeadToEncode& task : tasks) {
      const size_t bytes = EncodeTask(geometry.element, task, *tables_);
      std::copy_n(task.to, bytes, writer.rest().data());
      writer.EndHead(bytes);
    }
    run.resize(writer.bytes());
    ASSERT_EQ(run, EncodeRun(*codec_, geometry, {}, plane));
  }
}

TEST_F(LosslessDeviceTest, PlannedTasksDecodeIntoPagedBlocks) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    PlaneGeometry geometry = RandomGeometry(random);
    geometry.filled_tokens = geometry.tokens;
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kSpecials);
    const std::vector<uint8_t> run = EncodeRun(*codec_, geometry, {}, plane);
    PagedPlane engine(random, geometry);
    std::vector<LosslessTask> tasks(geometry.heads);
    ASSERT_TRUE(PlanLosslessDecode(geometry, run, run.data(), PlaneRange::Whole(geometry),
                                   engine.Heads<TokenDestinations>(), tasks)
                    .ok());
    for (const LosslessTask& task : tasks) {
      if (task.head.form == LosslessForm::kCoded) {
        ASSERT_TRUE(DecodeTask(geometry.element, task, *tables_));
      }
    }
    const bool all_coded = std::all_of(tasks.begin(), tasks.end(), [](const LosslessTask& task) {
      return task.head.form == LosslessForm::kCoded;
    });
    if (all_coded) {
      ASSERT_EQ(engine.Read(), plane);
    }
  }
}

TEST_F(LosslessDeviceTest, WhatAGpuCouldNotReadIsRefusedBeforeTheLaunch) {
  SeededRandom random(1);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 64, .filled_tokens = 64, .head_dim = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  std::vector<uint8_t> run = EncodeRun(*codec_, geometry, {}, plane);
  std::vector<TokenDestinations> to(2);
  std::vector<LosslessTask> tasks(2);
  const PlaneRange whole = PlaneRange::Whole(geometry);
  EXPECT_EQ(PlanLosslessDecode(geometry, run, run.data() + 1, whole, to, tasks).code,
            CodecCode::kInvalidArgument);
  EXPECT_EQ(PlanLosslessDecode(geometry, run, run.data(), whole, {to.data(), 1}, tasks).code,
            CodecCode::kInvalidArgument);

  std::vector<uint8_t> misaligned = run;
  ++misaligned[0];  // where the first head ends and the second begins
  EXPECT_EQ(PlanLosslessDecode(geometry, misaligned, run.data(), whole, to, tasks).code,
            CodecCode::kCorrupt);
  std::vector<uint8_t> bad_table = run;
  bad_table[DirectoryBytes(2) + LosslessPartsOf(geometry).table_at] = kLosslessTables;
  EXPECT_EQ(PlanLosslessDecode(geometry, bad_table, run.data(), whole, to, tasks).code,
            CodecCode::kCorrupt);
  run.pop_back();
  EXPECT_EQ(PlanLosslessDecode(geometry, run, run.data(), whole, to, tasks).code,
            CodecCode::kCorrupt);
}

}  // namespace
}  // namespace larder

// The logic of the GPU's larder encoder, run lane by lane on the CPU: the bytes of the reference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/larder_device.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"
#include "tests/unit/kernels/codec/warp_testing.h"

namespace larder {
namespace {

template <CodecElement kElement>
void EncodeHeads(const WarpModel& model, const WarpEncodeJob& job) {
  AlignedBytes memory(WarpEncodeScratch::Bytes(model.view.head_dim, model.view.rotation.pairs));
  const WarpEncodeScratch scratch = WarpEncodeScratch::In(memory.data(), model.view.head_dim);
  for (uint32_t head = 0; head < job.heads; ++head) {
    WarpHeadEncoder<CpuLanes, kElement>(model.view, model.view.encode_tables, job, scratch)
        .Encode(head);
  }
  for (uint32_t head = 0; head < job.heads; ++head) {
    WarpHeadPacker<CpuLanes, kElement>(model.view, job).Pack(head);
  }
}

void EncodeWarp(const WarpModel& model, CodecElement element, const WarpEncodeJob& job) {
  switch (element) {
    case CodecElement::kBfloat16:
      return EncodeHeads<CodecElement::kBfloat16>(model, job);
    case CodecElement::kFloat16:
      return EncodeHeads<CodecElement::kFloat16>(model, job);
    case CodecElement::kFloat8E4M3:
      return EncodeHeads<CodecElement::kFloat8E4M3>(model, job);
    case CodecElement::kFloat8E5M2:
      return EncodeHeads<CodecElement::kFloat8E5M2>(model, job);
  }
}

// The plane as an engine of 16-token blocks keeps it: [block][token][head][dim], the blocks from
// the last to the first.
struct PagedPlane {
  static constexpr uint32_t kBlockTokens = 16;

  PagedPlane(const PlaneGeometry& geometry, std::span<const uint8_t> plane)
      : memory((geometry.tokens / kBlockTokens + 1) * kBlockTokens * geometry.heads *
               geometry.HeadBytes() / geometry.tokens) {
    const uint32_t blocks = geometry.tokens / kBlockTokens + 1;
    for (uint32_t block = 0; block < blocks; ++block) {
      table.push_back(blocks - 1 - block);
    }
    head_stride = geometry.HeadBytes() / geometry.tokens;
    places.base = memory.data();
    places.token_stride = geometry.heads * head_stride;
    places.block_table = table.data();
    places.block_tokens = kBlockTokens;
    places.block_stride = kBlockTokens * places.token_stride;
    for (uint32_t head = 0; head < geometry.heads; ++head) {
      for (uint32_t token = 0; token < geometry.tokens; ++token) {
        const auto from =
            plane.begin() +
            static_cast<ptrdiff_t>((size_t{head} * geometry.tokens + token) * head_stride);
        std::copy(from, from + static_cast<ptrdiff_t>(head_stride),
                  const_cast<uint8_t*>(places.At(token)) + head * head_stride);
      }
    }
  }

  AlignedBytes memory;
  std::vector<uint32_t> table;
  TokenSources places;
  size_t head_stride = 0;
};

TEST(LarderWarpEncodeTest, EncodesTheBytesOfTheReference) {
  std::array<int, 3> modes = {};
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = RandomGeometry(random);
    const PlanePlace place = RandomPlace(random);
    const auto profile = RandomProfile(random, geometry);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, kPlaneContents[seed % 4]);
    const uint32_t levels = static_cast<uint32_t>(1 + random.Below(kLarderLevels));
    const uint32_t split_tokens = RandomSplitTokens(random);
    const auto codec = MakeLarderCodec(profile, CpuPath::kScalar, split_tokens);
    const Runs expected = EncodeLevels(*codec, geometry, place, plane, levels);

    const PagedPlane paged(geometry, plane);
    AlignedBytes workspace(LarderEncodeWorkspaceBytes(geometry, split_tokens));
    std::vector<AlignedBytes> rooms;
    std::vector<uint8_t*> room_addresses;
    for (uint32_t level = 0; level < levels; ++level) {
      rooms.emplace_back(codec->LevelBytesMax(geometry, level));
      room_addresses.push_back(rooms.back().data());
    }
    std::vector<uint32_t> run_bytes(levels);
    WarpEncodeJob job;
    const CodecStatus status =
        PlanLarderEncode(*profile, geometry, place, paged.places, paged.head_stride, room_addresses,
                         run_bytes.data(), workspace.data(), job, split_tokens);
    ASSERT_TRUE(status.ok()) << status.text;
    EncodeWarp(WarpModel(*profile, geometry.head_dim), geometry.element, job);
    for (uint32_t level = 0; level < levels; ++level) {
      ASSERT_EQ(run_bytes[level], expected[level].size()) << level;
      ASSERT_TRUE(std::equal(expected[level].begin(), expected[level].end(), rooms[level].data()))
          << level;
    }
    ++modes[expected[0][sizeof(LarderRunHeader) + DirectoryBytes(geometry.heads)]];
  }
  EXPECT_THAT(modes, ::testing::Each(::testing::Gt(100)));
}

}  // namespace
}  // namespace larder

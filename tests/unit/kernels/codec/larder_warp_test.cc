// The logic of the GPU's larder kernels, run lane by lane on the CPU: the values and verdicts of
// the reference, into contiguous memory and into an engine's paged blocks.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/larder_device.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"
#include "tests/unit/kernels/codec/warp_testing.h"

namespace larder {
namespace {

template <CodecElement kElement>
HeadFault DecodeHeads(const WarpModel& model, const WarpDecodeJob& job) {
  AlignedBytes memory(WarpScratch::Bytes(model.view.head_dim, model.view.rotation.pairs));
  const WarpScratch scratch = WarpScratch::In(memory.data(), model.view.head_dim);
  for (uint32_t head = job.range.head_begin; head < job.range.head_end; ++head) {
    WarpHeadDecoder<CpuLanes, kElement> decoder(model.view, model.tables, job, scratch);
    const HeadFault fault = decoder.Decode(head);
    if (fault != HeadFault::kNone) {
      return fault;
    }
  }
  return HeadFault::kNone;
}

HeadFault DecodeWarp(const WarpModel& model, CodecElement element, const WarpDecodeJob& job) {
  switch (element) {
    case CodecElement::kBfloat16:
      return DecodeHeads<CodecElement::kBfloat16>(model, job);
    case CodecElement::kFloat16:
      return DecodeHeads<CodecElement::kFloat16>(model, job);
    case CodecElement::kFloat8E4M3:
      return DecodeHeads<CodecElement::kFloat8E4M3>(model, job);
    case CodecElement::kFloat8E5M2:
      return DecodeHeads<CodecElement::kFloat8E5M2>(model, job);
  }
  return HeadFault::kRun;
}

// A plane, its runs, and the job that decodes a range of it.
struct Sample {
  PlaneGeometry geometry;
  PlanePlace place;
  std::shared_ptr<const LarderProfile> profile;
  PlaneRange range;
  Runs runs;
  std::vector<AlignedBytes> copies;

  explicit Sample(Random& random, PlaneContent content) : geometry(RandomGeometry(random)) {
    place = RandomPlace(random);
    profile = RandomProfile(random, geometry);
    range = random.Below(2) == 0 ? PlaneRange::Whole(geometry) : RandomRange(random, geometry);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, content);
    runs =
        EncodeLevels(*MakeLarderCodec(profile, BestCpuPath(), RandomSplitTokens(random)), geometry,
                     place, plane, static_cast<uint32_t>(1 + random.Below(kLarderLevels)));
  }

  CodecStatus DecodeReference(std::vector<uint8_t>& result) const {
    return DecodeLevels(*MakeLarderCodec(profile, CpuPath::kScalar), geometry, place, runs,
                        static_cast<uint32_t>(runs.size()), range, result);
  }

  // Into contiguous memory.
  WarpDecodeJob Job(uint8_t* destination) {
    TokenDestinations to;
    to.base = destination;
    to.token_stride = RowBytes();
    return Job(to, (range.token_end - range.token_begin) * RowBytes());
  }

  WarpDecodeJob Job(const TokenDestinations& to, size_t head_stride) {
    copies.clear();
    std::vector<std::span<const uint8_t>> views;
    for (const std::vector<uint8_t>& run : runs) {
      copies.emplace_back(std::span<const uint8_t>(run));
      views.push_back(copies.back().span());
    }
    WarpDecodeJob job;
    const CodecStatus status =
        PlanLarderDecode(*profile, geometry, place, views, range, to, head_stride, job);
    EXPECT_TRUE(status.ok()) << status.text;
    return job;
  }

  size_t RowBytes() const { return geometry.head_dim * CodecElementBytes(geometry.element); }
};

TEST(LarderWarpTest, DecodesTheValuesOfTheReferenceIntoContiguousMemory) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    Sample sample(random, kPlaneContents[seed % 4]);
    std::vector<uint8_t> expected;
    ASSERT_TRUE(sample.DecodeReference(expected).ok());
    AlignedBytes decoded(expected.size());
    const WarpDecodeJob job = sample.Job(decoded.data());
    ASSERT_EQ(DecodeWarp(WarpModel(*sample.profile, sample.geometry.head_dim),
                         sample.geometry.element, job),
              HeadFault::kNone);
    ASSERT_EQ(std::vector<uint8_t>(decoded.span().begin(), decoded.span().end()), expected);
  }
}

TEST(LarderWarpTest, DecodesIntoPagedBlocks) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    Sample sample(random, PlaneContent::kSpecials);
    std::vector<uint8_t> expected;
    ASSERT_TRUE(sample.DecodeReference(expected).ok());
    // As vLLM lays blocks out: [block][token][head][dim], blocks in any order.
    const uint32_t tokens = sample.range.token_end - sample.range.token_begin;
    const uint32_t heads = sample.range.head_end - sample.range.head_begin;
    constexpr uint32_t kBlockTokens = 16;
    std::vector<uint32_t> table((tokens + kBlockTokens - 1) / kBlockTokens + 3);
    std::iota(table.begin(), table.end(), 0u);
    for (size_t i = table.size() - 1; i > 0; --i) {
      std::swap(table[i], table[random.Below(i + 1)]);
    }
    TokenDestinations to;
    to.token_stride = heads * sample.RowBytes();
    to.block_table = table.data();
    to.block_tokens = kBlockTokens;
    to.block_stride = kBlockTokens * to.token_stride;
    AlignedBytes blocks(table.size() * to.block_stride);
    to.base = blocks.data();
    const WarpDecodeJob job = sample.Job(to, sample.RowBytes());
    ASSERT_EQ(DecodeWarp(WarpModel(*sample.profile, sample.geometry.head_dim),
                         sample.geometry.element, job),
              HeadFault::kNone);
    for (uint32_t head = 0; head < heads; ++head) {
      for (uint32_t token = 0; token < tokens; ++token) {
        const uint8_t* const row = job.destination.At(token) + head * job.head_stride;
        ASSERT_TRUE(std::equal(row, row + sample.RowBytes(),
                               &expected[(size_t{head} * tokens + token) * sample.RowBytes()]))
            << head << " " << token;
      }
    }
  }
}

TEST(LarderWarpTest, DamageGivesTheVerdictAndValuesOfTheReference) {
  size_t refused = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    Sample sample(random, kPlaneContents[seed % 4]);
    for (uint64_t i = 1 + random.Below(3); i-- > 0;) {
      std::vector<uint8_t>& run = sample.runs[random.Below(sample.runs.size())];
      const size_t window = random.Below(2) == 0 ? std::min<size_t>(run.size(), 200) : run.size();
      run[random.Below(window)] ^= static_cast<uint8_t>(1 << random.Below(8));
    }
    if (random.Below(8) == 0) {
      std::vector<uint8_t>& run = sample.runs[random.Below(sample.runs.size())];
      run.resize(random.Below(run.size()));
    }
    std::vector<uint8_t> expected;
    const CodecStatus verdict = sample.DecodeReference(expected);
    AlignedBytes decoded(expected.size());
    const WarpDecodeJob job = sample.Job(decoded.data());
    const HeadFault fault = DecodeWarp(WarpModel(*sample.profile, sample.geometry.head_dim),
                                       sample.geometry.element, job);
    ASSERT_EQ(fault == HeadFault::kNone, verdict.ok())
        << HeadFaultText(fault) << " / " << verdict.text;
    if (verdict.ok()) {
      ASSERT_EQ(std::vector<uint8_t>(decoded.span().begin(), decoded.span().end()), expected);
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300u);
}

}  // namespace
}  // namespace larder

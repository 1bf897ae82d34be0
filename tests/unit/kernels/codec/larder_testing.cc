#include "tests/unit/kernels/codec/larder_testing.h"

#include <gtest/gtest.h>

namespace larder {

ProfileContents RandomProfileContents(Random& random, const PlaneGeometry& geometry) {
  ProfileContents contents;
  contents.layers = 2;
  contents.planes_per_layer = 2;
  contents.heads = geometry.heads;
  contents.head_dim = geometry.head_dim;
  if (random.Below(4) != 0) {
    const uint32_t pairs_max = geometry.head_dim / 2;
    contents.rotation.style = random.Below(3) == 0 ? RopeStyle::kInterleaved : RopeStyle::kHalves;
    contents.rotation.pairs =
        random.Below(2) == 0 ? pairs_max : static_cast<uint32_t>(1 + random.Below(pairs_max));
    contents.rotation.channel_begin =
        static_cast<uint32_t>(random.Below(geometry.head_dim - 2 * contents.rotation.pairs + 1));
    for (uint32_t pair = 0; pair < contents.rotation.pairs; ++pair) {
      contents.turns.push_back(random.Next());
    }
  }
  contents.tables.assign(DefaultTables().begin(), DefaultTables().end());
  const size_t channels = size_t{2} * 2 * contents.heads * contents.head_dim;
  for (size_t i = 0; i < channels; ++i) {
    // Base steps of 0.3 to 4.8, and mostly the wider tables of a shape: else too little would fit,
    // and heads would be stored raw.
    contents.steps.push_back(static_cast<uint8_t>(140 + random.Below(33)));
    const uint64_t scale = random.Below(random.Below(50) == 0 ? kDefaultScales : 12);
    contents.channel_tables.push_back(static_cast<uint8_t>(
        random.Below(kDefaultShapes) * kDefaultScales + kDefaultScales - 1 - scale));
    contents.means.push_back(static_cast<int16_t>(static_cast<int64_t>(random.Below(41)) - 20));
  }
  return contents;
}

std::shared_ptr<const LarderProfile> ParseProfile(const ProfileContents& contents) {
  std::shared_ptr<const LarderProfile> profile;
  const CodecStatus status =
      LarderProfile::Parse(SerializeProfile(contents), ProfileId{1, 2, 3}, profile);
  EXPECT_TRUE(status.ok()) << status.text << " at " << status.offset;
  return profile;
}

std::shared_ptr<const LarderProfile> RandomProfile(Random& random, const PlaneGeometry& geometry) {
  const uint64_t kind = random.Below(4);
  if (kind == 0) return LarderProfile::Generic();
  ProfileContents contents = RandomProfileContents(random, geometry);
  if (kind == 1) {
    contents.layers = 0;
    contents.steps.clear();
    contents.channel_tables.clear();
    contents.means.clear();
  }
  return ParseProfile(contents);
}

PlanePlace RandomPlace(Random& random) {
  PlanePlace place;
  place.layer = static_cast<uint32_t>(random.Below(2));
  place.kind = random.Below(2) == 0 ? PlaneKind::kKey : PlaneKind::kValue;
  place.first_token = random.Below(2) == 0 ? 0 : random.Below(uint64_t{1} << 20);
  return place;
}

Runs EncodeLevels(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                  std::span<const uint8_t> plane, uint32_t levels) {
  Runs runs(levels);
  std::vector<LevelOutput> outputs(levels);
  for (uint32_t level = 0; level < levels; ++level) {
    runs[level].resize(codec.LevelBytesMax(geometry, level));
    outputs[level].room = runs[level];
  }
  CodecScratch scratch;
  const CodecStatus status = codec.EncodePlane(geometry, place, plane, outputs, scratch);
  EXPECT_TRUE(status.ok()) << status.text;
  for (uint32_t level = 0; level < levels; ++level) {
    EXPECT_GT(outputs[level].bytes, 0u);
    EXPECT_LE(outputs[level].bytes, runs[level].size());
    runs[level].resize(outputs[level].bytes);
  }
  return runs;
}

CodecStatus DecodeLevels(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                         const Runs& runs, uint32_t levels, const PlaneRange& range,
                         std::vector<uint8_t>& result) {
  const Runs copies(runs.begin(), runs.begin() + levels);
  const std::vector<std::span<const uint8_t>> views(copies.begin(), copies.end());
  result.assign(range.Bytes(geometry), 0xa5);
  CodecScratch scratch;
  return codec.DecodePlane(geometry, place, views, range, result, scratch);
}

uint32_t RandomSplitTokens(Random& random) {
  return kSplitUnit * static_cast<uint32_t>(random.Below(4));
}

}  // namespace larder

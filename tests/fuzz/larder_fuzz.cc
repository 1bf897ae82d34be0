// Fuzz target of the larder codec's decoders. The first ten bytes of an input choose profile,
// geometry, place and range, and where the levels' runs begin; the rest is the runs. Besides memory
// safety it checks that all paths agree, the GPU's logic among them, and that a range is the part
// of the whole that it names.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "common/random.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/larder_device.h"

namespace larder {
namespace {

constexpr size_t kHeadBytes = 10;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// A model of one layer of two planes, three heads of `head_dim`.
std::shared_ptr<const LarderProfile> MakeProfile(uint32_t head_dim, bool parameters) {
  SeededRandom random(head_dim);
  ProfileContents contents;
  contents.head_dim = head_dim;
  contents.rotation = {RopeStyle::kHalves, 0, head_dim / 2};
  for (uint32_t pair = 0; pair < head_dim / 2; ++pair) {
    contents.turns.push_back(random.Next());
  }
  contents.tables.assign(DefaultTables().begin(), DefaultTables().end());
  if (parameters) {
    contents.layers = 1;
    contents.planes_per_layer = 2;
    contents.heads = 3;
    for (uint32_t i = 0; i < 2 * 3 * head_dim; ++i) {
      // Base steps of 0.6 to 2.4, and tables wide enough for a deviation of 1.
      contents.steps.push_back(static_cast<uint8_t>(148 + random.Below(17)));
      contents.channel_tables.push_back(static_cast<uint8_t>(kDefaultScales - 1 - random.Below(8)));
      contents.means.push_back(static_cast<int16_t>(random.Below(11)));
    }
  }
  std::shared_ptr<const LarderProfile> profile;
  Require(LarderProfile::Parse(SerializeProfile(contents), ProfileId{1}, profile).ok(),
          "the profile parses");
  return profile;
}

// A profile, and its form for the GPU's logic.
struct Model {
  std::shared_ptr<const LarderProfile> profile;
  std::vector<uint64_t> block;
  WarpProfile view;

  Model(std::shared_ptr<const LarderProfile> from, uint32_t head_dim)
      : profile(std::move(from)), block(WarpProfileBytes(*profile) / 8) {
    const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(block.data()), block.size() * 8);
    view = WriteWarpProfile(*profile, bytes, bytes.data());
    view.head_dim = head_dim;
  }
};

// Kind 0: the generic profile; 1: a rotation alone; 2: parameters too. Made once, as they take
// long.
const Model& ModelOf(uint32_t kind, uint32_t head_dim) {
  static const std::vector<Model> models = [] {
    std::vector<Model> made;
    for (uint32_t dim = kLanes; dim <= 3 * kLanes; dim += kLanes) {
      made.emplace_back(LarderProfile::Generic(), dim);
      made.emplace_back(MakeProfile(dim, false), dim);
      made.emplace_back(MakeProfile(dim, true), dim);
    }
    return made;
  }();
  return models[(head_dim / kLanes - 1) * 3 + kind];
}

struct Input {
  PlaneGeometry geometry;
  PlanePlace place;
  PlaneRange range;
  const Model* model;
  std::vector<std::vector<uint32_t>> memory;  // so that runs are aligned to 4 bytes
  std::vector<std::span<const uint8_t>> levels;

  Input(const uint8_t* data, size_t size) {
    geometry.heads = 1 + data[1] % 3;
    geometry.head_dim = (1 + data[2] % 3) * kLanes;
    geometry.tokens = 1 + data[3] % 40;
    geometry.filled_tokens = 1 + data[4] % geometry.tokens;
    place.kind = data[5] % 2 == 0 ? PlaneKind::kKey : PlaneKind::kValue;
    place.first_token = data[5] / 2 % 8;
    range.head_begin = data[6] % geometry.heads;
    range.head_end = range.head_begin + 1 + data[6] / 16 % (geometry.heads - range.head_begin);
    range.token_begin = data[7] % geometry.tokens;
    range.token_end = range.token_begin + 1 + data[7] / 32 % (geometry.tokens - range.token_begin);
    model = &ModelOf(data[0] % 3, geometry.head_dim);
    const std::span<const uint8_t> rest(data + kHeadBytes, size - kHeadBytes);
    const size_t second = std::min<size_t>(data[8] + 256 * size_t{data[9]}, rest.size());
    Add(rest.first(second));
    if (second < rest.size()) Add(rest.subspan(second));
  }

  void Add(std::span<const uint8_t> run) {
    std::vector<uint32_t>& words = memory.emplace_back(run.size() / 4 + 1);
    std::copy(run.begin(), run.end(), reinterpret_cast<uint8_t*>(words.data()));
    levels.emplace_back(reinterpret_cast<const uint8_t*>(words.data()), run.size());
  }
};

CodecStatus Decode(const Input& input, CpuPath path, const PlaneRange& range,
                   std::vector<uint8_t>& result) {
  CodecScratch scratch;
  result.assign(range.Bytes(input.geometry), 0);
  return MakeLarderCodec(input.model->profile, path)
      ->DecodePlane(input.geometry, input.place, input.levels, range, result, scratch);
}

bool DecodeWarp(const Input& input, const PlaneRange& range, std::vector<uint8_t>& result) {
  const WarpProfile& view = input.model->view;
  const WarpTables tables = view.Tables();
  std::vector<uint32_t> memory(WarpScratch::Bytes(view.head_dim, view.rotation.pairs) / 4);
  const WarpScratch scratch = WarpScratch::In(memory.data(), view.head_dim);
  result.assign(range.Bytes(input.geometry), 0);
  TokenDestinations to;
  to.base = result.data();
  to.token_stride = input.geometry.HeadBytes() / input.geometry.tokens;
  const size_t head_stride = (range.token_end - range.token_begin) * to.token_stride;
  WarpDecodeJob job;
  Require(PlanLarderDecode(*input.model->profile, input.geometry, input.place, input.levels, range,
                           to, head_stride, job)
              .ok(),
          "a decoding is planned");
  for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
    WarpHeadDecoder<CpuLanes, CodecElement::kBfloat16> decoder(view, tables, job, scratch);
    if (decoder.Decode(head) != HeadFault::kNone) return false;
  }
  return true;
}

// The input with nothing but what decoding its range needs.
Input NeededOf(const Input& input) {
  Input parts = input;
  for (size_t level = 0; level < parts.levels.size(); ++level) {
    std::fill(parts.memory[level].begin(), parts.memory[level].end(), 0xa5a5a5a5u);
    parts.levels[level] = {reinterpret_cast<const uint8_t*>(parts.memory[level].data()),
                           input.levels[level].size()};
  }
  const auto codec = MakeLarderCodec(input.model->profile, BestCpuPath());
  for (uint32_t step = 0; step < kNeededSteps; ++step) {
    std::vector<LevelRange> needed;
    Require(codec->FindNeeded(input.geometry, input.place, parts.levels, input.range, step, needed)
                .ok(),
            "what a range of a sound run needs is found");
    for (const LevelRange& bytes : needed) {
      Require(bytes.end <= input.levels[bytes.level].size(), "what is needed is there");
      std::copy(input.levels[bytes.level].begin() + static_cast<ptrdiff_t>(bytes.begin),
                input.levels[bytes.level].begin() + static_cast<ptrdiff_t>(bytes.end),
                reinterpret_cast<uint8_t*>(parts.memory[bytes.level].data()) + bytes.begin);
    }
  }
  return parts;
}

void CheckRange(const Input& input, std::span<const uint8_t> whole) {
  std::vector<uint8_t> part;
  const Input needed = NeededOf(input);
  Require(Decode(needed, BestCpuPath(), input.range, part).ok(),
          "a range of a sound run decodes from what it needs");
  std::vector<uint8_t> of_lanes;
  Require(DecodeWarp(needed, input.range, of_lanes) && of_lanes == part,
          "the lanes decode the same from it");
  const size_t token_bytes = input.geometry.HeadBytes() / input.geometry.tokens;
  const size_t bytes = (input.range.token_end - input.range.token_begin) * token_bytes;
  for (uint32_t head = input.range.head_begin; head < input.range.head_end; ++head) {
    const size_t from = head * input.geometry.HeadBytes() + input.range.token_begin * token_bytes;
    const size_t at = (head - input.range.head_begin) * bytes;
    Require(std::equal(part.begin() + static_cast<ptrdiff_t>(at),
                       part.begin() + static_cast<ptrdiff_t>(at + bytes),
                       whole.begin() + static_cast<ptrdiff_t>(from)),
            "a range is that part of the whole");
  }
}

// What was decoded, encoded again: all paths write the same bytes, and they decode.
void CheckEncode(const Input& input, std::span<const uint8_t> plane, uint32_t split_tokens) {
  std::vector<std::vector<uint8_t>> first;
  for (const CpuPath path : AvailableCpuPaths()) {
    const auto codec = MakeLarderCodec(input.model->profile, path, split_tokens);
    std::vector<std::vector<uint8_t>> runs(2);
    std::vector<LevelOutput> outputs(2);
    for (uint32_t level = 0; level < 2; ++level) {
      runs[level].resize(codec->LevelBytesMax(input.geometry, level));
      outputs[level].room = runs[level];
    }
    CodecScratch scratch;
    Require(codec->EncodePlane(input.geometry, input.place, plane, outputs, scratch).ok(),
            "what was decoded is encoded");
    for (uint32_t level = 0; level < 2; ++level) {
      runs[level].resize(outputs[level].bytes);
    }
    Require(first.empty() || runs == first, "all paths encode the same bytes");
    first = runs;
    const std::vector<std::span<const uint8_t>> views(runs.begin(), runs.end());
    std::vector<uint8_t> decoded(plane.size());
    Require(codec
                ->DecodePlane(input.geometry, input.place, views, PlaneRange::Whole(input.geometry),
                              decoded, scratch)
                .ok(),
            "what was encoded decodes");
  }
}

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder;
  if (size < kHeadBytes) return 0;
  const Input input(data, size);
  const PlaneRange whole = PlaneRange::Whole(input.geometry);
  std::vector<uint8_t> expected, decoded;
  const CodecStatus status = Decode(input, CpuPath::kScalar, whole, expected);
  for (const CpuPath path : AvailableCpuPaths()) {
    Require(Decode(input, path, whole, decoded).code == status.code, "all paths agree");
    Require(!status.ok() || decoded == expected, "all paths decode the same values");
  }
  Require(DecodeWarp(input, whole, decoded) == status.ok(), "the lanes agree");
  Require(!status.ok() || decoded == expected, "the lanes decode the same values");
  for (uint32_t step = 0; step < kNeededSteps; ++step) {
    // Of damaged runs too: what is named lies within them.
    std::vector<LevelRange> needed;
    const auto codec = MakeLarderCodec(input.model->profile, BestCpuPath());
    if (!codec->FindNeeded(input.geometry, input.place, input.levels, input.range, step, needed)
             .ok()) {
      continue;
    }
    for (const LevelRange& bytes : needed) {
      Require(bytes.begin < bytes.end, "what is needed is something");
      Require(bytes.end <= input.levels[bytes.level].size(), "what is needed is there");
    }
  }
  if (status.ok()) {
    CheckRange(input, expected);
    CheckEncode(input, expected, 0);
    CheckEncode(input, expected, kSplitUnit);
  }
  return 0;
}

// Fuzz target of the decoders of lossless, kivi and cachegen. The first eight bytes of an input
// choose codec, geometry and range; the rest is the run. Besides memory safety it checks that all
// paths agree, that a range is the part of the whole that it names, and that what lossless decodes
// is what it encodes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "kernels/codec/cachegen/cachegen_codec.h"
#include "kernels/codec/kivi/kivi_codec.h"
#include "kernels/codec/lossless/lossless_codec.h"

namespace larder {
namespace {

constexpr size_t kHeadBytes = 8;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

struct Input {
  PlaneGeometry geometry;
  PlaneRange range;
  std::span<const uint8_t> run;

  Input(const uint8_t* data, size_t size) : run(data + kHeadBytes, size - kHeadBytes) {
    constexpr CodecElement kElements[] = {CodecElement::kBfloat16, CodecElement::kFloat16,
                                          CodecElement::kFloat8E4M3, CodecElement::kFloat8E5M2};
    geometry.element = kElements[data[1] % 4];
    geometry.heads = 1 + data[2] % 3;
    geometry.head_dim = (1 + data[3] % 3) * kLanes;
    geometry.tokens = 1 + data[4] % 24;
    geometry.filled_tokens = 1 + data[5] % geometry.tokens;
    range.head_begin = data[6] % geometry.heads;
    range.head_end = range.head_begin + 1 + data[6] / 16 % (geometry.heads - range.head_begin);
    range.token_begin = data[7] % geometry.tokens;
    range.token_end = range.token_begin + 1 + data[7] / 32 % (geometry.tokens - range.token_begin);
  }
};

CodecStatus Decode(const Codec& codec, const Input& input, const PlaneRange& range,
                   std::vector<uint8_t>& result) {
  CodecScratch scratch;
  result.assign(range.Bytes(input.geometry), 0);
  return codec.DecodePlane(input.geometry, {}, {&input.run, 1}, range, result, scratch);
}

void CheckRange(const Codec& codec, const Input& input, std::span<const uint8_t> whole) {
  std::vector<uint8_t> part;
  Require(Decode(codec, input, input.range, part).ok(), "a range of a sound run decodes");
  const size_t token_bytes = input.geometry.HeadBytes() / input.geometry.tokens;
  const size_t bytes = (input.range.token_end - input.range.token_begin) * token_bytes;
  for (uint32_t head = input.range.head_begin; head < input.range.head_end; ++head) {
    const size_t from = head * input.geometry.HeadBytes() + input.range.token_begin * token_bytes;
    const size_t at = (head - input.range.head_begin) * bytes;
    Require(std::equal(part.begin() + at, part.begin() + at + bytes, whole.begin() + from),
            "a range is that part of the whole");
  }
}

void CheckLossless(const Input& input) {
  static const std::unique_ptr<Codec> reference = MakeLosslessCodec(CpuPath::kScalar);
  static const std::unique_ptr<Codec> fast = MakeLosslessCodec(BestCpuPath());
  static const std::unique_ptr<Codec> avx2 =
      MakeLosslessCodec(CpuHasPath(CpuPath::kAvx2) ? CpuPath::kAvx2 : CpuPath::kScalar);
  const PlaneRange whole = PlaneRange::Whole(input.geometry);
  std::vector<uint8_t> expected, decoded;
  const CodecStatus status = Decode(*reference, input, whole, expected);
  for (const Codec* codec : {fast.get(), avx2.get()}) {
    Require(Decode(*codec, input, whole, decoded).code == status.code, "all paths agree");
    Require(!status.ok() || decoded == expected, "all paths decode the same values");
    if (status.ok()) CheckRange(*codec, input, expected);
  }
  if (!status.ok()) return;
  std::vector<uint8_t> run(reference->LevelBytesMax(input.geometry, 0));
  LevelOutput level = {run, 0};
  CodecScratch scratch;
  Require(fast->EncodePlane(input.geometry, {}, expected, {&level, 1}, scratch).ok(),
          "what was decoded can be encoded");
  Input again = input;
  again.run = {run.data(), level.bytes};
  Require(Decode(*fast, again, whole, decoded).ok() && decoded == expected, "nothing is lost");
}

void CheckLossy(const Codec& codec, const Input& input) {
  std::vector<uint8_t> whole;
  if (Decode(codec, input, PlaneRange::Whole(input.geometry), whole).ok()) {
    CheckRange(codec, input, whole);
  }
}

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < larder::kHeadBytes) return 0;
  // A copy of the very size, so that every byte beyond is seen.
  const std::vector<uint8_t> copy(data, data + size);
  const larder::Input input(copy.data(), copy.size());
  switch (data[0] % 3) {
    case 0:
      larder::CheckLossless(input);
      break;
    case 1:
      larder::CheckLossy(*larder::MakeKiviCodec(2), input);
      break;
    default:
      larder::CheckLossy(*larder::MakeCachegenCodec(), input);
  }
  return 0;
}

#include "tests/golden/codec_goldens.h"

#include "kernels/codec/cachegen/cachegen_codec.h"
#include "kernels/codec/kivi/kivi_codec.h"
#include "kernels/codec/lossless/lossless_codec.h"
#include "kernels/codec/lossless/lossless_head.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

constexpr PlaneGeometry kGeometry = {.heads = 2, .tokens = 40, .filled_tokens = 37, .head_dim = 64};

struct ElementName {
  CodecElement element;
  const char* name;
};
constexpr ElementName kElementNames[] = {{CodecElement::kBfloat16, "bfloat16"},
                                         {CodecElement::kFloat16, "float16"},
                                         {CodecElement::kFloat8E4M3, "float8_e4m3"},
                                         {CodecElement::kFloat8E5M2, "float8_e5m2"}};

CodecGolden Lossy(const std::string& name, PlanePlace place,
                  std::function<std::unique_ptr<Codec>(CpuPath)> make) {
  return {name, "plane_bfloat16.bin", name + ".decoded", kGeometry, place, std::move(make)};
}

std::function<void(std::vector<uint8_t>&)> AddTo(size_t at, uint8_t value) {
  return
      [at, value](std::vector<uint8_t>& run) { run[at] = static_cast<uint8_t>(run[at] + value); };
}

}  // namespace

std::vector<LarderGolden> LarderGoldens() {
  return {
      {"larder_generic", "", kGeometry, {.kind = PlaneKind::kKey}},
      {"larder_keys", kLarderGoldenProfile, kGeometry, {.kind = PlaneKind::kKey}},
      {"larder_values",
       kLarderGoldenProfile,
       kGeometry,
       {.layer = 1, .kind = PlaneKind::kValue, .first_token = 4096}},
      {"larder_generic", "", kGeometry, {.kind = PlaneKind::kKey}, /*split_tokens=*/16},
      {"larder_keys",
       kLarderGoldenProfile,
       kGeometry,
       {.kind = PlaneKind::kKey},
       /*split_tokens=*/16},
  };
}

std::vector<CodecGolden> CodecGoldens() {
  std::vector<CodecGolden> goldens;
  for (const auto& [element, name] : kElementNames) {
    PlaneGeometry geometry = kGeometry;
    geometry.element = element;
    const std::string plane = std::string("plane_") + name + ".bin";
    goldens.push_back(
        {std::string("lossless_") + name, plane, plane, geometry, {}, MakeLosslessCodec});
  }
  const auto kivi = [](uint32_t bits) { return [bits](CpuPath) { return MakeKiviCodec(bits); }; };
  const auto cachegen = [](CpuPath) { return MakeCachegenCodec(); };
  goldens.push_back(Lossy("kivi2_keys", {.kind = PlaneKind::kKey}, kivi(2)));
  goldens.push_back(Lossy("kivi2_values", {.kind = PlaneKind::kValue}, kivi(2)));
  goldens.push_back(Lossy("kivi4_keys", {.kind = PlaneKind::kKey}, kivi(4)));
  goldens.push_back(Lossy("cachegen_31_levels", {.layer = 9, .kind = PlaneKind::kKey}, cachegen));
  goldens.push_back(Lossy("cachegen_15_levels", {.layer = 2, .kind = PlaneKind::kValue}, cachegen));
  return goldens;
}

std::vector<DamagedCodecGolden> DamagedCodecGoldens() {
  // All runs here have a directory of two heads; the lossless and kivi ones begin with it, or with
  // four bytes before it.
  const size_t lossless = DirectoryBytes(2);
  const size_t symbols = lossless + LosslessPartsOf(kGeometry).symbols_at;
  const size_t table = lossless + LosslessPartsOf(kGeometry).table_at;
  const std::string base = "lossless_bfloat16";
  return {
      {"damaged_lossless_directory", base, AddTo(3, 1), "directory: a head's stream"},
      {"damaged_lossless_form", base, AddTo(lossless, 1), "unknown form"},
      {"damaged_lossless_length", base, AddTo(lossless + kLosslessSymbolBytesAt, 4),
       "its parts are not as long"},
      {"damaged_lossless_reserved", base, AddTo(lossless + kLosslessReservedAt, 1), "reserved"},
      {"damaged_lossless_table", base, AddTo(table, 16), "no such table"},
      {"damaged_lossless_state", base, AddTo(symbols, 1), "do not end where they should"},
      {"damaged_lossless_cut", base, [](std::vector<uint8_t>& run) { run.pop_back(); },
       "directory: a head's stream"},
      {"damaged_kivi_bits", "kivi2_keys", AddTo(0, 1), "unknown bits"},
      {"damaged_kivi_scale", "kivi2_keys",
       [](std::vector<uint8_t>& run) { StoreU16(&run[4 + DirectoryBytes(2)], 0x7f80); },
       "not a finite number"},
      {"damaged_cachegen_steps", "cachegen_15_levels", AddTo(0, 1), "number of steps"},
      {"damaged_cachegen_largest", "cachegen_15_levels",
       [](std::vector<uint8_t>& run) { StoreU16(&run[4], 0xffff); }, "largest magnitude"},
      {"damaged_cachegen_distribution", "cachegen_15_levels",
       [](std::vector<uint8_t>& run) { run[run.size() / 2] ^= 0xff; }, "cachegen head"},
  };
}

}  // namespace larder

#include "kernels/codec/lossless/lossless_paths.h"

namespace larder {
namespace {

template <CodecElement kElement>
bool SplitScalar(const LosslessSplit& split, const LosslessTables& tables) {
  uint32_t escapes = 0;
  for (uint32_t group = 0; group < split.groups; ++group) {
    LosslessCounts counts;
    SplitLosslessGroup<CpuLanes, kElement>(split, tables, group, counts);
    for (const uint32_t count : counts.count[kEscape]) escapes += count;
  }
  return escapes != 0;
}

template <CodecElement kElement>
bool DecodeScalar(const LosslessTask& task, const DecodeTable* tables) {
  return DecodeLosslessHead<CpuLanes, kElement>(task.head, tables, task.window);
}

template <CodecElement kElement>
bool DecodePairScalar(const LosslessTask& first, const LosslessTask& second,
                      const DecodeTable* tables) {
  return DecodeScalar<kElement>(first, tables) && DecodeScalar<kElement>(second, tables);
}

template <CodecElement kElement>
constexpr LosslessPath kScalar = {SplitScalar<kElement>, DecodeScalar<kElement>,
                                  DecodePairScalar<kElement>};

LosslessPath LosslessPathScalar(CodecElement element) {
  switch (element) {
    case CodecElement::kBfloat16:
      return kScalar<CodecElement::kBfloat16>;
    case CodecElement::kFloat16:
      return kScalar<CodecElement::kFloat16>;
    case CodecElement::kFloat8E4M3:
      return kScalar<CodecElement::kFloat8E4M3>;
    case CodecElement::kFloat8E5M2:
      return kScalar<CodecElement::kFloat8E5M2>;
  }
  return {};
}

}  // namespace

LosslessPath ChooseLosslessPath([[maybe_unused]] CpuPath path, CodecElement element) {
#if defined(__x86_64__)
  if (path == CpuPath::kAvx512) return LosslessPathAvx512(element);
  if (path == CpuPath::kAvx2) return LosslessPathAvx2(element);
#endif
  return LosslessPathScalar(element);
}

}  // namespace larder

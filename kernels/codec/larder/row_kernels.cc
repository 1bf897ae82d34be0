#include "kernels/codec/larder/row_kernels.h"

#include <algorithm>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/digit_packing.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

void Load(CodecElement element, const uint8_t* elements, uint32_t head_dim, FloatRow* row) {
  if (element == CodecElement::kBfloat16) {
    for (uint32_t channel = 0; channel < head_dim; ++channel) {
      row->value[channel] = FloatFromBits(uint32_t{LoadU16(elements + 2 * channel)} << 16);
    }
    return;
  }
  const bool wide = CodecElementBytes(element) == 2;
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    const uint32_t bits = wide ? LoadU16(elements + 2 * channel) : elements[channel];
    row->value[channel] = ElementToFloat(element, bits);
  }
}

void Store(CodecElement element, const FloatRow& row, uint32_t head_dim, uint8_t* elements) {
  if (element == CodecElement::kBfloat16) {
    for (uint32_t channel = 0; channel < head_dim; ++channel) {
      StoreU16(elements + 2 * channel, static_cast<uint16_t>(FloatToBfloat16(row.value[channel])));
    }
    return;
  }
  const bool wide = CodecElementBytes(element) == 2;
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    const uint32_t bits = ElementFromFloat(element, row.value[channel]);
    if (wide) {
      StoreU16(elements + 2 * channel, static_cast<uint16_t>(bits));
    } else {
      elements[channel] = static_cast<uint8_t>(bits);
    }
  }
}

void Rotate(const RotationView& rotation, uint32_t token, bool back, FloatRow* row) {
  const uint32_t pairs = rotation.shape.pairs;
  for (uint32_t pair = 0; pair < pairs; ++pair) {
    float& first = row->value[rotation.shape.First(pair)];
    float& second = row->value[rotation.shape.Second(pair)];
    CosineSine angle = rotation.Angle(token, pair);
    angle.sine = back ? -angle.sine : angle.sine;
    const CosineSine turned = Combine({first, second}, angle);
    first = turned.cosine;
    second = turned.sine;
  }
}

void SeeMagnitudes(const FloatRow& row, uint32_t head_dim, ChannelSums* sums) {
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    sums->magnitude_bits[channel] =
        std::max(sums->magnitude_bits[channel], FiniteMagnitudeBits(row.value[channel]));
  }
}

void AddScaled(const FloatRow& row, uint32_t head_dim, float scale, ChannelSums* sums) {
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    const int64_t value = ScaledValue(row.value[channel], scale);
    sums->sum[channel] += value;
    sums->squares[channel] += static_cast<uint64_t>(value * value);
  }
}

void Quantise(const FloatRow& row, const HeadParameters& parameters, uint32_t head_dim,
              uint8_t* base, uint8_t* rests, uint32_t* outside) {
  for (uint32_t group = 0; group < head_dim / kLanes; ++group) {
    uint32_t mask = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t channel = group * kLanes + lane;
      int32_t fine;
      const bool inside =
          FineIndex(row.value[channel], parameters.inverse_step[channel],
                    static_cast<float>(parameters.mean[channel]), parameters.bound[channel], &fine);
      mask |= (inside ? 0u : 1u) << lane;
      const uint32_t above = static_cast<uint32_t>(fine + kFineMax);
      const uint32_t symbol = DivideByFineSteps(above);
      base[channel] = static_cast<uint8_t>(symbol);
      rests[channel] = static_cast<uint8_t>(above - symbol * kFineSteps);
    }
    outside[group] = mask;
  }
}

// What a digit of each refinement level weighs, in fine steps.
constexpr std::array<uint32_t, kDigitLevels> kDigitWeight = {9, 3, 1};

void Pack(const uint8_t* rests, size_t blocks, uint32_t level, uint8_t* digits) {
  for (size_t block = 0; block < blocks; ++block) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      uint32_t value = 0;
      for (uint32_t place = 0; place < kDigitsInByte; ++place) {
        const uint8_t rest = rests[(block * kDigitsInByte + place) * kLanes + lane];
        value = value * 3 + kDigitsOfRests[level][rest];
      }
      digits[block * kLanes + lane] = static_cast<uint8_t>(PackedFraction(value));
    }
  }
}

void Reconstruct(const uint8_t* base, const DigitStreams& digits, uint32_t levels, uint32_t token,
                 const HeadParameters& parameters, uint32_t head_dim, FloatRow* row) {
  const uint32_t groups = head_dim / kLanes;
  for (uint32_t group = 0; group < groups; ++group) {
    const uint32_t channel = group * kLanes;
    std::array<int32_t, kLanes> fine;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      fine[lane] = (base[channel + lane] - kBaseSymbolMax) * kFineSteps;
    }
    const size_t digit_row = size_t{token} * groups + group;
    const uint32_t multiplier = DigitMultiplier(digit_row % kDigitsInByte);
    for (uint32_t level = 0; level < levels; ++level) {
      const uint8_t* const bytes = digits[level] + digit_row / kDigitsInByte * kLanes;
      const int32_t weight = static_cast<int32_t>(kDigitWeight[level]);
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        fine[lane] += (static_cast<int32_t>(UnpackedDigit(bytes[lane], multiplier)) - 1) * weight;
      }
    }
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      row->value[channel + lane] =
          ValueAt(fine[lane], parameters.mean[channel + lane], parameters.step[channel + lane]);
    }
  }
}

}  // namespace

const RowKernels& ScalarRowKernels() {
  static constexpr RowKernels kKernels = {Load,     Rotate, SeeMagnitudes, AddScaled,
                                          Quantise, Pack,   Reconstruct,   Store};
  return kKernels;
}

const RowKernels& GetRowKernels(CpuPath path) {
#if defined(__x86_64__)
  if (path == CpuPath::kAvx512) {
    return Avx512RowKernels();
  }
  if (path == CpuPath::kAvx2) {
    return Avx2RowKernels();
  }
#endif
  (void)path;
  return ScalarRowKernels();
}

}  // namespace larder

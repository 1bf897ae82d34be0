// Parameters of a head that its own values determine, found by one warp, or by a CPU that runs the
// lanes in order: what inline_parameters.h and HeadEncoder find on a CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/head_layout.h"
#include "kernels/codec/larder/inline_arithmetic.h"
#include "kernels/codec/larder/rotation.h"
#include "kernels/codec/larder/warp_profile.h"
#include "kernels/codec/run_layout.h"
#include "kernels/codec/token_places.h"

namespace larder {

// One head's elements, as they were before their rotation. Owns nothing.
template <CodecElement kElement>
struct WarpValues {
  TokenSources source;
  RotationShape rotation;             // of no pairs: there is none
  const CosineSine* start = nullptr;  // [pairs]: the angles of the chunk's first token
  const CosineSine* within_chunk = nullptr;

  LARDER_HD float Stored(uint32_t token, uint32_t channel) const {
    const uint8_t* const from = source.At(token) + channel * CodecElementBytes(kElement);
    if constexpr (CodecElementBytes(kElement) == 2) {
      return ElementToFloat(kElement, LoadWord(from));
    } else {
      return ElementToFloat(kElement, *from);
    }
  }

  // Both channels of a pair.
  LARDER_HD CosineSine Pair(uint32_t token, uint32_t pair) const {
    CosineSine angle = Combine(start[pair], within_chunk[size_t{token} * rotation.pairs + pair]);
    angle.sine = -angle.sine;
    return Combine({Stored(token, rotation.First(pair)), Stored(token, rotation.Second(pair))},
                   angle);
  }

  LARDER_HD float At(uint32_t token, uint32_t channel) const {
    if (!rotation.Turns(channel)) return Stored(token, channel);
    const uint32_t pair = rotation.PairOf(channel);
    const CosineSine values = Pair(token, pair);
    return channel == rotation.First(pair) ? values.cosine : values.sine;
  }
};

// How often each magnitude of the base index occurs in each channel of a group: a column a lane.
struct WarpSymbolCounts {
  uint16_t count[kBaseSymbolMax + 1][kLanes];
};

template <class Lanes, CodecElement kElement>
class WarpInlineParameters {
 public:
  LARDER_HD WarpInlineParameters(const WarpProfile& profile, const HeadSizes& sizes,
                                 const WarpValues<kElement>& values, WarpSymbolCounts& counts)
      : profile_(profile), sizes_(sizes), values_(values), counts_(counts) {}

  // Writes them as they are stored, InlineParameterBytes.
  LARDER_HD void Derive(uint8_t* stored) const {
    const uint32_t groups = sizes_.Groups();
    const uint32_t count = sizes_.tokens - sizes_.exact_tokens;
    const float scale = count == 0 ? 1.0f : ScaleOfMagnitude(LargestMagnitude());
    for (uint32_t group = 0; group < groups; ++group) {
      PerLane<uint32_t> step, mean;
      Lanes::ForEach([&](uint32_t lane) { step[lane] = mean[lane] = 0; });
      uint32_t group_step = 0;
      if (count != 0)
        group_step = DeriveSteps(MakeInlineScale(count, scale), scale, group, step, mean);
      CountSymbols(group, step, mean);
      Lanes::ForEach([&](uint32_t lane) {
        const uint32_t channel = group * kLanes + lane;
        const uint32_t octaves = (step[lane] - group_step) / kStepsPerOctave;
        uint8_t* const tables = stored + (groups + 1) / 2 * 2;
        if (lane == 0) stored[group] = static_cast<uint8_t>(group_step);
        tables[channel] = static_cast<uint8_t>(octaves << kTableBits | Cheapest(lane));
        StoreWord(tables + sizes_.head_dim + 2 * channel, mean[lane] & 0xffff);
      });
    }
    Lanes::ForEach([&](uint32_t lane) {
      if (lane == 0 && groups % 2 != 0) stored[groups] = 0;
    });
    Lanes::Sync();
  }

 private:
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  LARDER_HD uint32_t LargestMagnitude() const {
    PerLane<uint32_t> largest;
    Lanes::ForEach([&](uint32_t lane) { largest[lane] = 0; });
    for (uint32_t group = 0; group < sizes_.Groups(); ++group) {
      for (uint32_t token = sizes_.exact_tokens; token < sizes_.tokens; ++token) {
        Lanes::ForEach([&](uint32_t lane) {
          const uint32_t bits = FiniteMagnitudeBits(values_.At(token, group * kLanes + lane));
          if (bits > largest[lane]) largest[lane] = bits;
        });
      }
    }
    return Lanes::Max([&](uint32_t lane) { return largest[lane]; });
  }

  // Returns the group's step; `step` and `mean` become those of the channels.
  LARDER_HD uint32_t DeriveSteps(const InlineScale& inline_scale, float scale, uint32_t group,
                                 PerLane<uint32_t>& step, PerLane<uint32_t>& mean) const {
    PerLane<int64_t> sum;
    PerLane<uint64_t> spread;  // the squares, at first
    Lanes::ForEach([&](uint32_t lane) {
      sum[lane] = 0;
      spread[lane] = 0;
    });
    for (uint32_t token = sizes_.exact_tokens; token < sizes_.tokens; ++token) {
      Lanes::ForEach([&](uint32_t lane) {
        const int64_t value = ScaledValue(values_.At(token, group * kLanes + lane), scale);
        sum[lane] += value;
        spread[lane] += static_cast<uint64_t>(value * value);
      });
    }
    Lanes::ForEach(
        [&](uint32_t lane) { spread[lane] = SpreadOf(inline_scale, sum[lane], spread[lane]); });
    uint64_t total = 0;
    for (uint32_t shift = 0; shift < 64; shift += 16) {
      const uint64_t part = Lanes::Sum(
          [&](uint32_t lane) { return static_cast<uint32_t>(spread[lane] >> shift & 0xffff); });
      total += part << shift;
    }
    const uint32_t group_step = GroupStepOf(inline_scale, total);
    Lanes::ForEach([&](uint32_t lane) {
      step[lane] = group_step + OctavesOf(inline_scale, spread[lane], group_step) * kStepsPerOctave;
      mean[lane] = static_cast<uint16_t>(MeanOf(inline_scale, sum[lane], step[lane]));
    });
    return group_step;
  }

  LARDER_HD void CountSymbols(uint32_t group, const PerLane<uint32_t>& step,
                              const PerLane<uint32_t>& mean) const {
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t index = 0; index <= kBaseSymbolMax; ++index) counts_.count[index][lane] = 0;
      counts_.count[0][lane] = static_cast<uint16_t>(sizes_.exact_tokens);
    });
    for (uint32_t token = sizes_.exact_tokens; token < sizes_.tokens; ++token) {
      Lanes::ForEach([&](uint32_t lane) {
        int32_t fine;
        (void)FineIndex(values_.At(token, group * kLanes + lane), InverseFineStep(step[lane]),
                        static_cast<float>(static_cast<int16_t>(mean[lane]) * kMeanUnit),
                        static_cast<float>(kFineMax) + 0.5f, &fine);
        const int32_t index =
            static_cast<int32_t>(DivideByFineSteps(static_cast<uint32_t>(fine + kFineMax))) -
            kBaseSymbolMax;
        ++counts_.count[index < 0 ? -index : index][lane];
      });
    }
  }

  // As TableFamily::Cheapest.
  LARDER_HD uint32_t Cheapest(uint32_t lane) const {
    uint32_t best = 0;
    int32_t best_cost = INT32_MAX;
    for (uint32_t table = 0; table < profile_.table_count; ++table) {
      const int16_t* const costs = profile_.costs + table * (kBaseSymbolMax + 1);
      int32_t cost = 0;
      for (uint32_t index = 0; index <= kBaseSymbolMax; ++index) {
        cost += int32_t{counts_.count[index][lane]} * costs[index];
      }
      if (cost < best_cost) {
        best = table;
        best_cost = cost;
      }
    }
    return best;
  }

  const WarpProfile& profile_;
  const HeadSizes& sizes_;
  const WarpValues<kElement>& values_;
  WarpSymbolCounts& counts_;
};

}  // namespace larder

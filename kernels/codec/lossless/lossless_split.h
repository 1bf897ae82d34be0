// The first half of encoding codec 2: elements part into symbols and raw bits, and each channel
// gets its base and its table. For a warp, or for a CPU that runs the lanes in order; that form is
// the specification of the vector ones. Functions of their arguments.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/lanes.h"
#include "kernels/codec/lossless/lossless_elements.h"
#include "kernels/codec/lossless/lossless_format.h"
#include "kernels/codec/lossless/lossless_tables.h"
#include "kernels/codec/rans/rans_format.h"
#include "kernels/codec/token_places.h"

namespace larder {

// A head's elements and where its parts go. Rows are those of lossless_format.h. Owns nothing.
struct LosslessSplit {
  TokenSources from;
  uint32_t groups = 0;
  uint32_t filled_tokens = 0;
  uint8_t* base = nullptr;     // [dim]
  uint8_t* table = nullptr;    // [dim]
  uint8_t* low = nullptr;      // [row][lane], where the element has low bits
  uint8_t* planes = nullptr;   // [row][plane] of u32
  uint8_t* symbols = nullptr;  // [row][lane]
};

// How often each symbol stands in each channel of a group.
struct LosslessCounts {
  uint32_t count[kLosslessSymbols][kLanes];
};

// The largest exponent of each channel of a group. Those of infinities and NaNs do not count: one
// of them would push all others out of reach.
template <class Lanes, CodecElement kElement>
LARDER_HD void FindLosslessBases(const LosslessSplit& split, uint32_t group,
                                 typename Lanes::template PerLane<uint32_t>& base) {
  using Layout = FloatLayout<kElement>;
  Lanes::ForEach([&](uint32_t lane) { base[lane] = 0; });
  for (uint32_t token = 0; token < split.filled_tokens; ++token) {
    const uint8_t* elements = split.from.At(token);
    Lanes::ForEach([&](uint32_t lane) {
      const uint32_t exponent =
          Layout::Exponent(LoadElement<kElement>(elements, group * kLanes + lane));
      const bool counts = !Layout::kTopIsSpecial || exponent != Layout::kExponentMask;
      if (counts && exponent > base[lane]) base[lane] = exponent;
    });
  }
}

// Adds the group's symbols to `counts`, which each lane sees and changes only in its own column.
template <class Lanes, CodecElement kElement>
LARDER_HD void SplitLosslessRows(const LosslessSplit& split, uint32_t group,
                                 const typename Lanes::template PerLane<uint32_t>& base,
                                 LosslessCounts& counts) {
  using Layout = FloatLayout<kElement>;
  for (uint32_t token = 0; token < split.filled_tokens; ++token) {
    const uint8_t* elements = split.from.At(token);
    const size_t row = size_t{token} * split.groups + group;
    typename Lanes::template PerLane<uint32_t> raw;
    Lanes::ForEach([&](uint32_t lane) {
      const uint32_t element = LoadElement<kElement>(elements, group * kLanes + lane);
      raw[lane] = Layout::Raw(element);
      const uint32_t symbol = ExponentSymbol(base[lane], Layout::Exponent(element));
      ++counts.count[symbol][lane];
      split.symbols[row * kLanes + lane] = static_cast<uint8_t>(symbol);
      if constexpr (Layout::kHasLow) {
        split.low[row * kLanes + lane] = static_cast<uint8_t>(raw[lane]);
      }
    });
    for (int plane = 0; plane < Layout::kPlanes; ++plane) {
      const uint32_t bits = Lanes::Ballot(
          [&](uint32_t lane) { return (raw[lane] >> (Layout::kLowBits + plane) & 1u) != 0; });
      Lanes::ForEach([&](uint32_t lane) {
        if (lane == 0) {
          StorePlane(split.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t), bits);
        }
      });
    }
  }
}

// The table that codes each channel in the fewest bits; of equal ones the first.
template <class Lanes>
LARDER_HD void ChooseLosslessTables(const LosslessCounts& counts, const LosslessTables& tables,
                                    typename Lanes::template PerLane<uint32_t>& best) {
  typename Lanes::template PerLane<uint32_t> least;
  Lanes::ForEach([&](uint32_t lane) { least[lane] = ~0u; });
  for (uint32_t table = 0; table < kLosslessTables; ++table) {
    typename Lanes::template PerLane<uint32_t> bits;
    Lanes::ForEach([&](uint32_t lane) { bits[lane] = 0; });
    for (uint32_t symbol = 0; symbol < kLosslessSymbols; ++symbol) {
      const uint32_t cost = tables.cost[symbol][table];
      Lanes::ForEach([&](uint32_t lane) { bits[lane] += counts.count[symbol][lane] * cost; });
    }
    Lanes::ForEach([&](uint32_t lane) {
      if (bits[lane] >= least[lane]) return;
      least[lane] = bits[lane];
      best[lane] = table;
    });
  }
}

// All of the above for one group.
template <class Lanes, CodecElement kElement>
LARDER_HD void SplitLosslessGroup(const LosslessSplit& split, const LosslessTables& tables,
                                  uint32_t group, LosslessCounts& counts) {
  typename Lanes::template PerLane<uint32_t> base, table;
  FindLosslessBases<Lanes, kElement>(split, group, base);
  Lanes::ForEach([&](uint32_t lane) {
    for (uint32_t symbol = 0; symbol < kLosslessSymbols; ++symbol) counts.count[symbol][lane] = 0;
  });
  SplitLosslessRows<Lanes, kElement>(split, group, base, counts);
  ChooseLosslessTables<Lanes>(counts, tables, table);
  Lanes::ForEach([&](uint32_t lane) {
    split.base[group * kLanes + lane] = static_cast<uint8_t>(base[lane]);
    split.table[group * kLanes + lane] = static_cast<uint8_t>(table[lane]);
  });
}

}  // namespace larder

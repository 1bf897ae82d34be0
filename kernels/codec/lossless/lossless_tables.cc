#include "kernels/codec/lossless/lossless_tables.h"

#include <bit>

namespace larder {
namespace {

constexpr SymbolTable kTables[kLosslessTables] = {
    {{1009, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{978, 32, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{22, 963, 26, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{882, 128, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{181, 822, 8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{728, 279, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{448, 545, 17, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{30, 701, 249, 25, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{215, 681, 98, 14, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{9, 319, 535, 105, 28, 11, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{175, 498, 214, 72, 30, 15, 7, 4, 2, 1, 1, 1, 1, 1, 1, 1}},
    {{77, 382, 302, 134, 63, 31, 15, 8, 4, 2, 1, 1, 1, 1, 1, 1}},
    {{26, 237, 358, 204, 99, 49, 24, 12, 6, 3, 1, 1, 1, 1, 1, 1}},
    {{10, 106, 337, 285, 143, 70, 35, 18, 9, 4, 2, 1, 1, 1, 1, 1}},
    {{6, 31, 170, 308, 237, 133, 69, 34, 17, 9, 4, 2, 1, 1, 1, 1}},
    {{48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 304}},
};

// 32 x log2(value), rounded down, by squaring: the same on every machine.
constexpr uint32_t Log2Times32(uint32_t value) {
  const uint32_t whole = static_cast<uint32_t>(std::bit_width(value)) - 1;
  uint64_t mantissa = uint64_t{value} << (31 - whole);  // in [2^31, 2^32): 1 to 2 with 31 bits
  uint32_t result = whole;
  for (int bit = 0; bit < 5; ++bit) {
    mantissa = mantissa * mantissa >> 31;
    const bool two = mantissa >> 32 != 0;
    result = result << 1 | static_cast<uint32_t>(two);
    mantissa >>= two ? 1 : 0;
  }
  return result;
}
static_assert(Log2Times32(1) == 0 && Log2Times32(kProbabilityScale) == 32 * kProbabilityBits);

}  // namespace

std::span<const SymbolTable, kLosslessTables> LosslessSymbolTables() { return kTables; }

void BuildLosslessTables(LosslessTables* tables) {
  for (uint32_t table = 0; table < kLosslessTables; ++table) {
    BuildDecodeTable(kTables[table], &tables->decode[table]);
    BuildEncodeTable(kTables[table], &tables->encode[table]);
    for (uint32_t symbol = 0; symbol < kLosslessSymbols; ++symbol) {
      const uint32_t bits = 32 * kProbabilityBits - Log2Times32(kTables[table].frequency[symbol]);
      tables->cost[symbol][table] = bits + (symbol == kEscape ? 32 * 8 : 0);
    }
  }
}

}  // namespace larder

#include "kernels/codec/lossless/lossless_tables.h"

#include <bit>

namespace larder {
namespace {

constexpr SymbolTable kTables[kLosslessTables] = {
    {{993, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{963, 31, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{22, 948, 25, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,  1,   1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{868, 126, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{178, 809, 8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{717, 275, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{440, 537, 17, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{29, 690, 246, 25, 6, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,  1,   1,   1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{208, 673, 97, 14, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1,  1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{9, 314, 526, 104, 27, 11, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1,   1,   1,   1,  1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{172, 489, 212, 72, 30, 14, 7, 3, 2, 1, 1, 1, 1, 1, 1, 1,
      1,   1,   1,   1,  1,  1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{75, 376, 298, 133, 62, 30, 15, 7, 4, 2, 1, 1, 1, 1, 1, 1,
      1,  1,   1,   1,   1,  1,  1,  1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {{26, 233, 352, 201, 97, 48, 24, 12, 6, 3, 1, 1, 1, 1, 1, 1,
      1,  1,   1,   1,   1,  1,  1,  1,  1, 1, 1, 1, 1, 1, 1, 1}},
    {{10, 104, 332, 281, 141, 69, 35, 17, 8, 4, 2, 1, 1, 1, 1, 1,
      1,  1,   1,   1,   1,   1,  1,  1,  1, 1, 1, 1, 1, 1, 1, 1}},
    {{6, 31, 167, 303, 234, 131, 67, 34, 17, 8, 4, 2, 1, 1, 1, 1,
      1, 1,  1,   1,   1,   1,   1,  1,  1,  1, 1, 1, 1, 1, 1, 1}},
    {{24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24,
      24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 280}},
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
    for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
      tables->cost[symbol][table] =
          32 * kProbabilityBits - Log2Times32(kTables[table].frequency[symbol]);
    }
  }
}

}  // namespace larder

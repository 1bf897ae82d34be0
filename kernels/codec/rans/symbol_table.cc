#include "kernels/codec/rans/symbol_table.h"

#include <bit>

namespace larder {
namespace {

// Which counted symbol gains most, or loses least, when its frequency changes by one towards
// `up`. The change of the coded size is about count / (frequency +- 1/2).
uint32_t BestToChange(std::span<const uint32_t, kSymbolsMax> counts, const SymbolTable& table,
                      bool up) {
  uint32_t best = kSymbolsMax;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    if (counts[symbol] == 0 || (!up && table.frequency[symbol] == 1)) continue;
    if (best == kSymbolsMax) {
      best = symbol;
      continue;
    }
    const int64_t middle = up ? 1 : -1;
    const uint64_t a = counts[symbol] * static_cast<uint64_t>(2 * table.frequency[best] + middle);
    const uint64_t b = counts[best] * static_cast<uint64_t>(2 * table.frequency[symbol] + middle);
    if (up ? a > b : a < b) best = symbol;
  }
  return best;
}

struct Reciprocal {
  uint32_t multiplier;
  uint32_t shift;
  uint32_t bias;
};

// state / frequency == ((state + bias) * multiplier) >> (32 + shift) for state < frequency * 2^22.
// The multiplier is 2^k / frequency rounded up, which is exact while its error times the state is
// below 2^k / frequency; otherwise rounded down, whose error is then small, with the bias.
Reciprocal MakeReciprocal(uint32_t frequency) {
  if (frequency == 1) return {0xffffffffu, 0, 1};
  const uint32_t bits = static_cast<uint32_t>(std::bit_width(frequency - 1));
  const uint64_t power = 1ull << (31 + bits);
  const uint64_t down = power / frequency;
  const uint64_t error_up = (frequency - power % frequency) % frequency;
  const uint64_t states = static_cast<uint64_t>(frequency) << (32 - kProbabilityBits);
  if (error_up * states <= power) {
    return {static_cast<uint32_t>(down + (error_up == 0 ? 0 : 1)), bits - 1, 0};
  }
  return {static_cast<uint32_t>(down), bits - 1, 1};
}

}  // namespace

bool IsValid(const SymbolTable& table) {
  uint32_t sum = 0;
  for (const uint16_t frequency : table.frequency) sum += frequency;
  return sum == kProbabilityScale;
}

SymbolTable NormaliseCounts(std::span<const uint32_t, kSymbolsMax> counts) {
  SymbolTable table;
  uint64_t total = 0;
  for (const uint32_t count : counts) total += count;
  if (total == 0) {
    table.frequency.fill(kProbabilityScale / kSymbolsMax);
    return table;
  }
  uint32_t sum = 0;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    if (counts[symbol] == 0) continue;
    const uint64_t share = counts[symbol] * uint64_t{kProbabilityScale} / total;
    table.frequency[symbol] = static_cast<uint16_t>(share == 0 ? 1 : share);
    sum += table.frequency[symbol];
  }
  // Each symbol is off by less than one, so these loops run at most kSymbolsMax times.
  for (; sum < kProbabilityScale; ++sum) ++table.frequency[BestToChange(counts, table, true)];
  for (; sum > kProbabilityScale; --sum) --table.frequency[BestToChange(counts, table, false)];
  return table;
}

void BuildDecodeTable(const SymbolTable& table, DecodeTable* result) {
  uint32_t slot = 0;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    const uint32_t frequency = table.frequency[symbol];
    for (uint32_t offset = 0; offset < frequency; ++offset) {
      result->entry[slot++] = PackDecodeEntry(symbol, frequency, offset);
    }
  }
}

void BuildEncodeTable(const SymbolTable& table, EncodeTable* result) {
  uint32_t start = 0;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    const uint32_t frequency = table.frequency[symbol];
    result->entry[symbol] = 0;
    result->reciprocal[symbol] = 0;
    if (frequency == 0) continue;
    const Reciprocal reciprocal = MakeReciprocal(frequency);
    result->entry[symbol] = PackEncodeEntry(frequency, start, reciprocal.shift, reciprocal.bias);
    result->reciprocal[symbol] = reciprocal.multiplier;
    start += frequency;
  }
}

}  // namespace larder

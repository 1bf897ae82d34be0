#include "kernels/codec/larder/table_family.h"

#include "kernels/codec/larder/integer_log.h"

namespace larder {
namespace {

CodecStatus CheckTable(const ProfileTable& table, uint64_t offset) {
  if (table.symbol_max == 0 || table.symbol_max > kBaseSymbolMax) {
    return CorruptCodecBytes("table: largest symbol not in 1 to 15", offset);
  }
  if (table.reserved != 0) {
    return CorruptCodecBytes("table: reserved byte is not zero", offset);
  }
  return {};
}

SymbolTable BaseFrequencies(const ProfileTable& table) {
  // Weights of 2^-24 keep the tails; a symbol within symbol_max has a weight of at least one.
  constexpr uint64_t kWhole = uint64_t{1} << 24;
  std::array<uint32_t, kSymbolsMax> counts = {};
  counts[kBaseSymbolMax] = kWhole;
  uint64_t weight = kWhole * table.first >> 16;
  uint64_t ratio = table.second;
  for (int32_t index = 1; index <= table.symbol_max; ++index) {
    const uint32_t count = static_cast<uint32_t>(weight == 0 ? 1 : weight);
    counts[static_cast<size_t>(kBaseSymbolMax + index)] = count;
    counts[static_cast<size_t>(kBaseSymbolMax - index)] = count;
    weight = weight * ratio >> 16;
    ratio = ratio * table.decay >> 16;
  }
  return NormaliseCounts(counts);
}

int16_t CostOf(uint32_t frequency) {
  return static_cast<int16_t>(static_cast<int32_t>(kProbabilityBits) * kLogUnit - LogOf(frequency));
}

SymbolCosts CostsOf(const SymbolTable& frequencies) {
  constexpr int16_t kPatchCost = 48 * kLogUnit;  // index and element
  SymbolCosts costs;
  for (uint32_t index = 0; index <= kBaseSymbolMax; ++index) {
    const uint32_t frequency = frequencies.frequency[kBaseSymbolMax + index];
    costs[index] = frequency == 0 ? kPatchCost : CostOf(frequency);
  }
  return costs;
}

}  // namespace

CodecStatus TableFamily::Build(std::span<const ProfileTable> tables) {
  if (tables.empty() || tables.size() > kTablesMax) {
    return CorruptCodecBytes("table count: not in 1 to 64", 0);
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    LARDER_RETURN_IF_CODEC_ERROR(CheckTable(tables[i], i * sizeof(ProfileTable)));
  }
  tables_.assign(tables.begin(), tables.end());
  costs_.resize(tables.size());
  base_decode_.resize(tables.size());
  base_encode_.resize(tables.size());
  for (size_t i = 0; i < tables.size(); ++i) {
    const SymbolTable frequencies = BaseFrequencies(tables[i]);
    BuildDecodeTable(frequencies, &base_decode_[i]);
    BuildEncodeTable(frequencies, &base_encode_[i]);
    costs_[i] = CostsOf(frequencies);
  }
  return {};
}

uint32_t TableFamily::Cheapest(const SymbolCounts& counts) const {
  uint32_t best = 0;
  int32_t best_cost = INT32_MAX;
  for (uint32_t table = 0; table < size(); ++table) {
    // At most 512 tokens x 48 bits x kLogUnit: far from overflow.
    int32_t cost = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      cost += int32_t{counts[i]} * costs_[table][i];
    }
    if (cost < best_cost) {
      best = table;
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace larder

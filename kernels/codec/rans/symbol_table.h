// Probabilities of up to 32 symbols, in units of 1/1024, and the look-up tables that the encoder
// and the decoder make of them. Integers only, so that every machine makes the same tables of the
// same counts. Thread-safe: functions of their arguments.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/codec/rans/rans_format.h"

namespace larder {

struct SymbolTable {
  // Sums to kProbabilityScale. A symbol of frequency 0 cannot be coded.
  std::array<uint16_t, kSymbolsMax> frequency = {};

  bool operator==(const SymbolTable&) const = default;
};

// Whether frequencies that came from elsewhere make a table.
bool IsValid(const SymbolTable& table);

// The table that codes symbols counted so in the fewest bits (to within rounding); every symbol
// with a count can be coded. Counts that are all zero make a table of equal frequencies.
SymbolTable NormaliseCounts(std::span<const uint32_t, kSymbolsMax> counts);

// Forms to compute with. Tables of a model lie one after the other, so that a look-up is
// entry[table * kProbabilityScale + slot].
struct DecodeTable {
  alignas(64) uint32_t entry[kProbabilityScale];
};
struct EncodeTable {
  alignas(64) uint32_t entry[kSymbolsMax];
  uint32_t reciprocal[kSymbolsMax];
};

// REQUIRES: IsValid(table).
void BuildDecodeTable(const SymbolTable& table, DecodeTable* result);
void BuildEncodeTable(const SymbolTable& table, EncodeTable* result);

}  // namespace larder

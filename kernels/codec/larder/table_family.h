// The distributions that a profile offers its channels, and the entropy coder's tables made of
// them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/rans/symbol_table.h"

namespace larder {

// How often each magnitude of the base index occurs in one channel of a head.
using SymbolCounts = std::array<int16_t, kBaseSymbolMax + 1>;
// What coding an index of each magnitude takes, in units of 1/kLogUnit bits; a patch where the
// table has no symbol for it.
using SymbolCosts = std::array<int16_t, kBaseSymbolMax + 1>;

// Immutable after Build; const methods are thread-safe.
class TableFamily {
 public:
  // kCorrupt naming the field of the first entry that is out of bounds.
  CodecStatus Build(std::span<const ProfileTable> tables);

  // The table that codes what was counted in the fewest bits, patches included.
  uint32_t Cheapest(const SymbolCounts& counts) const;

  uint32_t size() const { return static_cast<uint32_t>(tables_.size()); }
  // REQUIRES, here and below: index < size().
  const ProfileTable& table(uint32_t index) const { return tables_[index]; }
  const SymbolCosts& costs(uint32_t index) const { return costs_[index]; }

  // One a table.
  std::span<const DecodeTable> base_decode() const { return base_decode_; }
  std::span<const EncodeTable> base_encode() const { return base_encode_; }

 private:
  std::vector<ProfileTable> tables_;
  std::vector<SymbolCosts> costs_;
  std::vector<DecodeTable> base_decode_;
  std::vector<EncodeTable> base_encode_;
};

// The family that serves models without a profile: Gaussian and Laplace distributions of
// kDefaultScales scales each, from narrow to wide.
inline constexpr uint32_t kDefaultScales = 24;
inline constexpr uint32_t kDefaultShapes = 2;
std::span<const ProfileTable> DefaultTables();

}  // namespace larder

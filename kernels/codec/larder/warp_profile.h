// A profile as the GPU's kernels read it: one block of memory and a view of it. The host writes the
// block, the caller copies it to the device and keeps it there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/larder/profile.h"
#include "kernels/codec/larder/step_table.h"
#include "kernels/codec/run_layout.h"

namespace larder {

// One channel of one head in 32 bits, as the profile file says it.
LARDER_HD constexpr uint32_t PackChannel(uint32_t step, uint32_t table, int32_t mean) {
  return step | table << 8 | static_cast<uint32_t>(mean) << 16;
}

// The same from a head's own parameters, as they are stored.
LARDER_HD inline uint32_t PackInlineChannel(const uint8_t* parameters, uint32_t head_dim,
                                            uint32_t channel) {
  const uint8_t* const tables = parameters + (head_dim / kLanes + 1) / 2 * 2;
  const uint8_t* const means = tables + head_dim;
  const uint32_t octaves = tables[channel] >> kTableBits;
  const uint32_t step = parameters[channel / kLanes] + octaves * kStepsPerOctave;
  // One octave too many shows as a table that is not there.
  const uint32_t table = step > kStepIndexMax ? 255 : tables[channel] & ((1u << kTableBits) - 1);
  return PackChannel(step & 255, table, static_cast<int16_t>(LoadU16(means + 2 * channel)));
}

// Tables for decoding in little memory: of each, the symbol of each slot, and of each symbol its
// start << 16 | frequency. 48 of them are 54 KiB, so that a thread block has them in shared memory.
struct WarpTables {
  const uint8_t* symbols = nullptr;  // [table][kProbabilityScale]
  const uint32_t* ranges = nullptr;  // [table][kSymbolsMax]

  static constexpr uint32_t kBytesOfTable = kProbabilityScale + kSymbolsMax * 4;
};

// A plain value that points into the block.
struct WarpProfile {
  ProfileId id = {};
  uint32_t layers = 0;
  uint32_t planes_per_layer = 0;
  uint32_t heads = 0;
  uint32_t head_dim = 0;
  uint32_t table_count = 0;
  RotationShape rotation;
  const uint32_t* ranges = nullptr;  // of WarpTables; their symbols follow
  const EncodeTable* encode_tables = nullptr;
  const uint8_t* symbol_max = nullptr;       // of each table
  const int16_t* costs = nullptr;            // SymbolCosts of each table
  const uint64_t* turns = nullptr;           // of each pair
  const CosineSine* within_chunk = nullptr;  // [token][pair], of positions 0 to kCodecTokensMax - 1
  const uint32_t* channels = nullptr;        // PackChannel: [layer][plane][head][channel]

  LARDER_HD bool HasParameters() const { return layers != 0; }
  LARDER_HD WarpTables Tables() const {
    return {reinterpret_cast<const uint8_t*>(ranges + table_count * kSymbolsMax), ranges};
  }
  // REQUIRES: HasParameters, and the head is within the profile.
  LARDER_HD const uint32_t* Channels(uint32_t layer, PlaneKind kind, uint32_t head) const {
    const size_t plane = size_t{layer} * planes_per_layer + (kind == PlaneKind::kValue ? 1 : 0);
    return channels + (plane * heads + head) * head_dim;
  }
};

// Bytes of the block, a multiple of 64.
size_t WarpProfileBytes(const LarderProfile& profile);

// Writes the block to `block` and returns a view for a block that lies at `address`, which may be
// another memory's: &block[0], or where the caller copies it to. Both aligned to 64 bytes.
// REQUIRES: block.size() == WarpProfileBytes(profile).
WarpProfile WriteWarpProfile(const LarderProfile& profile, std::span<uint8_t> block,
                             const void* address);

}  // namespace larder

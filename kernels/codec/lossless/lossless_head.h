// One head of codec 2: its parsed stream, and the decoder of a warp or of a CPU that runs the lanes
// in order, which is the specification of the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/lossless/lossless_elements.h"
#include "kernels/codec/lossless/lossless_format.h"
#include "kernels/codec/rans/rans_lanes.h"
#include "kernels/codec/run_layout.h"
#include "kernels/codec/token_places.h"

namespace larder {

// What a channel's header says, copied out of the stream before it is checked.
struct LosslessChannels {
  uint8_t base[kCodecHeadDimMax];
  uint8_t table[kCodecHeadDimMax];
};

// A stream whose lengths have been checked. Does not own what it points to.
struct LosslessHead {
  LosslessForm form = LosslessForm::kStored;
  size_t stream_at = 0;               // from the run's first byte
  const uint8_t* elements = nullptr;  // stored; the rest: coded
  const uint8_t* base = nullptr;
  const uint8_t* table = nullptr;  // each below kLosslessTables
  const uint8_t* low = nullptr;
  const uint8_t* planes = nullptr;
  const uint8_t* symbols = nullptr;
  size_t symbol_bytes = 0;
  const uint8_t* escapes = nullptr;
  uint32_t escape_count = 0;
};

// Where the parts of a coded stream begin.
struct LosslessParts {
  size_t base_at = 0;
  size_t table_at = 0;
  size_t low_at = 0;
  size_t planes_at = 0;
  size_t symbols_at = 0;
};

LosslessParts LosslessPartsOf(const PlaneGeometry& geometry);

// Bytes of the stored form, which is the longest that an encoder writes.
inline size_t LosslessHeadBytesMax(const PlaneGeometry& geometry) {
  return kLosslessHeaderBytes +
         size_t{geometry.filled_tokens} * geometry.head_dim * CodecElementBytes(geometry.element);
}

// Finds and checks a head's stream. `run` is hostile; `head` points into it and into `channels`.
// REQUIRES: geometry.Validate() is OK, index < geometry.heads.
CodecStatus ParseLosslessHead(const PlaneGeometry& geometry, std::span<const uint8_t> run,
                              uint32_t index, LosslessChannels& channels, LosslessHead& head);

// Which of a head's filled tokens to write, and where.
struct LosslessWindow {
  uint32_t groups = 0;
  uint32_t filled_tokens = 0;
  uint32_t token_begin = 0;
  uint32_t token_end = 0;  // at most filled_tokens
  TokenDestinations to;    // token_begin is its token 0

  // nullptr for a token before the window.
  LARDER_HD uint8_t* At(uint32_t token) const {
    return token < token_begin ? nullptr : to.At(token - token_begin);
  }
};

// The raw bits of an element of a row.
template <CodecElement kElement>
LARDER_HD uint32_t LosslessRaw(const LosslessHead& head, size_t row, uint32_t lane) {
  using Layout = FloatLayout<kElement>;
  uint32_t raw = Layout::kHasLow ? head.low[row * kLanes + lane] : 0;
  for (int plane = 0; plane < Layout::kPlanes; ++plane) {
    const uint32_t bits =
        LoadPlane(head.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t));
    raw |= (bits >> lane & 1u) << (Layout::kLowBits + plane);
  }
  return raw;
}

// Decodes rows up to the window's end. False when what was read is damaged; a window that ends
// before the last token does not see the stream's end.
template <class Lanes, CodecElement kElement>
LARDER_HD bool DecodeLosslessHead(const LosslessHead& head, const DecodeTable* tables,
                                  const LosslessWindow& window) {
  using Layout = FloatLayout<kElement>;
  using Values = typename Lanes::template PerLane<uint32_t>;
  LaneDecoder<Lanes> decoder;
  if (!decoder.Begin(head.symbols, head.symbol_bytes)) return false;
  uint32_t escapes_taken = 0;
  size_t row = 0;
  for (uint32_t token = 0; token < window.token_end; ++token) {
    uint8_t* to = window.At(token);
    for (uint32_t channel = 0; channel < window.groups * kLanes; channel += kLanes, ++row) {
      Values table, symbol, exponent, raw;
      // First, so that a GPU waits for them while it decodes the symbols.
      if (to != nullptr) {
        Lanes::ForEach([&](uint32_t lane) { raw[lane] = LosslessRaw<kElement>(head, row, lane); });
      }
      // Checked already; on a GPU in the host's copy, so that the remainder keeps a reader of other
      // bytes inside the tables.
      Lanes::ForEach(
          [&](uint32_t lane) { table[lane] = head.table[channel + lane] % kLosslessTables; });
      decoder.DecodeRow(tables, table, symbol);
      Lanes::ForEach(
          [&](uint32_t lane) { exponent[lane] = head.base[channel + lane] - symbol[lane]; });
      const uint32_t escaped =
          Lanes::Ballot([&](uint32_t lane) { return symbol[lane] == kEscape; });
      if (escaped != 0) {
        const uint32_t count = Lanes::CountSet(escaped);
        if (count > head.escape_count - escapes_taken) return false;
        Lanes::ForEachSet(escaped, [&](uint32_t lane, uint32_t rank) {
          exponent[lane] = head.escapes[escapes_taken + rank];
        });
        escapes_taken += count;
      }
      if (to == nullptr) continue;
      Lanes::ForEach([&](uint32_t lane) {
        StoreElement<kElement>(to, channel + lane,
                               Layout::Join(exponent[lane] & Layout::kExponentMask, raw[lane]));
      });
    }
  }
  if (window.token_end < window.filled_tokens) return decoder.IsSound();
  return decoder.Finish() && escapes_taken == head.escape_count;
}

}  // namespace larder

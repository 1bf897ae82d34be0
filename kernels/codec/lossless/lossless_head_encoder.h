// One head of codec 2, encoded whole by a warp, or by a CPU that runs the lanes in order. The bytes
// are those of lossless_codec.cc, which encodes with vectors instead.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/lossless/lossless_head.h"
#include "kernels/codec/lossless/lossless_split.h"
#include "kernels/codec/rans/rans_lanes.h"

namespace larder {

// Owns nothing. Everything but the elements is aligned to 4 bytes.
struct LosslessHeadToEncode {
  TokenSources from;
  uint32_t groups = 0;
  uint32_t filled_tokens = 0;
  LosslessParts parts;
  size_t stored_bytes = 0;     // LosslessHeadBytesMax
  uint8_t* to = nullptr;       // stored_bytes of room
  uint8_t* symbols = nullptr;  // room for a byte an element
  uint8_t* room = nullptr;     // room for StreamBytesMax(rows), rows = filled tokens x groups
};

// Returns the bytes written. `counts` is memory that the warp has for itself.
template <class Lanes, CodecElement kElement>
class LosslessHeadEncoder {
 public:
  LARDER_HD static size_t Encode(const LosslessHeadToEncode& head, const LosslessTables& tables,
                                 LosslessCounts& counts) {
    if (head.parts.symbols_at < head.stored_bytes) {
      const uint32_t escapes = Split(head, tables, counts);
      uint8_t* const end = head.room + StreamBytesMax(Rows(head));
      const uint8_t* stream = EncodeSymbols(head, tables, end);
      const size_t symbol_bytes = static_cast<size_t>(end - stream);
      const size_t bytes = (head.parts.symbols_at + symbol_bytes + escapes + 3) / 4 * 4;
      if (bytes < head.stored_bytes) {
        WriteHeader(head, LosslessForm::kCoded, symbol_bytes, escapes);
        // Zeros first: the last word holds the last symbols or escapes as well.
        Lanes::ForEach([&](uint32_t lane) {
          if (lane == 0) StorePlane(head.to + bytes - sizeof(uint32_t), 0);
        });
        Lanes::Sync();
        Copy(stream, symbol_bytes, head.to + head.parts.symbols_at);
        if (escapes != 0) WriteEscapes(head, head.to + head.parts.symbols_at + symbol_bytes);
        return bytes;
      }
    }
    WriteHeader(head, LosslessForm::kStored, 0, 0);
    Store(head);
    return head.stored_bytes;
  }

 private:
  using Values = typename Lanes::template PerLane<uint32_t>;

  LARDER_HD static size_t Rows(const LosslessHeadToEncode& head) {
    return size_t{head.filled_tokens} * head.groups;
  }

  // Returns how many escapes there are.
  LARDER_HD static uint32_t Split(const LosslessHeadToEncode& head, const LosslessTables& tables,
                                  LosslessCounts& counts) {
    const LosslessSplit split = {head.from,
                                 head.groups,
                                 head.filled_tokens,
                                 head.to + head.parts.base_at,
                                 head.to + head.parts.table_at,
                                 head.to + head.parts.low_at,
                                 head.to + head.parts.planes_at,
                                 head.symbols};
    uint32_t escapes = 0;
    for (uint32_t group = 0; group < head.groups; ++group) {
      SplitLosslessGroup<Lanes, kElement>(split, tables, group, counts);
      escapes += Lanes::Sum([&](uint32_t lane) { return counts.count[kEscape][lane]; });
    }
    return escapes;
  }

  // Returns where the stream begins. Each lane reads only what it wrote.
  LARDER_HD static const uint8_t* EncodeSymbols(const LosslessHeadToEncode& head,
                                                const LosslessTables& tables, uint8_t* end) {
    LaneEncoder<Lanes> encoder;
    encoder.Begin(end);
    uint32_t group = head.groups;
    for (size_t row = Rows(head); row-- > 0;) {
      group = (group == 0 ? head.groups : group) - 1;
      Values table, symbol;
      Lanes::ForEach([&](uint32_t lane) {
        table[lane] = head.to[head.parts.table_at + group * kLanes + lane];
        symbol[lane] = head.symbols[row * kLanes + lane];
      });
      encoder.EncodeRow(tables.encode, table, symbol);
    }
    const uint8_t* stream = encoder.Finish();
    Lanes::Sync();
    return stream;
  }

  LARDER_HD static void WriteHeader(const LosslessHeadToEncode& head, LosslessForm form,
                                    size_t symbol_bytes, uint32_t escapes) {
    Lanes::ForEach([&](uint32_t lane) {
      if (lane != 0) return;
      StorePlane(head.to + kLosslessFormAt, static_cast<uint32_t>(form));
      StorePlane(head.to + kLosslessSymbolBytesAt, static_cast<uint32_t>(symbol_bytes));
      StorePlane(head.to + kLosslessEscapesAt, escapes);
      StorePlane(head.to + kLosslessReservedAt, 0);
    });
  }

  LARDER_HD static void Copy(const uint8_t* from, size_t bytes, uint8_t* to) {
    Lanes::ForEach([&](uint32_t lane) {
      for (size_t i = lane * kWordBytes; i < bytes; i += kLanes * kWordBytes) {
        StoreWord(to + i, LoadWord(from + i));
      }
    });
  }

  LARDER_HD static void WriteEscapes(const LosslessHeadToEncode& head, uint8_t* to) {
    size_t row = 0;
    for (uint32_t token = 0; token < head.filled_tokens; ++token) {
      const uint8_t* elements = head.from.At(token);
      for (uint32_t channel = 0; channel < head.groups * kLanes; channel += kLanes, ++row) {
        const uint32_t escaped = Lanes::Ballot(
            [&](uint32_t lane) { return head.symbols[row * kLanes + lane] == kEscape; });
        Lanes::ForEachSet(escaped, [&](uint32_t lane, uint32_t rank) {
          to[rank] = static_cast<uint8_t>(
              FloatLayout<kElement>::Exponent(LoadElement<kElement>(elements, channel + lane)));
        });
        to += Lanes::CountSet(escaped);
      }
    }
  }

  LARDER_HD static void Store(const LosslessHeadToEncode& head) {
    const uint32_t dim = head.groups * kLanes;
    for (uint32_t token = 0; token < head.filled_tokens; ++token) {
      const uint8_t* elements = head.from.At(token);
      Lanes::ForEach([&](uint32_t lane) {
        for (uint32_t channel = lane; channel < dim; channel += kLanes) {
          StoreElement<kElement>(head.to + kLosslessHeaderBytes, size_t{token} * dim + channel,
                                 LoadElement<kElement>(elements, channel));
        }
      });
    }
  }
};

}  // namespace larder

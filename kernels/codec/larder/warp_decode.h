// Decoding of one head by one warp, or by a CPU that runs the lanes in order, so that the kernels'
// logic is tested where there is no GPU. The bytes are hostile: every field is checked here, before
// its use, by the lanes together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/digit_packing.h"
#include "kernels/codec/larder/head_points.h"
#include "kernels/codec/larder/rotation.h"
#include "kernels/codec/larder/row_arithmetic.h"
#include "kernels/codec/larder/step_table.h"
#include "kernels/codec/larder/warp_profile.h"
#include "kernels/codec/rans/rans_lanes.h"
#include "kernels/codec/run_layout.h"
#include "kernels/codec/token_places.h"

namespace larder {

// One plane to decode. A plain value; all pointers are of the memory that the lanes can reach. Runs
// begin at multiples of 4 bytes, destinations at multiples of the element's size.
struct WarpDecodeJob {
  const uint8_t* levels[kLarderLevels] = {};
  uint32_t run_bytes[kLarderLevels] = {};
  uint32_t level_count = 0;  // 1 to kLarderLevels
  uint32_t heads = 0;        // of the plane
  uint32_t filled_tokens = 0;
  PlanePlace place;
  PlaneRange range;               // what to decode
  TokenDestinations destination;  // of the range's first head; token 0 is the range's first
  size_t head_stride = 0;         // bytes from a head's token to that of the next head
};

// Memory that a warp works in; shared memory on a GPU.
struct WarpScratch {
  float* row = nullptr;               // [head_dim]
  float* step = nullptr;              // [head_dim]
  int32_t* mean_table = nullptr;      // [head_dim]: mean in fine steps << 8 | table
  const uint8_t** streams = nullptr;  // [kLarderLevels]: the head's
  CosineSine* start = nullptr;        // [pairs]

  LARDER_HD static size_t Bytes(uint32_t head_dim, uint32_t pairs) {
    return head_dim * (2 * sizeof(float) + sizeof(int32_t)) + kLarderLevels * sizeof(uint8_t*) +
           pairs * sizeof(CosineSine);
  }
  LARDER_HD static WarpScratch In(void* memory, uint32_t head_dim) {
    WarpScratch scratch;
    scratch.row = static_cast<float*>(memory);
    scratch.step = scratch.row + head_dim;
    scratch.mean_table = reinterpret_cast<int32_t*>(scratch.step + head_dim);
    scratch.streams = reinterpret_cast<const uint8_t**>(scratch.mean_table + head_dim);
    scratch.start = reinterpret_cast<CosineSine*>(scratch.streams + kLarderLevels);
    return scratch;
  }
};

template <class Lanes, CodecElement kElement>
class WarpHeadDecoder {
 public:
  static constexpr uint32_t kElementBytes = static_cast<uint32_t>(CodecElementBytes(kElement));

  // REQUIRES: the job's place and range are within the profile and the plane.
  LARDER_HD WarpHeadDecoder(const WarpProfile& profile, const WarpTables& tables,
                            const WarpDecodeJob& job, const WarpScratch& scratch)
      : profile_(profile), tables_(tables), job_(job), scratch_(scratch) {
    sizes_.head_dim = profile.head_dim;
    sizes_.element_bytes = kElementBytes;
    sizes_.tokens = job.filled_tokens;
    sizes_.exact_tokens = ExactTokens(job.place.first_token, job.filled_tokens);
    rotates_ = job.place.kind != PlaneKind::kValue && profile.rotation.pairs != 0;
  }

  // Decodes the plane's head `head`, of the range.
  LARDER_HD HeadFault Decode(uint32_t head) {
    HeadFault fault = FindParts(head);
    if (fault != HeadFault::kNone) return fault;
    output_ = job_.destination;
    output_.base += (head - job_.range.head_begin) * job_.head_stride;
    if (layout_.mode == HeadMode::kRaw) {
      CopyRows(BaseStream() + layout_.exact, sizes_.tokens);
    } else {
      fault = LoadParameters(head);
      if (fault == HeadFault::kNone) fault = CheckPatches();
      if (fault == HeadFault::kNone) fault = DecodeRows();
      if (fault != HeadFault::kNone) return fault;
      Lanes::Sync();
      CopyRows(BaseStream() + layout_.exact, sizes_.exact_tokens);
      ApplyPatches();
    }
    ClearUnfilled();
    return HeadFault::kNone;
  }

 private:
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  LARDER_HD bool InRange(uint32_t token) const {
    return token >= job_.range.token_begin && token < job_.range.token_end;
  }
  LARDER_HD uint8_t* TokenAt(uint32_t token) const {
    return output_.At(token - job_.range.token_begin);
  }

  LARDER_HD HeadFault FindParts(uint32_t head) {
    LarderRunHeader header;
    if (job_.run_bytes[0] < sizeof(header)) return HeadFault::kRun;
    memcpy(&header, job_.levels[0], sizeof(header));
    if (!FindSplitTokens(header, &sizes_) || header.exact_tokens != sizes_.exact_tokens ||
        header.filled_tokens != sizes_.tokens || !SameId(header.profile)) {
      return HeadFault::kRun;
    }
    RunRange range;
    if (!FindStreams(job_.levels[0], job_.run_bytes[0], sizeof(header), job_.heads, head, head + 1,
                     &range) ||
        range.begin % kStreamAlignment != 0) {
      return HeadFault::kDirectory;
    }
    const uint8_t* const stream = job_.levels[0] + range.begin;
    const uint32_t stream_bytes = static_cast<uint32_t>(range.end - range.begin);
    const HeadFault fault = FindHeadLayout(stream, stream_bytes, sizes_, &layout_);
    if (fault != HeadFault::kNone) return fault;
    if (ReadsEnd(sizes_, layout_, job_.range) && !EndsInZeros(stream, stream_bytes, layout_)) {
      return HeadFault::kTrailing;
    }
    SetStream(0, stream);
    const uint32_t expected = layout_.mode == HeadMode::kRaw ? 0 : sizes_.DigitStreamBytes();
    for (uint32_t level = 0; level < kDigitLevels; ++level) {
      if (level + 1 >= job_.level_count) break;
      if (!FindStreams(job_.levels[level + 1], job_.run_bytes[level + 1], 0, job_.heads, head,
                       head + 1, &range)) {
        return HeadFault::kDirectory;
      }
      if (range.end - range.begin != expected) return HeadFault::kDigits;
      SetStream(level + 1, job_.levels[level + 1] + range.begin);
    }
    Lanes::Sync();
    return HeadFault::kNone;
  }

  // Streams are kept in memory: a GPU has no registers for them.
  LARDER_HD void SetStream(uint32_t level, const uint8_t* stream) const {
    Lanes::ForEach([&](uint32_t lane) {
      if (lane == 0) scratch_.streams[level] = stream;
    });
  }
  LARDER_HD const uint8_t* BaseStream() const { return scratch_.streams[0]; }

  LARDER_HD bool SameId(const ProfileId& id) const {
    bool same = true;
    for (size_t i = 0; i < sizeof(ProfileId); ++i) {
      same = same && id[i] == profile_.id[i];
    }
    return same;
  }

  LARDER_HD HeadFault LoadParameters(uint32_t head) {
    if (layout_.mode == HeadMode::kProfile && !profile_.HasParameters()) return HeadFault::kTable;
    const bool inline_parameters = layout_.mode == HeadMode::kInline;
    const uint8_t* const parameters = BaseStream() + layout_.parameters;
    const uint32_t* const channels =
        inline_parameters
            ? nullptr
            : profile_.Channels(job_.place.layer, job_.place.kind, job_.place.head_begin + head);
    const uint32_t bad = Lanes::Ballot([&](uint32_t lane) {
      bool any = false;
      for (uint32_t channel = lane; channel < sizes_.head_dim; channel += kLanes) {
        const uint32_t packed = inline_parameters
                                    ? PackInlineChannel(parameters, sizes_.head_dim, channel)
                                    : channels[channel];
        const uint32_t table = packed >> 8 & 255;
        any = any || table >= profile_.table_count;
        scratch_.step[channel] = FineStep(packed & 255);
        const int32_t mean = static_cast<int16_t>(packed >> 16) * kMeanUnit;
        scratch_.mean_table[channel] = mean * 256 + static_cast<int32_t>(table);
      }
      return any;
    });
    if (rotates_) {
      Lanes::ForEach([&](uint32_t lane) {
        for (uint32_t pair = lane; pair < profile_.rotation.pairs; pair += kLanes) {
          scratch_.start[pair] = CosineSineOf(job_.place.first_token * profile_.turns[pair]);
        }
      });
    }
    Lanes::Sync();
    return bad != 0 ? HeadFault::kTable : HeadFault::kNone;
  }

  LARDER_HD void StoreElement(uint8_t* to, float value) const {
    const uint32_t bits = ElementFromFloat(kElement, value);
    if constexpr (kElementBytes == 2) {
      StoreWord(to, bits);
    } else {
      *to = static_cast<uint8_t>(bits);
    }
  }

  // What the loop over the rows reads all the time, apart from the object, which a GPU's compiler
  // keeps in memory.
  struct Hot {
    WarpTables tables;
    const float* step;
    const int32_t* mean_table;
    float* row;
    const uint8_t* const* streams;
    uint32_t digit_levels;
    bool rotates;
  };

  LARDER_HD HeadFault DecodeRows() const {
    const SegmentRange segments = SegmentsOf(sizes_, job_.range);
    if (segments.begin == segments.end) return HeadFault::kNone;
    const Hot hot = {tables_,      scratch_.step,    scratch_.mean_table,
                     scratch_.row, scratch_.streams, job_.level_count - 1,
                     rotates_};
    // The range's first row may not be the first one of its digits' bytes.
    const uint32_t first_row = job_.range.token_begin * sizes_.Groups();
    uint32_t digits_at = first_row / kDigitsInByte * kLanes;
    uint32_t place = first_row % kDigitsInByte;
    PerLane<uint32_t> fractions[kDigitLevels];
    if (place != 0) {
      NextDigits(hot, digits_at, fractions);
      const uint32_t multiplier = DigitMultiplier(place);
      for (uint32_t level = 0; level < kDigitLevels; ++level) {
        Lanes::ForEach([&](uint32_t lane) {
          fractions[level][lane] = fractions[level][lane] * multiplier & 255;
        });
      }
    }
    HeadPoint from, to;
    if (!FindPoint(BaseStream(), sizes_, layout_, segments.begin, &from) ||
        !FindPoint(BaseStream(), sizes_, layout_, segments.end, &to)) {
      return HeadFault::kSplit;
    }
    // The coder must come by all split points as they say: what decodes from one of them is then
    // what decodes from the first token.
    uint32_t split_token = from.token + sizes_.split_tokens;
    const uint32_t tokens = to.token;
    const uint32_t head_dim = sizes_.head_dim;
    LaneDecoder<Lanes> decoder;
    decoder.BeginAt(BaseStream() + from.states, BaseStream() + from.words,
                    layout_.coded + layout_.coded_bytes - from.words);
    for (uint32_t token = from.token; token < tokens;) {
      uint8_t* const to_row = InRange(token) ? TokenAt(token) : nullptr;
      for (uint32_t channel = 0; channel < head_dim; channel += kLanes) {
        PerLane<uint32_t> symbol;
        decoder.DecodeRowBy(
            [&](uint32_t lane, uint32_t slot) {
              return EntryOf(hot, static_cast<uint32_t>(hot.mean_table[channel + lane]) & 255,
                             slot);
            },
            symbol);
        if (to_row == nullptr) continue;
        if (place == 0) NextDigits(hot, digits_at, fractions);
        place = place + 1 == kDigitsInByte ? 0 : place + 1;
        Lanes::ForEach([&](uint32_t lane) {
          const int32_t fine = (static_cast<int32_t>(symbol[lane]) - kBaseSymbolMax) * kFineSteps +
                               TakeDigit<0>(hot, fractions, lane) +
                               TakeDigit<1>(hot, fractions, lane) +
                               TakeDigit<2>(hot, fractions, lane);
          const float value =
              ValueAt(fine, hot.mean_table[channel + lane] >> 8, hot.step[channel + lane]);
          if (hot.rotates) {
            hot.row[channel + lane] = value;
          } else {
            StoreElement(to_row + (channel + lane) * kElementBytes, value);
          }
        });
      }
      if (hot.rotates && to_row != nullptr) StoreRotated(token, to_row);
      if (++token == split_token && token < sizes_.tokens) {
        const uint8_t* const split =
            BaseStream() + layout_.splits + (token / sizes_.split_tokens - 1) * sizeof(LarderSplit);
        if (!decoder.IsAt(split + offsetof(LarderSplit, states),
                          LoadU32(split + offsetof(LarderSplit, words)))) {
          return HeadFault::kCoded;
        }
        split_token += sizes_.split_tokens;
      }
    }
    return tokens < sizes_.tokens || decoder.Finish() ? HeadFault::kNone : HeadFault::kCoded;
  }

  LARDER_HD static uint32_t EntryOf(const Hot& hot, uint32_t table, uint32_t slot) {
    const uint32_t symbol = hot.tables.symbols[table * kProbabilityScale + slot];
    const uint32_t range = hot.tables.ranges[table * kSymbolsMax + symbol];
    return PackDecodeEntry(symbol, range & 0xffff, slot - (range >> 16));
  }

  // The bytes that hold the digits of the next rows.
  LARDER_HD static void NextDigits(const Hot& hot, uint32_t& at,
                                   PerLane<uint32_t> (&fractions)[kDigitLevels]) {
    for (uint32_t level = 0; level < kDigitLevels; ++level) {
      if (level < hot.digit_levels) {
        Lanes::ForEach(
            [&](uint32_t lane) { fractions[level][lane] = hot.streams[level + 1][at + lane]; });
      }
    }
    at += kLanes;
  }

  // The next digit of a level, in fine steps.
  template <uint32_t kLevel>
  LARDER_HD static int32_t TakeDigit(const Hot& hot, PerLane<uint32_t> (&fractions)[kDigitLevels],
                                     uint32_t lane) {
    if (kLevel >= hot.digit_levels) return 0;
    constexpr int32_t kWeight = kLevel == 0 ? 9 : kLevel == 1 ? 3 : 1;
    uint32_t& fraction = fractions[kLevel][lane];
    fraction *= 3;
    const int32_t digit = static_cast<int32_t>(fraction >> 8) - 1;
    fraction &= 255;
    return digit * kWeight;
  }

  LARDER_HD void StoreRotated(uint32_t token, uint8_t* to) const {
    const RotationShape& shape = profile_.rotation;
    const CosineSine* const within = profile_.within_chunk + size_t{token} * shape.pairs;
    const uint32_t rotated_end = shape.channel_begin + 2 * shape.pairs;
    Lanes::Sync();
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t pair = lane; pair < shape.pairs; pair += kLanes) {
        const uint32_t first = shape.First(pair);
        const uint32_t second = shape.Second(pair);
        const CosineSine turned = Combine({scratch_.row[first], scratch_.row[second]},
                                          Combine(scratch_.start[pair], within[pair]));
        StoreElement(to + first * kElementBytes, turned.cosine);
        StoreElement(to + second * kElementBytes, turned.sine);
      }
      // Channels before and after the rotated ones.
      const uint32_t others = sizes_.head_dim - 2 * shape.pairs;
      for (uint32_t other = lane; other < others; other += kLanes) {
        const uint32_t channel =
            other < shape.channel_begin ? other : other - shape.channel_begin + rotated_end;
        StoreElement(to + channel * kElementBytes, scratch_.row[channel]);
      }
    });
    Lanes::Sync();
  }

  // Rows of elements of the tokens [0, end).
  LARDER_HD void CopyRows(const uint8_t* rows, uint32_t end) const {
    for (uint32_t token = job_.range.token_begin; token < end && InRange(token); ++token) {
      const uint8_t* const from = rows + size_t{token} * sizes_.RowBytes();
      uint8_t* const to = TokenAt(token);
      Lanes::ForEach([&](uint32_t lane) {
        for (uint32_t channel = lane; channel < sizes_.head_dim; channel += kLanes) {
          CopyElement(from + channel * kElementBytes, to + channel * kElementBytes);
        }
      });
    }
  }

  LARDER_HD void CopyElement(const uint8_t* from, uint8_t* to) const {
    if constexpr (kElementBytes == 2) {
      StoreWord(to, LoadWord(from));
    } else {
      *to = *from;
    }
  }

  LARDER_HD uint32_t PatchIndex(uint32_t patch) const {
    return LoadU32(BaseStream() + layout_.patch_indices + size_t{4} * patch);
  }

  // Before anything is written: the indices of each segment ascend and are those of its coded
  // tokens.
  LARDER_HD HeadFault CheckPatches() const {
    const SegmentRange segments = SegmentsOf(sizes_, job_.range);
    for (uint32_t segment = segments.begin; segment < segments.end; ++segment) {
      HeadPoint from, to;
      if (!FindSegment(BaseStream(), sizes_, layout_, segment, &from, &to))
        return HeadFault::kSplit;
      const uint32_t first = from.token < sizes_.exact_tokens ? sizes_.exact_tokens : from.token;
      const uint32_t lowest = first * sizes_.head_dim;
      const uint32_t end = to.token * sizes_.head_dim;
      const uint32_t bad = Lanes::Ballot([&](uint32_t lane) {
        bool any = false;
        for (uint32_t patch = from.patch + lane; patch < to.patch; patch += kLanes) {
          const uint32_t index = PatchIndex(patch);
          any = any || index < lowest || index >= end ||
                (patch != from.patch && PatchIndex(patch - 1) >= index);
        }
        return any;
      });
      if (bad != 0) return HeadFault::kPatch;
    }
    return HeadFault::kNone;
  }

  LARDER_HD void ApplyPatches() const {
    const SegmentRange segments = SegmentsOf(sizes_, job_.range);
    HeadPoint from, to;
    if (segments.begin == segments.end ||
        !FindPoint(BaseStream(), sizes_, layout_, segments.begin, &from) ||
        !FindPoint(BaseStream(), sizes_, layout_, segments.end, &to)) {
      return;
    }
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t patch = from.patch + lane; patch < to.patch; patch += kLanes) {
        const uint32_t index = PatchIndex(patch);
        const uint32_t token = index / sizes_.head_dim;
        if (InRange(token)) {
          CopyElement(BaseStream() + layout_.patch_elements + size_t{patch} * kElementBytes,
                      TokenAt(token) + index % sizes_.head_dim * kElementBytes);
        }
      }
    });
  }

  LARDER_HD void ClearUnfilled() const {
    for (uint32_t token = sizes_.tokens; token < job_.range.token_end; ++token) {
      if (!InRange(token)) continue;
      uint8_t* const to = TokenAt(token);
      Lanes::ForEach([&](uint32_t lane) {
        for (uint32_t channel = lane; channel < sizes_.head_dim; channel += kLanes) {
          if constexpr (kElementBytes == 2) {
            StoreWord(to + channel * kElementBytes, 0);
          } else {
            to[channel] = 0;
          }
        }
      });
    }
  }

  const WarpProfile& profile_;
  const WarpTables& tables_;
  const WarpDecodeJob& job_;
  const WarpScratch& scratch_;
  HeadSizes sizes_;
  bool rotates_ = false;
  HeadLayout layout_;
  TokenDestinations output_;
};

}  // namespace larder

// Encoding of one head by one warp, or by a CPU that runs the lanes in order. Two passes, because a
// head's place in its runs follows from the sizes of the heads before: each head is encoded into a
// workspace of its own, then packed behind the others (warp_pack.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/digit_packing.h"
#include "kernels/codec/larder/head_layout.h"
#include "kernels/codec/larder/rotation.h"
#include "kernels/codec/larder/row_arithmetic.h"
#include "kernels/codec/larder/step_table.h"
#include "kernels/codec/larder/warp_inline.h"
#include "kernels/codec/larder/warp_profile.h"
#include "kernels/codec/rans/rans_lanes.h"
#include "kernels/codec/run_layout.h"
#include "kernels/codec/token_places.h"

namespace larder {

// One plane to encode. A plain value; all pointers are of the memory that the lanes can reach.
struct WarpEncodeJob {
  TokenSources source;     // of the plane's first head
  size_t head_stride = 0;  // bytes from a head's token to that of the next head
  uint32_t heads = 0;
  uint32_t filled_tokens = 0;
  PlanePlace place;
  uint32_t split_tokens = 0;            // between split points; 0: there are none
  uint32_t level_count = 0;             // 1 to kLarderLevels
  uint8_t* levels[kLarderLevels] = {};  // LevelBytesMax of room each, aligned to 4 bytes
  uint32_t* run_bytes = nullptr;        // [level_count], becomes the size of each run
  uint8_t* workspace = nullptr;         // WarpWorkspace::Bytes for each head, aligned to 16 bytes
};

// Where the parts of an encoded head are until it is packed.
struct WarpWorkspace {
  // What the first pass found out.
  struct Result {
    uint32_t raw;  // 0 or 1
    uint32_t coded_bytes;
    uint32_t patch_count;
    uint32_t reserved;
  };

  uint32_t patches_max = 0;
  size_t splits = sizeof(Result);
  size_t parameters = 0;  // of a head that has its own
  size_t patch_indices = 0;
  size_t patch_elements = 0;
  size_t digits = 0;
  size_t coded_end = 0;  // the coded stream ends here
  size_t bytes = 0;

  LARDER_HD explicit WarpWorkspace(const HeadSizes& sizes) {
    // With more patches than this the head is raw.
    patches_max = sizes.tokens * sizes.RowBytes() / (4 + sizes.element_bytes);
    parameters = splits + sizes.Splits() * sizeof(LarderSplit);
    patch_indices = Align(parameters + InlineParameterBytes(sizes.head_dim));
    patch_elements = patch_indices + size_t{4} * patches_max;
    digits = Align(patch_elements + size_t{sizes.element_bytes} * patches_max);
    coded_end = Align(digits + size_t{kDigitLevels} * sizes.DigitStreamBytes() +
                      StreamBytesMax(size_t{sizes.tokens} * sizes.Groups()));
    bytes = coded_end;
  }
  LARDER_HD static size_t Align(size_t bytes) { return (bytes + 15) / 16 * 16; }
};

// Memory that a warp works in; shared memory on a GPU.
struct WarpEncodeScratch {
  uint32_t* row = nullptr;        // [head_dim]: a float's bits, then fine steps and the patch flag
  float* inverse_step = nullptr;  // [head_dim]
  float* mean = nullptr;          // [head_dim]: in fine steps
  uint32_t* table = nullptr;      // [head_dim]: largest symbol << 8 | table
  WarpSymbolCounts* counts = nullptr;
  CosineSine* start = nullptr;  // [pairs]

  LARDER_HD static size_t Bytes(uint32_t head_dim, uint32_t pairs) {
    return size_t{head_dim} * 16 + sizeof(WarpSymbolCounts) + pairs * sizeof(CosineSine);
  }
  LARDER_HD static WarpEncodeScratch In(void* memory, uint32_t head_dim) {
    WarpEncodeScratch scratch;
    scratch.row = static_cast<uint32_t*>(memory);
    scratch.inverse_step = reinterpret_cast<float*>(scratch.row + head_dim);
    scratch.mean = scratch.inverse_step + head_dim;
    scratch.table = reinterpret_cast<uint32_t*>(scratch.mean + head_dim);
    scratch.counts = reinterpret_cast<WarpSymbolCounts*>(scratch.table + head_dim);
    scratch.start = reinterpret_cast<CosineSine*>(scratch.counts + 1);
    return scratch;
  }
};

template <CodecElement kElement>
LARDER_HD HeadSizes EncodeSizes(const WarpProfile& profile, const WarpEncodeJob& job) {
  HeadSizes sizes;
  sizes.head_dim = profile.head_dim;
  sizes.element_bytes = static_cast<uint32_t>(CodecElementBytes(kElement));
  sizes.tokens = job.filled_tokens;
  sizes.exact_tokens = ExactTokens(job.place.first_token, job.filled_tokens);
  sizes.split_tokens = job.split_tokens;
  return sizes;
}

// Of a head in the base level.
LARDER_HD inline size_t BaseStreamBytes(const WarpProfile& profile, const HeadSizes& sizes,
                                        const WarpWorkspace::Result& result) {
  if (result.raw != 0) {
    return AlignStream(sizeof(LarderHeadHeader) + sizes.tokens * sizes.RowBytes());
  }
  return AlignStream(sizeof(LarderHeadHeader) + sizes.Splits() * sizeof(LarderSplit) +
                     result.coded_bytes +
                     (profile.HasParameters() ? 0 : InlineParameterBytes(sizes.head_dim)) +
                     sizes.exact_tokens * sizes.RowBytes() +
                     size_t{result.patch_count} * (4 + sizes.element_bytes));
}

// The first pass.
template <class Lanes, CodecElement kElement>
class WarpHeadEncoder {
 public:
  // `tables` are the profile's, perhaps in nearer memory.
  LARDER_HD WarpHeadEncoder(const WarpProfile& profile, const EncodeTable* tables,
                            const WarpEncodeJob& job, const WarpEncodeScratch& scratch)
      : profile_(profile),
        tables_(tables),
        job_(job),
        scratch_(scratch),
        sizes_(EncodeSizes<kElement>(profile, job)),
        layout_(sizes_) {
    if (job.place.kind != PlaneKind::kValue) values_.rotation = profile.rotation;
    values_.start = scratch.start;
    values_.within_chunk = profile.within_chunk;
  }

  LARDER_HD void Encode(uint32_t head) {
    workspace_ = job_.workspace + head * layout_.bytes;
    values_.source = job_.source;
    values_.source.base += head * job_.head_stride;
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t pair = lane; pair < values_.rotation.pairs; pair += kLanes) {
        scratch_.start[pair] = CosineSineOf(job_.place.first_token * profile_.turns[pair]);
      }
    });
    Lanes::Sync();
    if (!profile_.HasParameters()) {
      WarpInlineParameters<Lanes, kElement>(profile_, sizes_, values_, *scratch_.counts)
          .Derive(workspace_ + layout_.parameters);
    }
    LoadParameters(head);
    const WarpWorkspace::Result result = EncodeRows();
    Lanes::ForEach([&](uint32_t lane) {
      if (lane == 0) memcpy(workspace_, &result, sizeof(result));
    });
    Lanes::Sync();
  }

 private:
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  static constexpr uint32_t kPatchFlag = 1u << 31;

  LARDER_HD void LoadParameters(uint32_t head) {
    const uint32_t* const channels =
        profile_.HasParameters()
            ? profile_.Channels(job_.place.layer, job_.place.kind, job_.place.head_begin + head)
            : nullptr;
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t channel = lane; channel < sizes_.head_dim; channel += kLanes) {
        const uint32_t packed =
            channels != nullptr
                ? channels[channel]
                : PackInlineChannel(workspace_ + layout_.parameters, sizes_.head_dim, channel);
        const uint32_t table = packed >> 8 & 255;
        scratch_.inverse_step[channel] = InverseFineStep(packed & 255);
        scratch_.mean[channel] = static_cast<float>(static_cast<int16_t>(packed >> 16) * kMeanUnit);
        scratch_.table[channel] = uint32_t{profile_.symbol_max[table]} << 8 | table;
      }
    });
    Lanes::Sync();
  }

  // Fine steps above the lowest, with the flag when the table has no symbol for them. Where the
  // head has its own parameters, the table was chosen after quantising: a value beyond it is coded
  // as the middle symbol, but keeps its digits.
  LARDER_HD uint32_t QuantiseChannel(uint32_t channel, float value) const {
    const int32_t largest = static_cast<int32_t>(scratch_.table[channel] >> 8);
    const int32_t quantised = profile_.HasParameters() ? largest : kBaseSymbolMax;
    const float bound =
        static_cast<float>(quantised * kFineSteps) + 0.5f * static_cast<float>(kFineSteps);
    int32_t fine;
    const bool inside =
        FineIndex(value, scratch_.inverse_step[channel], scratch_.mean[channel], bound, &fine);
    const uint32_t above = static_cast<uint32_t>(fine + kFineMax);
    const int32_t symbol = static_cast<int32_t>(DivideByFineSteps(above));
    if (symbol - kBaseSymbolMax > largest || kBaseSymbolMax - symbol > largest) {
      return (above - static_cast<uint32_t>((symbol - kBaseSymbolMax) * kFineSteps)) | kPatchFlag;
    }
    return above | (inside ? 0 : kPatchFlag);
  }

  // Fills the scratch row with what QuantiseChannel says of each channel; of two that turn together
  // both are patched if one is.
  LARDER_HD void QuantiseToken(uint32_t token) const {
    const RotationShape& shape = values_.rotation;
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t pair = lane; pair < shape.pairs; pair += kLanes) {
        const uint32_t first = shape.First(pair);
        const uint32_t second = shape.Second(pair);
        const CosineSine turned = values_.Pair(token, pair);
        const uint32_t a = QuantiseChannel(first, turned.cosine);
        const uint32_t b = QuantiseChannel(second, turned.sine);
        scratch_.row[first] = a | (b & kPatchFlag);
        scratch_.row[second] = b | (a & kPatchFlag);
      }
      const uint32_t others = sizes_.head_dim - 2 * shape.pairs;
      for (uint32_t other = lane; other < others; other += kLanes) {
        const uint32_t channel =
            shape.pairs == 0 || other < shape.channel_begin ? other : other + 2 * shape.pairs;
        scratch_.row[channel] = QuantiseChannel(channel, values_.Stored(token, channel));
      }
    });
    Lanes::Sync();
  }

  struct Patches {
    uint32_t* index;  // of the last one that was put; they are put from the end
    uint8_t* element;
    uint32_t left;  // room
    uint32_t count = 0;
  };

  // Puts the patches of a row before those that are there.
  LARDER_HD void PutPatches(uint32_t mask, uint32_t token, uint32_t channel,
                            Patches& patches) const {
    const uint32_t count = Lanes::CountSet(mask);
    patches.count += count;
    if (count > patches.left) {
      patches.left = 0;  // the head will be raw
      return;
    }
    patches.left -= count;
    patches.index -= count;
    patches.element -= count * sizes_.element_bytes;
    const uint8_t* const from = values_.source.At(token) + channel * sizes_.element_bytes;
    Lanes::ForEachSet(mask, [&](uint32_t lane, uint32_t rank) {
      patches.index[rank] = token * sizes_.head_dim + channel + lane;
      for (uint32_t byte = 0; byte < sizes_.element_bytes; ++byte) {
        patches.element[rank * sizes_.element_bytes + byte] =
            from[lane * sizes_.element_bytes + byte];
      }
    });
  }

  LARDER_HD WarpWorkspace::Result EncodeRows() {
    const uint32_t head_dim = sizes_.head_dim;
    const uint32_t groups = sizes_.Groups();
    Patches patches;
    patches.index = reinterpret_cast<uint32_t*>(workspace_ + layout_.patch_elements);
    patches.element =
        workspace_ + layout_.patch_elements + size_t{sizes_.element_bytes} * layout_.patches_max;
    patches.left = layout_.patches_max;

    LaneEncoder<Lanes> encoder;
    encoder.Begin(workspace_ + layout_.coded_end);
    // Of each level, the digits of the block that holds the row; the rows after the last have 0,
    // which is stored as 1.
    PerLane<uint32_t> digits[kDigitLevels];
    const uint32_t rows = sizes_.tokens * groups;
    uint32_t place = (rows - 1) % kDigitsInByte;
    const uint32_t first_fill = (DigitMultiplier(kDigitsInByte - 1 - place) - 1) / 2;
    Lanes::ForEach(
        [&](uint32_t lane) { digits[0][lane] = digits[1][lane] = digits[2][lane] = first_fill; });
    uint8_t* block = workspace_ + layout_.digits + (rows - 1) / kDigitsInByte * kLanes;

    uint32_t split_token = sizes_.Splits() * sizes_.split_tokens;  // the next one; 0: none is left
    for (uint32_t token = sizes_.tokens; token-- > 0;) {
      const bool exact = token < sizes_.exact_tokens;
      if (!exact) QuantiseToken(token);
      for (uint32_t channel = head_dim; channel > 0;) {
        channel -= kLanes;
        PerLane<uint32_t> table, symbol;
        const uint32_t weight = DigitMultiplier(kDigitsInByte - 1 - place);
        const uint32_t mask = Lanes::Ballot([&](uint32_t lane) {
          const uint32_t packed = exact ? uint32_t{kFineMax} : scratch_.row[channel + lane];
          const uint32_t above = packed & ~kPatchFlag;
          symbol[lane] = DivideByFineSteps(above);
          table[lane] = scratch_.table[channel + lane] & 255;
          const uint32_t rest = above - symbol[lane] * kFineSteps;
          const uint32_t ninth = rest * 57 >> 9;
          const uint32_t third = rest * 86 >> 8;
          digits[0][lane] += ninth * weight;
          digits[1][lane] += (third - 3 * ninth) * weight;
          digits[2][lane] += (rest - 3 * third) * weight;
          return (packed & kPatchFlag) != 0;
        });
        encoder.EncodeRow(tables_, table, symbol);
        if (mask != 0) PutPatches(mask, token, channel, patches);
        if (place == 0) {
          StoreDigits(digits, block);
          block -= kLanes;
        }
        place = place == 0 ? kDigitsInByte - 1 : place - 1;
      }
      Lanes::Sync();
      if (token == split_token && token != 0) {
        PutSplit(encoder, token / sizes_.split_tokens - 1, patches.count);
        split_token -= sizes_.split_tokens;
      }
    }
    const uint8_t* const coded = encoder.Finish();
    const size_t coded_bytes = static_cast<size_t>(workspace_ + layout_.coded_end - coded);
    WarpWorkspace::Result result = {0, static_cast<uint32_t>(coded_bytes), patches.count, 0};
    const size_t stream_bytes = BaseStreamBytes(profile_, sizes_, result);
    result.raw = 1;
    result.raw = stream_bytes > BaseStreamBytes(profile_, sizes_, result) ? 1 : 0;
    return result;
  }

  // Notes the coder before a token, for whom the point is the `index`-th.
  LARDER_HD void PutSplit(const LaneEncoder<Lanes>& encoder, uint32_t index,
                          uint32_t patches) const {
    uint8_t* const to = workspace_ + layout_.splits + index * sizeof(LarderSplit);
    const size_t bytes = static_cast<size_t>(workspace_ + layout_.coded_end - encoder.words());
    Lanes::ForEach([&](uint32_t lane) {
      if (lane != 0) return;
      StoreU32(to + offsetof(LarderSplit, patches), patches);
      StoreU32(to + offsetof(LarderSplit, words), static_cast<uint32_t>(bytes / kWordBytes));
    });
    encoder.StoreStates(to + offsetof(LarderSplit, states));
  }

  LARDER_HD void StoreDigits(PerLane<uint32_t> (&digits)[kDigitLevels], uint8_t* block) const {
    const size_t level_bytes = sizes_.DigitStreamBytes();
    Lanes::ForEach([&](uint32_t lane) {
      for (uint32_t level = 0; level < kDigitLevels; ++level) {
        block[level * level_bytes + lane] =
            static_cast<uint8_t>(PackedFraction(digits[level][lane]));
        digits[level][lane] = 0;
      }
    });
  }

  const WarpProfile& profile_;
  const EncodeTable* tables_;
  const WarpEncodeJob& job_;
  const WarpEncodeScratch& scratch_;
  HeadSizes sizes_;
  WarpWorkspace layout_;
  WarpValues<kElement> values_;
  uint8_t* workspace_ = nullptr;
};

}  // namespace larder

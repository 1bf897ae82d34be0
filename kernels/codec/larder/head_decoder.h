// Decodes heads of one plane, two at a time: the entropy decoder interleaves their streams.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_scratch.h"
#include "kernels/codec/larder/head_context.h"
#include "kernels/codec/larder/head_stream.h"
#include "kernels/codec/rans/rans.h"

namespace larder {

inline constexpr uint32_t kHeadsTogether = 2;

// Not thread-safe; uses the scratch memory until it is destroyed.
class HeadDecoder {
 public:
  // `sizes` are those of the run's heads.
  HeadDecoder(const HeadContext& context, const HeadSizes& sizes, uint32_t digit_levels,
              const PlaneRange& range, CodecScratch& scratch);

  // Decodes the range's tokens of `count` heads from `first_head` on.
  // REQUIRES: count <= kHeadsTogether; `levels` holds the base and the digit levels.
  CodecStatus Decode(std::span<const std::span<const uint8_t>> levels, uint32_t first_head,
                     uint32_t count, std::span<uint8_t> destination);

 private:
  struct Head {
    std::span<const uint8_t> stream;
    HeadLayout layout;
    HeadParameters parameters;
    std::span<uint8_t> base;
    DigitStreams digits = {};
  };

  void CutScratch(ScratchCutter& cutter);
  CodecStatus Parse(std::span<const uint8_t> run, uint32_t head, Head& result) const;
  CodecStatus FindDigits(std::span<const std::span<const uint8_t>> levels, uint32_t head,
                         Head& result) const;
  CodecStatus FillParameters(uint32_t head, Head& result) const;
  CodecStatus DecodeBase(std::span<const Head> heads) const;
  CodecStatus WriteElements(const Head& head, uint8_t* destination) const;

  HeadContext context_;
  uint32_t digit_levels_;
  PlaneRange range_;
  const RowKernels* kernels_;
  HeadShape shape_;
  HeadSizes sizes_;
  SegmentRange segments_;  // those that the range is in
  std::array<Head, kHeadsTogether> heads_;
};

}  // namespace larder

// Encodes the heads of one plane, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_scratch.h"
#include "kernels/codec/larder/head_context.h"
#include "kernels/codec/larder/head_stream.h"
#include "kernels/codec/larder/inline_parameters.h"
#include "kernels/codec/rans/rans.h"

namespace larder {

// Bound of one head's stream in the base level.
size_t BaseStreamBytesMax(const PlaneGeometry& geometry);

// Not thread-safe; uses the scratch memory until it is destroyed.
class HeadEncoder {
 public:
  HeadEncoder(const HeadContext& context, CodecScratch& scratch);

  const HeadShape& shape() const { return shape_; }

  // Computes the symbols of a head; the writers below then write that head.
  void Quantise(uint32_t head, const uint8_t* elements);
  // Both return the bytes written. Every head's base is written before its digits.
  size_t WriteBase(std::span<uint8_t> room);
  size_t WriteDigits(uint32_t level, std::span<uint8_t> room) const;

 private:
  void CutScratch(ScratchCutter& cutter);
  // The stored form of points_.
  std::span<const uint8_t> WriteSplits();
  bool Inline() const { return !context_.profile->HasParameters(); }

  // Steps and means of the head's own values.
  void DeriveParameters();
  // A table a channel for the symbols that came out.
  void ChooseTables();
  void CountSymbols();
  // Marks what the chosen tables have no symbols for, and codes the middle instead.
  void DropRareSymbols();
  // What is marked, and the channels that turn with it, as patches.
  void CollectPatches();

  HeadContext context_;
  const RowKernels* kernels_;
  HeadShape shape_;

  const uint8_t* elements_ = nullptr;  // of the head
  bool raw_ = false;
  HeadParameters parameters_;
  InlineParameters inline_parameters_;

  // Scratch memory.
  HeadSymbols symbols_;
  std::span<uint32_t> outside_;       // [token][group], a bit a channel
  std::span<SymbolCounts> counts_;    // [channel]
  std::span<int16_t> symbol_counts_;  // [channel][symbol]
  std::span<uint8_t> coded_room_;
  std::span<StreamPoint> points_;
  std::span<LarderSplit> splits_;
  std::span<uint8_t> stored_parameters_;
  std::span<uint32_t> patch_indices_;
  std::span<uint8_t> patch_elements_;
  size_t patch_count_ = 0;
};

}  // namespace larder

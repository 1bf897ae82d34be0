#include "kernels/codec/larder/head_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/codec/rans/rans.h"

namespace larder {

size_t BaseStreamBytesMax(const PlaneGeometry& geometry) {
  // A raw head: what would take more is stored so.
  return AlignStream(sizeof(LarderHeadHeader) + geometry.filled_tokens * geometry.head_dim *
                                                    CodecElementBytes(geometry.element));
}

HeadEncoder::HeadEncoder(const HeadContext& context, CodecScratch& scratch)
    : context_(context), kernels_(&GetRowKernels(context.path)), shape_(context.Shape()) {
  ScratchCutter measure(nullptr);
  CutScratch(measure);
  ScratchCutter cutter(scratch.Take(measure.bytes()).data());
  CutScratch(cutter);
}

void HeadEncoder::CutScratch(ScratchCutter& cutter) {
  const size_t dim = context_.geometry->head_dim;
  const size_t tokens = context_.geometry->filled_tokens;
  const size_t groups = context_.geometry->Groups();
  symbols_.base = cutter.Cut<uint8_t>(tokens * dim);
  symbols_.rests = cutter.Cut<uint8_t>(DigitBlocks(tokens * groups) * kDigitsInByte * kLanes);
  outside_ = cutter.Cut<uint32_t>(tokens * groups);
  counts_ = cutter.Cut<SymbolCounts>(Inline() ? dim : 0);
  symbol_counts_ = cutter.Cut<int16_t>(Inline() ? dim * kSymbolsMax : 0);
  coded_room_ = cutter.Cut<uint8_t>(StreamBytesMax(tokens * groups));
  points_ = cutter.Cut<StreamPoint>(shape_.Sizes().Splits());
  splits_ = cutter.Cut<LarderSplit>(shape_.Sizes().Splits());
  stored_parameters_ =
      cutter.Cut<uint8_t>(Inline() ? InlineParameterBytes(context_.geometry->head_dim) : 0);
  patch_indices_ = cutter.Cut<uint32_t>(tokens * dim);
  patch_elements_ =
      cutter.Cut<uint8_t>(tokens * dim * CodecElementBytes(context_.geometry->element));
}

void HeadEncoder::Quantise(uint32_t head, const uint8_t* elements) {
  elements_ = elements;
  raw_ = false;
  if (Inline()) {
    DeriveParameters();
  } else {
    context_.profile->FillParameters(*context_.place, head, &parameters_);
  }
  QuantiseHead(*kernels_, shape_, elements, parameters_, symbols_, outside_);
  if (Inline()) {
    ChooseTables();
  }
  CollectPatches();
}

void HeadEncoder::DeriveParameters() {
  ChannelSums sums;
  FloatRow row;
  for (uint32_t token = shape_.exact_tokens; token < shape_.tokens; ++token) {
    LoadUnrotated(*kernels_, shape_, elements_, token, &row);
    kernels_->see_magnitudes(row, shape_.head_dim, &sums);
  }
  const float scale = ScaleOf(sums, shape_.head_dim);
  for (uint32_t token = shape_.exact_tokens; token < shape_.tokens; ++token) {
    LoadUnrotated(*kernels_, shape_, elements_, token, &row);
    kernels_->add_scaled(row, shape_.head_dim, scale, &sums);
  }
  inline_parameters_ =
      DeriveInlineParameters(sums, shape_.tokens - shape_.exact_tokens, shape_.head_dim);
  // What was derived is within bounds.
  (void)inline_parameters_.Expand(shape_.head_dim, context_.profile->family(), &parameters_);
  // The tables are not chosen yet: every symbol may occur.
  parameters_.bound.fill(static_cast<float>(kFineMax) + 0.5f);
}

void HeadEncoder::CountSymbols() {
  const uint32_t dim = shape_.head_dim;
  std::fill(symbol_counts_.begin(), symbol_counts_.end(), 0);
  for (size_t row = 0; row < symbols_.base.size(); row += dim) {
    for (uint32_t channel = 0; channel < dim; ++channel) {
      ++symbol_counts_[channel * kSymbolsMax + symbols_.base[row + channel]];
    }
  }
  for (uint32_t channel = 0; channel < dim; ++channel) {
    const int16_t* const of_zero = &symbol_counts_[channel * kSymbolsMax + kBaseSymbolMax];
    counts_[channel][0] = of_zero[0];
    for (int32_t index = 1; index <= kBaseSymbolMax; ++index) {
      counts_[channel][static_cast<size_t>(index)] =
          static_cast<int16_t>(of_zero[index] + of_zero[-index]);
    }
  }
}

void HeadEncoder::ChooseTables() {
  CountSymbols();
  for (uint32_t channel = 0; channel < shape_.head_dim; ++channel) {
    const uint32_t table = context_.profile->family().Cheapest(counts_[channel]);
    inline_parameters_.channel_table[channel] =
        static_cast<uint8_t>(inline_parameters_.channel_table[channel] | table);
  }
  (void)inline_parameters_.Expand(shape_.head_dim, context_.profile->family(), &parameters_);
  inline_parameters_.Store(shape_.head_dim, stored_parameters_.data());
  DropRareSymbols();
}

void HeadEncoder::DropRareSymbols() {
  const uint32_t dim = shape_.head_dim;
  for (uint32_t channel = 0; channel < dim; ++channel) {
    const ProfileTable& table = context_.profile->family().table(parameters_.base_table[channel]);
    const auto rare = counts_[channel].begin() + table.symbol_max + 1;
    const auto end = counts_[channel].begin() + kBaseSymbolMax + 1;
    if (std::all_of(rare, end, [](int16_t count) { return count == 0; })) {
      continue;
    }
    for (uint32_t token = 0; token < shape_.tokens; ++token) {
      uint8_t& symbol = symbols_.base[size_t{token} * dim + channel];
      const int32_t index = symbol - kBaseSymbolMax;
      if (index > table.symbol_max || index < -table.symbol_max) {
        symbol = kBaseSymbolMax;
        outside_[size_t{token} * dim / kLanes + channel / kLanes] |= 1u << channel % kLanes;
      }
    }
  }
}

void HeadEncoder::CollectPatches() {
  patch_count_ = 0;
  const uint32_t dim = shape_.head_dim;
  const uint32_t groups = dim / kLanes;
  const size_t element_bytes = CodecElementBytes(shape_.element);
  const auto bit = [](const uint32_t* mask, uint32_t channel) {
    return (mask[channel / kLanes] >> channel % kLanes & 1) != 0;
  };
  for (uint32_t token = 0; token < shape_.tokens; ++token) {
    uint32_t* const mask = &outside_[size_t{token} * groups];
    if (std::all_of(mask, mask + groups, [](uint32_t word) { return word == 0; })) {
      continue;
    }
    for (uint32_t pair = 0; pair < shape_.rotation.shape.pairs; ++pair) {
      const uint32_t first = shape_.rotation.shape.First(pair);
      const uint32_t second = shape_.rotation.shape.Second(pair);
      if (bit(mask, first) || bit(mask, second)) {
        mask[first / kLanes] |= 1u << first % kLanes;
        mask[second / kLanes] |= 1u << second % kLanes;
      }
    }
    for (uint32_t group = 0; group < groups; ++group) {
      for (uint32_t rest = mask[group]; rest != 0; rest &= rest - 1) {
        const uint32_t index =
            token * dim + group * kLanes + static_cast<uint32_t>(std::countr_zero(rest));
        patch_indices_[patch_count_] = index;
        std::memcpy(&patch_elements_[patch_count_ * element_bytes],
                    elements_ + index * element_bytes, element_bytes);
        ++patch_count_;
      }
    }
  }
}

std::span<const uint8_t> HeadEncoder::WriteSplits() {
  const uint32_t* const patches_end = patch_indices_.data() + patch_count_;
  for (size_t i = 0; i < points_.size(); ++i) {
    const uint32_t first = static_cast<uint32_t>(i + 1) * shape_.split_tokens * shape_.head_dim;
    LarderSplit& split = splits_[i];
    split.patches = static_cast<uint32_t>(
        patches_end - std::lower_bound<const uint32_t*>(patch_indices_.data(), patches_end, first));
    split.words = points_[i].words;
    std::memcpy(split.states.data(), points_[i].states, split.states.size());
  }
  return {reinterpret_cast<const uint8_t*>(splits_.data()), splits_.size_bytes()};
}

size_t HeadEncoder::WriteBase(std::span<uint8_t> room) {
  const size_t element_bytes = CodecElementBytes(shape_.element);
  HeadStream parts;
  parts.mode = Inline() ? HeadMode::kInline : HeadMode::kProfile;
  parts.patch_indices = {reinterpret_cast<const uint8_t*>(patch_indices_.data()),
                         patch_count_ * sizeof(uint32_t)};
  const std::span<const uint8_t> tables(parameters_.base_table);
  const EncodeModel model = {context_.profile->family().base_encode(),
                             tables.first(shape_.head_dim)};
  const StreamSplits splits = {size_t{shape_.split_tokens} * shape_.head_dim, points_};
  parts.coded =
      coded_room_.last(EncodeStream(context_.path, model, symbols_.base, coded_room_, splits));
  parts.splits = WriteSplits();
  parts.parameters = stored_parameters_;
  parts.exact = {elements_, shape_.exact_tokens * shape_.RowBytes()};
  parts.patch_elements = patch_elements_.first(patch_count_ * element_bytes);
  raw_ = HeadStreamBytes(parts) > BaseStreamBytesMax(*context_.geometry);
  if (raw_) {
    parts = HeadStream();
    parts.exact = {elements_, shape_.tokens * shape_.RowBytes()};
  }
  WriteHeadStream(parts, room);
  return HeadStreamBytes(parts);
}

size_t HeadEncoder::WriteDigits(uint32_t level, std::span<uint8_t> room) const {
  if (raw_) {
    return 0;
  }
  kernels_->pack(symbols_.rests.data(), shape_.BlocksOfDigits(), level, room.data());
  return shape_.BlocksOfDigits() * kLanes;
}

}  // namespace larder

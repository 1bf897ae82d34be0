#include "kernels/codec/larder/head_decoder.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/larder/inline_parameters.h"
#include "kernels/codec/run_layout.h"

namespace larder {

HeadDecoder::HeadDecoder(const HeadContext& context, const HeadSizes& sizes, uint32_t digit_levels,
                         const PlaneRange& range, CodecScratch& scratch)
    : context_(context),
      digit_levels_(digit_levels),
      range_(range),
      kernels_(&GetRowKernels(context.path)),
      shape_(context.Shape()),
      sizes_(sizes),
      segments_(SegmentsOf(sizes, range)) {
  ScratchCutter measure(nullptr);
  CutScratch(measure);
  ScratchCutter cutter(scratch.Take(measure.bytes()).data());
  CutScratch(cutter);
}

void HeadDecoder::CutScratch(ScratchCutter& cutter) {
  const PlaneGeometry& geometry = *context_.geometry;
  for (Head& head : heads_) {
    head.base = cutter.Cut<uint8_t>(size_t{geometry.filled_tokens} * geometry.head_dim);
  }
}

CodecStatus HeadDecoder::Parse(std::span<const uint8_t> run, uint32_t head, Head& result) const {
  LARDER_RETURN_IF_CODEC_ERROR(
      FindHead(run, context_.geometry->heads, head, sizes_, &result.stream, &result.layout));
  if (ReadsEnd(sizes_, result.layout, range_) &&
      !EndsInZeros(result.stream.data(), static_cast<uint32_t>(result.stream.size()),
                   result.layout)) {
    return CorruptCodecBytes(HeadFaultText(HeadFault::kTrailing), head);
  }
  return FillParameters(head, result);
}

CodecStatus HeadDecoder::FillParameters(uint32_t head, Head& result) const {
  switch (result.layout.mode) {
    case HeadMode::kRaw:
      break;
    case HeadMode::kProfile:
      if (!context_.profile->HasParameters()) {
        return CorruptCodecBytes("head: the profile has no parameters", head);
      }
      context_.profile->FillParameters(*context_.place, head, &result.parameters);
      break;
    case HeadMode::kInline: {
      InlineParameters parameters;
      parameters.Load(shape_.head_dim, result.stream.data() + result.layout.parameters);
      return parameters.Expand(shape_.head_dim, context_.profile->family(), &result.parameters);
    }
  }
  return {};
}

CodecStatus HeadDecoder::FindDigits(std::span<const std::span<const uint8_t>> levels, uint32_t head,
                                    Head& result) const {
  const bool raw = result.layout.mode == HeadMode::kRaw;
  const size_t expected = raw ? 0 : shape_.BlocksOfDigits() * kLanes;
  for (uint32_t level = 0; level < digit_levels_; ++level) {
    std::span<const uint8_t> stream;
    LARDER_RETURN_IF_CODEC_ERROR(
        RunView::FindHead(levels[level + 1], 0, context_.geometry->heads, head, stream));
    if (stream.size() != expected) {
      return CorruptCodecBytes("digits: size of a head's stream", head);
    }
    result.digits[level] = stream.data();
  }
  return {};
}

CodecStatus HeadDecoder::DecodeBase(std::span<const Head> heads) const {
  std::array<StreamToDecode, kHeadsTogether * kSegmentsMax> streams;
  size_t count = 0;
  for (const Head& head : heads) {
    if (head.layout.mode == HeadMode::kRaw) continue;
    const std::span<const uint8_t> tables(head.parameters.base_table);
    const DecodeModel model = {context_.profile->family().base_decode(),
                               tables.first(shape_.head_dim)};
    for (uint32_t segment = segments_.begin; segment < segments_.end; ++segment) {
      HeadPoint from, to;
      if (!FindSegment(head.stream.data(), sizes_, head.layout, segment, &from, &to)) {
        return CorruptCodecBytes(HeadFaultText(HeadFault::kSplit), head.layout.splits);
      }
      streams[count++] = {head.stream.subspan(from.words, to.words - from.words), model,
                          head.base.subspan(size_t{from.token} * shape_.head_dim,
                                            size_t{to.token - from.token} * shape_.head_dim),
                          head.stream.data() + from.states,
                          to.states == 0 ? nullptr : head.stream.data() + to.states};
    }
  }
  return DecodeStreams(context_.path, std::span(streams).first(count));
}

CodecStatus HeadDecoder::WriteElements(const Head& head, uint8_t* destination) const {
  const size_t row_bytes = shape_.RowBytes();
  const uint32_t filled_end = std::min(range_.token_end, shape_.tokens);
  if (range_.token_end > filled_end) {
    const uint32_t empty_begin = std::max(range_.token_begin, filled_end);
    std::memset(destination + (empty_begin - range_.token_begin) * row_bytes, 0,
                (range_.token_end - empty_begin) * row_bytes);
  }
  const bool raw = head.layout.mode == HeadMode::kRaw;
  if (!raw && range_.token_begin < filled_end) {
    ReconstructHead(*kernels_, shape_, head.base.data(), head.digits, digit_levels_,
                    head.parameters, range_.token_begin, filled_end, destination);
  }
  const uint32_t exact_end = std::min(range_.token_end, raw ? shape_.tokens : shape_.exact_tokens);
  if (range_.token_begin < exact_end) {
    std::memcpy(destination,
                head.stream.data() + head.layout.exact + range_.token_begin * row_bytes,
                (exact_end - range_.token_begin) * row_bytes);
  }
  for (uint32_t segment = segments_.begin; !raw && segment < segments_.end; ++segment) {
    HeadPoint from, to;
    if (!FindSegment(head.stream.data(), sizes_, head.layout, segment, &from, &to)) {
      return CorruptCodecBytes(HeadFaultText(HeadFault::kSplit), head.layout.splits);
    }
    LARDER_RETURN_IF_CODEC_ERROR(ApplyPatches(head.stream.data(), head.layout, shape_, from, to,
                                              range_.token_begin, filled_end, destination));
  }
  return {};
}

CodecStatus HeadDecoder::Decode(std::span<const std::span<const uint8_t>> levels,
                                uint32_t first_head, uint32_t count,
                                std::span<uint8_t> destination) {
  const std::span<Head> heads = std::span(heads_).first(count);
  for (uint32_t i = 0; i < count; ++i) {
    LARDER_RETURN_IF_CODEC_ERROR(Parse(levels[0], first_head + i, heads[i]));
    LARDER_RETURN_IF_CODEC_ERROR(FindDigits(levels, first_head + i, heads[i]));
  }
  LARDER_RETURN_IF_CODEC_ERROR(DecodeBase(heads));
  const size_t head_bytes = (range_.token_end - range_.token_begin) * shape_.RowBytes();
  for (uint32_t i = 0; i < count; ++i) {
    LARDER_RETURN_IF_CODEC_ERROR(WriteElements(heads[i], destination.data() + i * head_bytes));
  }
  return {};
}

}  // namespace larder

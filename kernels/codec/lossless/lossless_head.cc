#include "kernels/codec/lossless/lossless_head.h"

namespace larder {
namespace {

struct RawSizes {
  size_t low = 0;     // bytes an element
  size_t planes = 0;  // bits an element
};

template <CodecElement kElement>
constexpr RawSizes SizesOf() {
  return {FloatLayout<kElement>::kHasLow ? 1u : 0u, FloatLayout<kElement>::kPlanes};
}

RawSizes SizesOf(CodecElement element) {
  switch (element) {
    case CodecElement::kBfloat16:
      return SizesOf<CodecElement::kBfloat16>();
    case CodecElement::kFloat16:
      return SizesOf<CodecElement::kFloat16>();
    case CodecElement::kFloat8E4M3:
      return SizesOf<CodecElement::kFloat8E4M3>();
    case CodecElement::kFloat8E5M2:
      return SizesOf<CodecElement::kFloat8E5M2>();
  }
  return {};
}

CodecStatus ParseChannels(const PlaneGeometry& geometry, std::span<const uint8_t> stream,
                          const LosslessParts& parts, LosslessChannels& channels) {
  std::memcpy(channels.base, stream.data() + parts.base_at, geometry.head_dim);
  std::memcpy(channels.table, stream.data() + parts.table_at, geometry.head_dim);
  for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
    if (channels.table[channel] >= kLosslessTables) {
      return CorruptCodecBytes("lossless head: there is no such table", parts.table_at + channel);
    }
  }
  return {};
}

CodecStatus ParseStream(const PlaneGeometry& geometry, std::span<const uint8_t> stream,
                        LosslessChannels& channels, LosslessHead& head) {
  if (stream.size() < kLosslessHeaderBytes) {
    return CorruptCodecBytes("lossless head: shorter than its header", stream.size());
  }
  const uint32_t form = LoadU32(stream.data() + kLosslessFormAt);
  const uint32_t symbol_bytes = LoadU32(stream.data() + kLosslessSymbolBytesAt);
  const uint32_t escapes = LoadU32(stream.data() + kLosslessEscapesAt);
  if (LoadU32(stream.data() + kLosslessReservedAt) != 0) {
    return CorruptCodecBytes("lossless head: reserved bytes are not zero", kLosslessReservedAt);
  }
  if (form == static_cast<uint32_t>(LosslessForm::kStored)) {
    if (symbol_bytes != 0 || escapes != 0 || stream.size() != LosslessHeadBytesMax(geometry)) {
      return CorruptCodecBytes("lossless head: stored elements of another size", stream.size());
    }
    head.form = LosslessForm::kStored;
    head.elements = stream.data() + kLosslessHeaderBytes;
    return {};
  }
  if (form != static_cast<uint32_t>(LosslessForm::kCoded)) {
    return CorruptCodecBytes("lossless head: unknown form", kLosslessFormAt);
  }

  const LosslessParts parts = LosslessPartsOf(geometry);
  const uint64_t escapes_at = uint64_t{parts.symbols_at} + symbol_bytes;
  const uint64_t end = escapes_at + escapes;
  if (stream.size() != (end + 3) / 4 * 4) {
    return CorruptCodecBytes("lossless head: its parts are not as long as the stream",
                             stream.size());
  }
  for (uint64_t padding = end; padding < stream.size(); ++padding) {
    if (stream[padding] != 0) {
      return CorruptCodecBytes("lossless head: padding is not zero", padding);
    }
  }
  LARDER_RETURN_IF_CODEC_ERROR(ParseChannels(geometry, stream, parts, channels));
  head.form = LosslessForm::kCoded;
  head.base = channels.base;
  head.table = channels.table;
  head.low = stream.data() + parts.low_at;
  head.planes = stream.data() + parts.planes_at;
  head.symbols = stream.data() + parts.symbols_at;
  head.symbol_bytes = symbol_bytes;
  head.escapes = stream.data() + escapes_at;
  head.escape_count = escapes;
  return {};
}

}  // namespace

LosslessParts LosslessPartsOf(const PlaneGeometry& geometry) {
  const RawSizes raw = SizesOf(geometry.element);
  const size_t elements = size_t{geometry.filled_tokens} * geometry.head_dim;
  LosslessParts parts;
  parts.base_at = kLosslessHeaderBytes;
  parts.table_at = parts.base_at + geometry.head_dim;
  parts.low_at = parts.table_at + geometry.head_dim;
  parts.planes_at = parts.low_at + elements * raw.low;
  parts.symbols_at = parts.planes_at + elements / 8 * raw.planes;
  return parts;
}

CodecStatus ParseLosslessHead(const PlaneGeometry& geometry, std::span<const uint8_t> run,
                              uint32_t index, LosslessChannels& channels, LosslessHead& head) {
  std::span<const uint8_t> stream;
  LARDER_RETURN_IF_CODEC_ERROR(RunView::FindHead(run, 0, geometry.heads, index, stream));
  head.stream_at = static_cast<size_t>(stream.data() - run.data());
  CodecStatus status = ParseStream(geometry, stream, channels, head);
  if (!status.ok()) status.offset += head.stream_at;
  return status;
}

}  // namespace larder

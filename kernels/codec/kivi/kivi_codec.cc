#include "kernels/codec/kivi/kivi_codec.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/finite_value.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

constexpr uint32_t kGroup = 32;
constexpr size_t kHeaderBytes = 4;
constexpr uint32_t kAxisChannel = 0;
constexpr uint32_t kAxisToken = 1;

// How a plane is cut into groups and where the parts of a head's stream are.
struct Shape {
  CodecElement element;
  uint32_t bits;
  uint32_t axis;
  uint32_t tokens;
  uint32_t dim;

  uint32_t LargestCode() const { return (1u << bits) - 1; }
  size_t Groups() const {
    return axis == kAxisChannel ? size_t{(tokens + kGroup - 1) / kGroup} * dim
                                : size_t{tokens} * (dim / kGroup);
  }
  size_t GroupOf(uint32_t token, uint32_t channel) const {
    return axis == kAxisChannel ? size_t{token / kGroup} * dim + channel
                                : size_t{token} * (dim / kGroup) + channel / kGroup;
  }
  size_t MinimaAt() const { return Groups() * sizeof(uint16_t); }
  size_t CodesAt() const { return 2 * MinimaAt(); }
  size_t StreamBytes() const { return CodesAt() + size_t{tokens} * dim * bits / 8; }

  CodecElement ScaleElement() const {
    return element == CodecElement::kBfloat16 ? element : CodecElement::kFloat16;
  }
  float LoadScale(const uint8_t* bytes) const {
    return ElementToFloat(ScaleElement(), LoadU16(bytes));
  }
  // Stores what is nearest to the value and returns it.
  float StoreScale(float value, uint8_t* bytes) const {
    StoreU16(bytes, static_cast<uint16_t>(ElementFromFloat(ScaleElement(), value)));
    return LoadScale(bytes);
  }
};

// The tokens and channels of a group, half-open.
struct Extent {
  uint32_t token_begin, token_end;
  uint32_t channel_begin, channel_end;
};

Extent ExtentOf(const Shape& shape, size_t group) {
  if (shape.axis == kAxisChannel) {
    const uint32_t token = static_cast<uint32_t>(group / shape.dim) * kGroup;
    const uint32_t channel = static_cast<uint32_t>(group % shape.dim);
    return {token, std::min(token + kGroup, shape.tokens), channel, channel + 1};
  }
  const uint32_t token = static_cast<uint32_t>(group / (shape.dim / kGroup));
  const uint32_t channel = static_cast<uint32_t>(group % (shape.dim / kGroup)) * kGroup;
  return {token, token + 1, channel, channel + kGroup};
}

// REQUIRES: scale >= 0.
uint32_t CodeOf(float value, float minimum, float scale, uint32_t largest) {
  if (scale == 0.0f) return 0;
  const float steps = (value - minimum) / scale;
  if (!(steps > 0.0f)) return 0;
  if (steps >= static_cast<float>(largest)) return largest;
  // To nearest even, as the published code rounds.
  const uint32_t down = static_cast<uint32_t>(steps);
  const float rest = steps - static_cast<float>(down);
  return down + static_cast<uint32_t>(rest > 0.5f || (rest == 0.5f && down % 2 == 1));
}

class KiviCodec : public Codec {
 public:
  explicit KiviCodec(uint32_t bits) : bits_(bits) {}

  CodecId id() const override { return CodecId::kKivi; }
  uint32_t level_count() const override { return 1; }
  CodecStatus Check(const PlaneGeometry& geometry) const override {
    if (bits_ != 2 && bits_ != 4) return InvalidCodecArgument("kivi bits: neither 2 nor 4");
    return geometry.Validate();
  }
  size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t) const override {
    const size_t by_channel = ShapeOf(geometry, bits_, kAxisChannel).StreamBytes();
    const size_t by_token = ShapeOf(geometry, bits_, kAxisToken).StreamBytes();
    return kHeaderBytes + DirectoryBytes(geometry.heads) +
           geometry.heads * std::max(by_channel, by_token);
  }
  size_t PlaneHeaderBytes(const PlaneGeometry&, uint32_t) const override { return kHeaderBytes; }

  CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                          std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                          CodecScratch&) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
    const uint32_t axis = place.kind == PlaneKind::kKey ? kAxisChannel : kAxisToken;
    const Shape shape = ShapeOf(geometry, bits_, axis);
    RunWriter writer(levels[0].room, kHeaderBytes, geometry.heads);
    const uint8_t header[kHeaderBytes] = {static_cast<uint8_t>(bits_), static_cast<uint8_t>(axis)};
    std::memcpy(writer.header().data(), header, kHeaderBytes);
    for (uint32_t head = 0; head < geometry.heads; ++head) {
      EncodeHead(shape, elements.data() + head * geometry.HeadBytes(), writer.rest().data());
      writer.EndHead(shape.StreamBytes());
    }
    levels[0].bytes = writer.bytes();
    return {};
  }

  CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<uint8_t> destination, CodecScratch&) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckDecode(geometry, levels, range, destination));
    const std::span<const uint8_t> run = levels[0];
    if (run.size() < kHeaderBytes) return CorruptCodecBytes("kivi run: no header", run.size());
    const uint32_t bits = run[0], axis = run[1];
    if ((bits != 2 && bits != 4) || axis > kAxisToken || LoadU16(&run[2]) != 0) {
      return CorruptCodecBytes("kivi run: unknown bits or axis", 0);
    }
    const Shape shape = ShapeOf(geometry, bits, axis);
    uint8_t* to = destination.data();
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      std::span<const uint8_t> stream;
      LARDER_RETURN_IF_CODEC_ERROR(
          RunView::FindHead(run, kHeaderBytes, geometry.heads, head, stream));
      const uint64_t at = static_cast<uint64_t>(stream.data() - run.data());
      if (stream.size() != shape.StreamBytes()) {
        return CorruptCodecBytes("kivi head: not the bytes of the geometry", at);
      }
      if (!DecodeHead(shape, stream.data(), range, to)) {
        return CorruptCodecBytes("kivi head: a scale or minimum is not a finite number", at);
      }
      to += destination.size() / (range.head_end - range.head_begin);
    }
    return {};
  }

 private:
  static Shape ShapeOf(const PlaneGeometry& geometry, uint32_t bits, uint32_t axis) {
    return {geometry.element, bits, axis, geometry.filled_tokens, geometry.head_dim};
  }

  static void EncodeHead(const Shape& shape, const uint8_t* elements, uint8_t* stream) {
    std::memset(stream + shape.CodesAt(), 0, shape.StreamBytes() - shape.CodesAt());
    for (size_t group = 0; group < shape.Groups(); ++group) {
      EncodeGroup(shape, group, elements, stream);
    }
  }

  static void EncodeGroup(const Shape& shape, size_t group, const uint8_t* elements,
                          uint8_t* stream) {
    const Extent extent = ExtentOf(shape, group);
    const size_t bytes = CodecElementBytes(shape.element);
    float values[kGroup];
    size_t count = 0;
    for (uint32_t token = extent.token_begin; token < extent.token_end; ++token) {
      for (uint32_t channel = extent.channel_begin; channel < extent.channel_end; ++channel) {
        const uint8_t* from = elements + (size_t{token} * shape.dim + channel) * bytes;
        values[count++] =
            FiniteElementToFloat(shape.element, LoadElementBytes(shape.element, from));
      }
    }
    const float least = *std::min_element(values, values + count);
    const float most = *std::max_element(values, values + count);
    const float largest = static_cast<float>(shape.LargestCode());
    // The difference of the largest values is infinite; the scale that is stored never is.
    const float scale =
        shape.StoreScale((most - least) / largest, stream + group * sizeof(uint16_t));
    const float minimum =
        shape.StoreScale(least, stream + shape.MinimaAt() + group * sizeof(uint16_t));
    count = 0;
    for (uint32_t token = extent.token_begin; token < extent.token_end; ++token) {
      for (uint32_t channel = extent.channel_begin; channel < extent.channel_end; ++channel) {
        const size_t at = (size_t{token} * shape.dim + channel) * shape.bits;
        const uint32_t code = CodeOf(values[count++], minimum, scale, shape.LargestCode());
        stream[shape.CodesAt() + at / 8] |= static_cast<uint8_t>(code << at % 8);
      }
    }
  }

  // Tokens of the range that are not filled become zero.
  static bool DecodeHead(const Shape& shape, const uint8_t* stream, const PlaneRange& range,
                         uint8_t* to) {
    const size_t bytes = CodecElementBytes(shape.element);
    for (uint32_t token = range.token_begin; token < range.token_end; ++token) {
      for (uint32_t channel = 0; channel < shape.dim; ++channel, to += bytes) {
        if (token >= shape.tokens) {
          StoreElementBytes(shape.element, 0, to);
          continue;
        }
        const size_t group = shape.GroupOf(token, channel) * sizeof(uint16_t);
        const float scale = shape.LoadScale(stream + group);
        const float minimum = shape.LoadScale(stream + shape.MinimaAt() + group);
        if (!IsFiniteFloat(scale) || !IsFiniteFloat(minimum)) return false;
        const size_t at = (size_t{token} * shape.dim + channel) * shape.bits;
        const uint32_t code = stream[shape.CodesAt() + at / 8] >> at % 8 & shape.LargestCode();
        const float value = AddRounded(minimum, MultiplyRounded(static_cast<float>(code), scale));
        StoreElementBytes(shape.element, ElementFromFloat(shape.element, value), to);
      }
    }
    return true;
  }

  uint32_t bits_;
};

}  // namespace

std::unique_ptr<Codec> MakeKiviCodec(uint32_t bits) { return std::make_unique<KiviCodec>(bits); }

}  // namespace larder

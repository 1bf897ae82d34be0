#include "kernels/codec/raw_codec.h"

#include <cstring>

#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

// The raw codec stores a plane as it stands: no header and no directory.
class RawCodec : public Codec {
 public:
  CodecId id() const override { return CodecId::kRaw; }
  uint32_t level_count() const override { return 1; }
  CodecStatus Check(const PlaneGeometry& geometry) const override { return geometry.Validate(); }
  size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t) const override {
    return geometry.PlaneBytes();
  }
  size_t PlaneHeaderBytes(const PlaneGeometry&, uint32_t) const override { return 0; }

  CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                          CodecScratch&) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
    std::memcpy(levels[0].room.data(), elements.data(), elements.size());
    levels[0].bytes = elements.size();
    return {};
  }

  CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<uint8_t> destination, CodecScratch&) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckDecode(geometry, levels, range, destination));
    LARDER_RETURN_IF_CODEC_ERROR(CheckSize(geometry, levels[0]));
    const size_t token_bytes = geometry.head_dim * CodecElementBytes(geometry.element);
    const size_t bytes = (range.token_end - range.token_begin) * token_bytes;
    uint8_t* to = destination.data();
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      std::memcpy(to,
                  levels[0].data() + head * geometry.HeadBytes() + range.token_begin * token_bytes,
                  bytes);
      to += bytes;
    }
    return {};
  }

  CodecStatus FindNeeded(const PlaneGeometry& geometry, const PlanePlace&,
                         std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                         uint32_t step, std::vector<LevelRange>& needed) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckRange(geometry, levels, range));
    LARDER_RETURN_IF_CODEC_ERROR(CheckSize(geometry, levels[0]));
    const size_t token_bytes = geometry.head_dim * CodecElementBytes(geometry.element);
    for (uint32_t head = range.head_begin; head < range.head_end && step == 0; ++head) {
      const size_t begin = head * geometry.HeadBytes();
      AddNeeded(0, begin + range.token_begin * token_bytes, begin + range.token_end * token_bytes,
                needed);
    }
    return {};
  }

 private:
  static CodecStatus CheckSize(const PlaneGeometry& geometry, std::span<const uint8_t> plane) {
    if (plane.size() == geometry.PlaneBytes()) return {};
    return CorruptCodecBytes("raw plane: not the bytes of the geometry", plane.size());
  }
};

}  // namespace

std::unique_ptr<Codec> MakeRawCodec() { return std::make_unique<RawCodec>(); }

}  // namespace larder

#include "kernels/codec/larder/larder_codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/codec/larder/head_decoder.h"
#include "kernels/codec/larder/head_encoder.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

class LarderCodec : public Codec {
 public:
  LarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path)
      : profile_(std::move(profile)), path_(path) {}

  CodecId id() const override { return CodecId::kLarder; }
  uint32_t level_count() const override { return kLarderLevels; }

  CodecStatus Check(const PlaneGeometry& geometry) const override {
    LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
    if (profile_->head_dim() != 0 && geometry.head_dim != profile_->head_dim()) {
      return InvalidCodecArgument("head dim: not the profile's");
    }
    return {};
  }

  size_t PlaneHeaderBytes(const PlaneGeometry&, uint32_t level) const override {
    return level == 0 ? sizeof(LarderRunHeader) : 0;
  }

  size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t level) const override {
    const size_t rows = size_t{geometry.filled_tokens} * geometry.Groups();
    const size_t head = level == 0 ? BaseStreamBytesMax(geometry) : DigitBlocks(rows) * kLanes;
    return PlaneHeaderBytes(geometry, level) + DirectoryBytes(geometry.heads) +
           geometry.heads * head;
  }

  CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                          std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                          CodecScratch& scratch) const override;

  CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<uint8_t> destination, CodecScratch& scratch) const override;

 private:
  HeadContext Context(const PlaneGeometry& geometry, const PlanePlace& place) const {
    return {profile_.get(), path_, &geometry, &place};
  }

  std::shared_ptr<const LarderProfile> profile_;
  CpuPath path_;
};

CodecStatus LarderCodec::EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                                     std::span<const uint8_t> elements,
                                     std::span<LevelOutput> levels, CodecScratch& scratch) const {
  LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
  LARDER_RETURN_IF_CODEC_ERROR(profile_->Check(geometry, place));
  HeadEncoder encoder(Context(geometry, place), scratch);

  LarderRunHeader header = {};
  header.version = kLarderRunVersion;
  header.exact_tokens = static_cast<uint16_t>(encoder.shape().exact_tokens);
  header.filled_tokens = geometry.filled_tokens;
  header.profile = profile_->id();

  RunWriter base(levels[0].room, sizeof(header), geometry.heads);
  std::memcpy(base.header().data(), &header, sizeof(header));
  std::array<RunWriter, kDigitLevels> digits = {
      RunWriter(levels.size() > 1 ? levels[1].room : std::span<uint8_t>(), 0, geometry.heads),
      RunWriter(levels.size() > 2 ? levels[2].room : std::span<uint8_t>(), 0, geometry.heads),
      RunWriter(levels.size() > 3 ? levels[3].room : std::span<uint8_t>(), 0, geometry.heads)};

  const uint32_t digit_levels = static_cast<uint32_t>(levels.size()) - 1;
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    encoder.Quantise(head, elements.data() + head * geometry.HeadBytes());
    base.EndHead(encoder.WriteBase(base.rest()));
    for (uint32_t level = 0; level < digit_levels; ++level) {
      digits[level].EndHead(encoder.WriteDigits(level, digits[level].rest()));
    }
  }
  levels[0].bytes = base.bytes();
  for (uint32_t level = 0; level < digit_levels; ++level) {
    levels[level + 1].bytes = digits[level].bytes();
  }
  return {};
}

CodecStatus LarderCodec::DecodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                                     std::span<const std::span<const uint8_t>> levels,
                                     const PlaneRange& range, std::span<uint8_t> destination,
                                     CodecScratch& scratch) const {
  LARDER_RETURN_IF_CODEC_ERROR(CheckDecode(geometry, levels, range, destination));
  LARDER_RETURN_IF_CODEC_ERROR(profile_->Check(geometry, place));
  HeadDecoder decoder(Context(geometry, place), static_cast<uint32_t>(levels.size()) - 1, range,
                      scratch);

  LarderRunHeader header;
  if (levels[0].size() < sizeof(header)) {
    return CorruptCodecBytes("run: shorter than its header", levels[0].size());
  }
  std::memcpy(&header, levels[0].data(), sizeof(header));
  if (header.version != kLarderRunVersion) {
    return CorruptCodecBytes("run: version", offsetof(LarderRunHeader, version));
  }
  if (header.exact_tokens != decoder.shape().exact_tokens) {
    return CorruptCodecBytes("run: exact tokens are not those of the place in the sequence",
                             offsetof(LarderRunHeader, exact_tokens));
  }
  if (header.filled_tokens != geometry.filled_tokens) {
    return CorruptCodecBytes("run: filled tokens", offsetof(LarderRunHeader, filled_tokens));
  }
  if (header.profile != profile_->id()) {
    return CorruptCodecBytes("run: another profile's", offsetof(LarderRunHeader, profile));
  }
  const size_t head_bytes = destination.size() / (range.head_end - range.head_begin);
  for (uint32_t head = range.head_begin; head < range.head_end; head += kHeadsTogether) {
    const uint32_t count = std::min(kHeadsTogether, range.head_end - head);
    LARDER_RETURN_IF_CODEC_ERROR(decoder.Decode(
        levels, head, count, destination.subspan((head - range.head_begin) * head_bytes)));
  }
  return {};
}

}  // namespace

std::unique_ptr<Codec> MakeLarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path) {
  return std::make_unique<LarderCodec>(std::move(profile), path);
}

}  // namespace larder

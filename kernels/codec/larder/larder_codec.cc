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
  LarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path, uint32_t split_tokens)
      : profile_(std::move(profile)), path_(path), split_tokens_(split_tokens) {}

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

  CodecStatus FindNeeded(const PlaneGeometry& geometry, const PlanePlace& place,
                         std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                         uint32_t step, std::vector<LevelRange>& needed) const override;

 private:
  HeadContext Context(const PlaneGeometry& geometry, const PlanePlace& place) const {
    return {profile_.get(), path_, &geometry, &place, split_tokens_};
  }
  // Checks the base run's header; `sizes` becomes that of its heads.
  CodecStatus ReadRunHeader(const PlaneGeometry& geometry, const PlanePlace& place,
                            std::span<const uint8_t> run, HeadSizes* sizes) const;
  // What FindNeeded names last: of a head's base stream, and of the levels above.
  static CodecStatus FindHeadNeeds(std::span<const uint8_t> run, const PlaneGeometry& geometry,
                                   const HeadSizes& sizes, uint32_t head, const PlaneRange& range,
                                   std::vector<LevelRange>& needed);
  static CodecStatus FindDigitNeeds(std::span<const std::span<const uint8_t>> levels,
                                    const PlaneGeometry& geometry, const HeadSizes& sizes,
                                    const PlaneRange& range, std::vector<LevelRange>& needed);

  std::shared_ptr<const LarderProfile> profile_;
  CpuPath path_;
  uint32_t split_tokens_;
};

CodecStatus LarderCodec::EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                                     std::span<const uint8_t> elements,
                                     std::span<LevelOutput> levels, CodecScratch& scratch) const {
  LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
  if (!IsSplitTokens(split_tokens_)) {
    return InvalidCodecArgument("split tokens: not a multiple of 16 up to 4080");
  }
  LARDER_RETURN_IF_CODEC_ERROR(profile_->Check(geometry, place));
  HeadEncoder encoder(Context(geometry, place), scratch);

  LarderRunHeader header = {};
  const HeadShape& shape = encoder.shape();
  header.version = shape.split_tokens == 0 ? kLarderRunVersion : kLarderSplitVersion;
  header.exact_tokens = static_cast<uint8_t>(shape.exact_tokens);
  header.split_units = static_cast<uint8_t>(shape.split_tokens / kSplitUnit);
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
  HeadSizes sizes;
  LARDER_RETURN_IF_CODEC_ERROR(ReadRunHeader(geometry, place, levels[0], &sizes));
  HeadDecoder decoder(Context(geometry, place), sizes, static_cast<uint32_t>(levels.size()) - 1,
                      range, scratch);
  const size_t head_bytes = destination.size() / (range.head_end - range.head_begin);
  for (uint32_t head = range.head_begin; head < range.head_end; head += kHeadsTogether) {
    const uint32_t count = std::min(kHeadsTogether, range.head_end - head);
    LARDER_RETURN_IF_CODEC_ERROR(decoder.Decode(
        levels, head, count, destination.subspan((head - range.head_begin) * head_bytes)));
  }
  return {};
}

CodecStatus LarderCodec::ReadRunHeader(const PlaneGeometry& geometry, const PlanePlace& place,
                                       std::span<const uint8_t> run, HeadSizes* sizes) const {
  LarderRunHeader header;
  if (run.size() < sizeof(header)) {
    return CorruptCodecBytes("run: shorter than its header", run.size());
  }
  std::memcpy(&header, run.data(), sizeof(header));
  *sizes = {.head_dim = geometry.head_dim,
            .element_bytes = static_cast<uint32_t>(CodecElementBytes(geometry.element)),
            .tokens = geometry.filled_tokens,
            .exact_tokens = ExactTokens(place.first_token, geometry.filled_tokens)};
  if (!FindSplitTokens(header, sizes)) {
    return CorruptCodecBytes("run: version", offsetof(LarderRunHeader, version));
  }
  if (header.exact_tokens != sizes->exact_tokens) {
    return CorruptCodecBytes("run: exact tokens are not those of the place in the sequence",
                             offsetof(LarderRunHeader, exact_tokens));
  }
  if (header.filled_tokens != geometry.filled_tokens) {
    return CorruptCodecBytes("run: filled tokens", offsetof(LarderRunHeader, filled_tokens));
  }
  if (header.profile != profile_->id()) {
    return CorruptCodecBytes("run: another profile's", offsetof(LarderRunHeader, profile));
  }
  return {};
}

// Headers and directories; then each head's header and split points; then what they point to.
CodecStatus LarderCodec::FindNeeded(const PlaneGeometry& geometry, const PlanePlace& place,
                                    std::span<const std::span<const uint8_t>> levels,
                                    const PlaneRange& range, uint32_t step,
                                    std::vector<LevelRange>& needed) const {
  if (step == 0) return Codec::FindNeeded(geometry, place, levels, range, step, needed);
  LARDER_RETURN_IF_CODEC_ERROR(CheckRange(geometry, levels, range));
  HeadSizes sizes;
  LARDER_RETURN_IF_CODEC_ERROR(ReadRunHeader(geometry, place, levels[0], &sizes));
  if (step == 1) {
    const size_t front_bytes = sizeof(LarderHeadHeader) + sizes.Splits() * sizeof(LarderSplit);
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      RunRange stream;
      LARDER_RETURN_IF_CODEC_ERROR(RunView::FindHeads(levels[0], sizeof(LarderRunHeader),
                                                      geometry.heads, head, head + 1, stream));
      AddNeeded(0, stream.begin, std::min(stream.end, stream.begin + front_bytes), needed);
    }
  } else if (step == 2) {
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      LARDER_RETURN_IF_CODEC_ERROR(FindHeadNeeds(levels[0], geometry, sizes, head, range, needed));
    }
    return FindDigitNeeds(levels, geometry, sizes, range, needed);
  }
  return {};
}

CodecStatus LarderCodec::FindHeadNeeds(std::span<const uint8_t> run, const PlaneGeometry& geometry,
                                       const HeadSizes& sizes, uint32_t head,
                                       const PlaneRange& range, std::vector<LevelRange>& needed) {
  std::span<const uint8_t> stream;
  HeadLayout layout;
  LARDER_RETURN_IF_CODEC_ERROR(FindHead(run, geometry.heads, head, sizes, &stream, &layout));
  const size_t at = static_cast<size_t>(stream.data() - run.data());
  const auto add = [&](size_t begin, size_t end) { AddNeeded(0, at + begin, at + end, needed); };
  const bool raw = layout.mode == HeadMode::kRaw;
  const SegmentRange segments = SegmentsOf(sizes, range);
  HeadPoint from, to, between;
  if (!raw && segments.begin != segments.end) {
    if (!FindSegment(stream.data(), sizes, layout, segments.begin, &from, &between) ||
        !FindSegment(stream.data(), sizes, layout, segments.end - 1, &between, &to) ||
        from.patch > to.patch || from.words > to.words) {
      return CorruptCodecBytes(HeadFaultText(HeadFault::kSplit), at + layout.splits);
    }
    add(layout.patch_indices + size_t{4} * from.patch, layout.patch_indices + size_t{4} * to.patch);
    add(segments.begin == 0 ? layout.coded : from.words, to.words);
  }
  add(layout.parameters, layout.exact);
  const uint32_t exact_end = std::min(range.token_end, raw ? sizes.tokens : sizes.exact_tokens);
  if (range.token_begin < exact_end) {
    add(layout.exact + size_t{range.token_begin} * sizes.RowBytes(),
        layout.exact + size_t{exact_end} * sizes.RowBytes());
  }
  add(layout.patch_elements + size_t{sizes.element_bytes} * from.patch,
      layout.patch_elements + size_t{sizes.element_bytes} * to.patch);
  if (ReadsEnd(sizes, layout, range)) add(layout.end, stream.size());
  return {};
}

CodecStatus LarderCodec::FindDigitNeeds(std::span<const std::span<const uint8_t>> levels,
                                        const PlaneGeometry& geometry, const HeadSizes& sizes,
                                        const PlaneRange& range, std::vector<LevelRange>& needed) {
  const size_t groups = sizes.Groups();
  const uint32_t token_end = std::min(range.token_end, sizes.tokens);
  if (range.token_begin >= token_end) return {};
  const size_t begin = range.token_begin * groups / kDigitsInByte * kLanes;
  const size_t end = DigitBlocks(token_end * groups) * kLanes;
  for (uint32_t level = 1; level < levels.size(); ++level) {
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      RunRange stream;
      LARDER_RETURN_IF_CODEC_ERROR(
          RunView::FindHeads(levels[level], 0, geometry.heads, head, head + 1, stream));
      if (stream.begin == stream.end) continue;  // of a raw head
      if (stream.end - stream.begin != sizes.DigitStreamBytes()) {
        return CorruptCodecBytes(HeadFaultText(HeadFault::kDigits), head);
      }
      AddNeeded(level, stream.begin + begin, stream.begin + end, needed);
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<Codec> MakeLarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path,
                                       uint32_t split_tokens) {
  return std::make_unique<LarderCodec>(std::move(profile), path, split_tokens);
}

}  // namespace larder

#include "tools/codec/encoded_sample.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "kernels/codec/cachegen/cachegen_codec.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/kivi/kivi_codec.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/lossless/lossless_codec.h"
#include "kernels/codec/raw_codec.h"
#include "kernels/format/coded_container.h"

namespace larder {
namespace {

absl::Status FromCodec(const CodecStatus& status, const PlanePlace& place) {
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      absl::StrCat("layer ", place.layer, place.kind == PlaneKind::kKey ? " keys" : " values",
                   ", token ", place.first_token, ": ", status.text, " at byte ", status.offset);
  return status.code == CodecCode::kCorrupt ? absl::DataLossError(message)
                                            : absl::InvalidArgumentError(message);
}

absl::Status BadFile(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("encoded sample: ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Codec>> MakeCodecByName(const std::string& name,
                                                       std::shared_ptr<const LarderProfile> profile,
                                                       uint32_t split_tokens) {
  const CpuPath path = BestCpuPath();
  if (name == "raw") return MakeRawCodec();
  if (name == "lossless") return MakeLosslessCodec(path);
  if (name == "larder") return MakeLarderCodec(std::move(profile), path, split_tokens);
  if (name == "cachegen") return MakeCachegenCodec();
  if (name == "kivi2") return MakeKiviCodec(2);
  if (name == "kivi4") return MakeKiviCodec(4);
  return absl::InvalidArgumentError(absl::StrCat("codec \"", name, "\" is none of ", kCodecNames));
}

absl::StatusOr<std::shared_ptr<const LarderProfile>> LoadProfile(const std::string& path) {
  if (path.empty()) return LarderProfile::Generic();
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, ReadFileBytes(path));
  absl::StatusOr<ProfilePointer> profile = ParseProfile(bytes);
  RETURN_IF_ERROR(Annotate(profile.status(), path));
  return profile;
}

uint64_t EncodedSample::RunBytes(PlaneKind kind, uint32_t level_count) const {
  uint64_t bytes = 0;
  for (size_t plane = static_cast<size_t>(kind); plane < shape.PlaneCount();
       plane += kPlanesPerLayer) {
    for (uint32_t level = 0; level < level_count; ++level) bytes += Run(plane, level).size();
  }
  return bytes;
}

uint64_t EncodedSample::ContainerBytes(uint32_t level_count) const {
  const uint64_t entries = uint64_t{level_count} * shape.layers * kPlanesPerLayer;
  uint64_t bytes =
      shape.chunks * AlignToPlane(sizeof(ContainerHeader) + entries * sizeof(ContainerTocEntry));
  for (size_t plane = 0; plane < shape.PlaneCount(); ++plane) {
    for (uint32_t level = 0; level < level_count; ++level) {
      bytes += AlignToPlane(Run(plane, level).size());
    }
  }
  return bytes;
}

absl::StatusOr<EncodedSample> EncodeSample(const Sample& sample, const std::string& codec_name,
                                           const Codec& codec) {
  const SampleShape& shape = sample.shape;
  EncodedSample encoded{.sample_json = sample.json,
                        .shape = shape,
                        .codec = codec_name,
                        .levels = codec.level_count(),
                        .runs = {}};
  RETURN_IF_ERROR(FromCodec(codec.Check(shape.geometry), {}));
  std::array<std::vector<uint8_t>, kCodecLevelsMax> rooms;
  std::array<LevelOutput, kCodecLevelsMax> outputs;
  for (uint32_t level = 0; level < encoded.levels; ++level) {
    rooms[level].resize(codec.LevelBytesMax(shape.geometry, level));
    outputs[level].room = rooms[level];
  }
  CodecScratch scratch;
  for (size_t plane = 0; plane < shape.PlaneCount(); ++plane) {
    const PlanePlace place = shape.Place(plane);
    RETURN_IF_ERROR(FromCodec(codec.EncodePlane(shape.geometry, place, sample.Plane(plane),
                                                std::span(outputs).first(encoded.levels), scratch),
                              place));
    for (uint32_t level = 0; level < encoded.levels; ++level) {
      const auto begin = rooms[level].begin();
      encoded.runs.emplace_back(begin, begin + static_cast<ptrdiff_t>(outputs[level].bytes));
    }
  }
  return encoded;
}

absl::StatusOr<std::vector<uint8_t>> DecodeSample(const EncodedSample& encoded, const Codec& codec,
                                                  uint32_t level_count) {
  const SampleShape& shape = encoded.shape;
  if (encoded.levels != codec.level_count() || level_count < 1 || level_count > encoded.levels) {
    return absl::InvalidArgumentError(
        absl::StrCat("levels must be 1 to ", std::min(encoded.levels, codec.level_count())));
  }
  RETURN_IF_ERROR(FromCodec(codec.Check(shape.geometry), {}));
  std::vector<uint8_t> planes(shape.Values() * 2);
  const size_t plane_bytes = shape.geometry.PlaneBytes();
  CodecScratch scratch;
  for (size_t plane = 0; plane < shape.PlaneCount(); ++plane) {
    std::array<std::span<const uint8_t>, kCodecLevelsMax> runs;
    for (uint32_t level = 0; level < level_count; ++level) runs[level] = encoded.Run(plane, level);
    RETURN_IF_ERROR(FromCodec(
        codec.DecodePlane(shape.geometry, shape.Place(plane), std::span(runs).first(level_count),
                          PlaneRange::Whole(shape.geometry),
                          std::span(planes).subspan(plane * plane_bytes, plane_bytes), scratch),
        shape.Place(plane)));
  }
  return planes;
}

std::vector<uint8_t> SerializeEncodedSample(const EncodedSample& encoded) {
  std::vector<size_t> sizes;
  for (const std::vector<uint8_t>& run : encoded.runs) sizes.push_back(run.size());
  const nlohmann::ordered_json header = {
      {"codec", encoded.codec},
      {"levels", encoded.levels},
      {"sample", nlohmann::ordered_json::parse(encoded.sample_json)},
      {"run_bytes", sizes}};
  const std::string text = header.dump() + "\n";
  std::vector<uint8_t> bytes(text.begin(), text.end());
  for (const std::vector<uint8_t>& run : encoded.runs) {
    bytes.insert(bytes.end(), run.begin(), run.end());
  }
  return bytes;
}

absl::StatusOr<EncodedSample> ParseEncodedSample(std::span<const uint8_t> bytes) {
  const auto newline = std::find(bytes.begin(), bytes.end(), '\n');
  const auto header = nlohmann::json::parse(bytes.begin(), newline, nullptr,
                                            /*allow_exceptions=*/false);
  if (newline == bytes.end() || !header.is_object() || !header.contains("sample") ||
      !header.contains("codec") || !header["codec"].is_string() || !header.contains("levels") ||
      !header["levels"].is_number_unsigned() || !header.contains("run_bytes") ||
      !header["run_bytes"].is_array()) {
    return BadFile("no header");
  }
  EncodedSample encoded;
  encoded.sample_json = header["sample"].dump();
  ASSIGN_OR_RETURN(encoded.shape, ParseSampleShape(encoded.sample_json));
  encoded.codec = header["codec"].get<std::string>();
  const uint64_t levels = header["levels"].get<uint64_t>();
  const nlohmann::json& sizes = header["run_bytes"];
  if (levels < 1 || levels > kCodecLevelsMax ||
      sizes.size() != encoded.shape.PlaneCount() * levels) {
    return BadFile("the number of runs is not that of planes and levels");
  }
  encoded.levels = static_cast<uint32_t>(levels);
  size_t offset = static_cast<size_t>(newline - bytes.begin()) + 1;
  for (const nlohmann::json& size : sizes) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > bytes.size() - offset) {
      return BadFile("a run is longer than the file");
    }
    const auto run = bytes.subspan(offset, size.get<size_t>());
    encoded.runs.emplace_back(run.begin(), run.end());
    offset += run.size();
  }
  if (offset != bytes.size()) return BadFile("bytes after the last run");
  return encoded;
}

}  // namespace larder

#include "tools/codec/sample.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "tools/console/table.h"

namespace larder {
namespace {

constexpr uint32_t kChunksMax = 4096;
constexpr uint32_t kLayersMax = 1024;
constexpr uint32_t kQueryHeadsMax = 4096;

absl::Status BadSample(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("sample: ", what));
}

absl::StatusOr<uint32_t> Number(const nlohmann::json& json, const char* field, uint32_t max) {
  const auto found = json.find(field);
  if (found == json.end() || !found->is_number_unsigned() || found->get<uint64_t>() < 1 ||
      found->get<uint64_t>() > max) {
    return BadSample(absl::StrCat("\"", field, "\" must be a number from 1 to ", max));
  }
  return found->get<uint32_t>();
}

std::string Word(const nlohmann::json& json, const char* field) {
  const auto found = json.find(field);
  return found != json.end() && found->is_string() ? Printable(found->get<std::string>()) : "";
}

absl::Status ParseRope(const nlohmann::json& json, SampleShape* shape) {
  const std::string style = Word(json, "rope_style");
  if (style == "none") return absl::OkStatus();
  if (style == "halves") {
    shape->rope_style = RopeStyle::kHalves;
  } else if (style == "interleaved") {
    shape->rope_style = RopeStyle::kInterleaved;
  } else {
    return BadSample("\"rope_style\" must be none, halves or interleaved");
  }
  const auto base = json.find("rope_base");
  if (base == json.end() || !base->is_number() || base->get<double>() <= 1) {
    return BadSample("\"rope_base\" must be a number above 1");
  }
  shape->rope_base = base->get<double>();
  return absl::OkStatus();
}

}  // namespace

PlanePlace SampleShape::Place(size_t plane_number) const {
  const size_t layer = plane_number / kPlanesPerLayer;
  return {.layer = static_cast<uint32_t>(layer % layers),
          .kind = static_cast<PlaneKind>(plane_number % kPlanesPerLayer),
          .head_begin = 0,
          .first_token = layer / layers * geometry.tokens};
}

absl::StatusOr<SampleShape> ParseSampleShape(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return BadSample("not a JSON object");
  if (Word(json, "element_type") != "bf16") return BadSample("\"element_type\" must be bf16");
  SampleShape shape;
  shape.model = Word(json, "model");
  shape.text = Word(json, "text");
  ASSIGN_OR_RETURN(shape.chunks, Number(json, "chunks", kChunksMax));
  ASSIGN_OR_RETURN(shape.layers, Number(json, "layers", kLayersMax));
  ASSIGN_OR_RETURN(shape.query_heads, Number(json, "query_heads", kQueryHeadsMax));
  ASSIGN_OR_RETURN(shape.geometry.heads, Number(json, "kv_heads", kCodecHeadsMax));
  ASSIGN_OR_RETURN(shape.geometry.tokens, Number(json, "chunk_tokens", kCodecTokensMax));
  ASSIGN_OR_RETURN(shape.geometry.head_dim, Number(json, "head_dim", kCodecHeadDimMax));
  shape.geometry.filled_tokens = shape.geometry.tokens;
  if (const CodecStatus status = shape.geometry.Validate(); !status.ok()) {
    return BadSample(status.text);
  }
  if (shape.query_heads % shape.geometry.heads != 0) {
    return BadSample("\"query_heads\" must be a multiple of \"kv_heads\"");
  }
  RETURN_IF_ERROR(ParseRope(json, &shape));
  return shape;
}

absl::StatusOr<std::vector<uint8_t>> ReadFileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, path);
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return ErrnoStatus(errno, path);
  return bytes;
}

absl::Status WriteFileBytes(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file ? absl::OkStatus() : ErrnoStatus(errno, path);
}

absl::StatusOr<Sample> LoadSample(const std::string& path, bool with_queries) {
  absl::string_view stem = path;
  if (!absl::ConsumeSuffix(&stem, ".json")) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a sample's name ends in .json"));
  }
  ASSIGN_OR_RETURN(const std::vector<uint8_t> json, ReadFileBytes(path));
  Sample sample;
  sample.json.assign(json.begin(), json.end());
  absl::StatusOr<SampleShape> shape = ParseSampleShape(sample.json);
  if (!shape.ok()) return Annotate(shape.status(), path);
  sample.shape = *std::move(shape);
  const std::string planes_path = absl::StrCat(stem, ".kv");
  ASSIGN_OR_RETURN(sample.planes, ReadFileBytes(planes_path));
  if (sample.planes.size() != sample.shape.Values() * 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(planes_path, ": ", sample.planes.size(), " bytes instead of the ",
                     sample.shape.Values() * 2, " that ", path, " says"));
  }
  const std::string queries_path = absl::StrCat(stem, ".queries");
  if (!with_queries || !std::ifstream(queries_path)) return sample;
  ASSIGN_OR_RETURN(const std::vector<uint8_t> queries, ReadFileBytes(queries_path));
  const size_t expected = sample.shape.Values() / kPlanesPerLayer / sample.shape.geometry.heads *
                          sample.shape.query_heads * 2;
  if (queries.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(queries_path, ": ", queries.size(), " bytes instead of ", expected));
  }
  sample.queries.resize(queries.size() / 2);
  std::memcpy(sample.queries.data(), queries.data(), queries.size());
  return sample;
}

}  // namespace larder

// Samples of a model's KV cache as tools/codec/dump_kv.py writes them: NAME.json, NAME.kv and, when
// wanted, NAME.queries, all bfloat16.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/larder_format.h"

namespace larder {

inline constexpr uint32_t kPlanesPerLayer = 2;  // keys, values

// The shape of a sample. A plain value.
struct SampleShape {
  std::string model, text;
  uint32_t chunks = 0;
  uint32_t layers = 0;
  uint32_t query_heads = 0;
  PlaneGeometry geometry;  // of a plane: one chunk's keys, or values, of one layer
  RopeStyle rope_style = RopeStyle::kNone;
  double rope_base = 0;

  size_t PlaneCount() const { return size_t{chunks} * layers * kPlanesPerLayer; }
  // Planes are in the order chunk, layer, keys before values.
  size_t PlaneNumber(uint32_t chunk, uint32_t layer, PlaneKind kind) const {
    return (size_t{chunk} * layers + layer) * kPlanesPerLayer + static_cast<size_t>(kind);
  }
  PlanePlace Place(size_t plane_number) const;
  // Of all chunks' keys and values together.
  size_t Values() const { return PlaneCount() * geometry.PlaneBytes() / 2; }
};

// INVALID_ARGUMENT names the field that is missing or out of bounds.
absl::StatusOr<SampleShape> ParseSampleShape(const std::string& json);

struct Sample {
  std::string json;  // its description
  SampleShape shape;
  std::vector<uint8_t> planes;    // [plane number][head][token][dim]
  std::vector<uint16_t> queries;  // [chunk][layer][query head][token][dim], or empty

  std::span<const uint8_t> Plane(size_t plane_number) const {
    const size_t bytes = shape.geometry.PlaneBytes();
    return std::span(planes).subspan(plane_number * bytes, bytes);
  }
};

// `path` is that of the .json file. `with_queries` also reads the queries, if they are there.
absl::StatusOr<Sample> LoadSample(const std::string& path, bool with_queries);

// Whole files, as far as memory allows. Errors name the path.
absl::StatusOr<std::vector<uint8_t>> ReadFileBytes(const std::string& path);
absl::Status WriteFileBytes(const std::string& path, std::span<const uint8_t> bytes);

}  // namespace larder

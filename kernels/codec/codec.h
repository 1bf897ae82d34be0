// The one interface behind which all KV codecs stand.
//
// A codec stores a plane as one byte run a level; any prefix of the levels decodes, and each level
// refines the ones before. A run is
//
//   run = plane header, head directory, head streams      (codec/run_layout.h)
//
// so that a range of heads of a level is a byte range that the directory names.
//
// Codecs are immutable and thread-safe; scratch memory is the caller's, one for each thread. Bytes
// to decode are hostile: every field is copied once and checked before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/codec/codec_scratch.h"
#include "kernels/codec/codec_status.h"
#include "kernels/codec/geometry.h"

namespace larder {

// The values are those of the container's header.
enum class CodecId : uint16_t {
  kRaw = 1,
  kLossless = 2,
  kLarder = 3,
  kCachegen = 4,
  kKivi = 5,
};

inline constexpr uint32_t kCodecLevelsMax = 4;

// Half-open, in bytes from a run's first.
struct LevelRange {
  uint32_t level = 0;
  size_t begin = 0;
  size_t end = 0;
};

// In so many steps a reader of parts of runs finds out which.
inline constexpr uint32_t kNeededSteps = 3;

// Where a level of an encoded plane goes.
struct LevelOutput {
  std::span<uint8_t> room;  // at least LevelBytesMax
  size_t bytes = 0;         // written by EncodePlane; not 0
};

class Codec {
 public:
  virtual ~Codec() = default;

  virtual CodecId id() const = 0;
  // As in the container's header; 1 to kCodecLevelsMax.
  virtual uint32_t level_count() const = 0;

  // OK when this codec can store such a plane. Also checks geometry.Validate().
  virtual CodecStatus Check(const PlaneGeometry& geometry) const = 0;

  // Bound of the bytes of one level's run, whatever the elements are.
  // REQUIRES: Check is OK, level < level_count().
  virtual size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t level) const = 0;

  // Encodes `elements`, geometry.PlaneBytes() in the order [head][token][dim], into the first
  // levels.size() levels. The same input gives the same bytes on every machine.
  virtual CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                                  std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                                  CodecScratch& scratch) const = 0;

  // Decodes `range` from the first levels.size() levels into `destination`, range.Bytes(geometry)
  // in the order [head][token][dim]. Tokens that are not filled become zero bytes. Of the runs only
  // what FindNeeded names is read: the rest of `levels[i]` may be memory that nobody has filled.
  // After an error the destination's contents are unspecified.
  virtual CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                                  std::span<const std::span<const uint8_t>> levels,
                                  const PlaneRange& range, std::span<uint8_t> destination,
                                  CodecScratch& scratch) const = 0;

  // Appends to `needed` which bytes of the runs DecodePlane reads for `range`, for a reader that
  // fetches only these. Where they are is said by others of them, so it asks kNeededSteps times:
  // before it asks for step n, it fills in what steps 0 to n - 1 named.
  // kCorrupt when that is damaged; with damaged bytes DecodePlane may read less than was named.
  virtual CodecStatus FindNeeded(const PlaneGeometry& geometry, const PlanePlace& place,
                                 std::span<const std::span<const uint8_t>> levels,
                                 const PlaneRange& range, uint32_t step,
                                 std::vector<LevelRange>& needed) const;

  // Bytes of the plane header in a level's run: those before the head directory.
  // REQUIRES: as LevelBytesMax.
  virtual size_t PlaneHeaderBytes(const PlaneGeometry& geometry, uint32_t level) const = 0;

 protected:
  // Common checks of every EncodePlane and DecodePlane, in the words of the interface.
  CodecStatus CheckEncode(const PlaneGeometry& geometry, std::span<const uint8_t> elements,
                          std::span<const LevelOutput> levels) const;
  CodecStatus CheckDecode(const PlaneGeometry& geometry,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<const uint8_t> destination) const;
  // The part of it that FindNeeded has as well.
  CodecStatus CheckRange(const PlaneGeometry& geometry,
                         std::span<const std::span<const uint8_t>> levels,
                         const PlaneRange& range) const;

  // Appends bytes, if any, to the last range if they follow it.
  static void AddNeeded(uint32_t level, size_t begin, size_t end, std::vector<LevelRange>& needed);
};

}  // namespace larder

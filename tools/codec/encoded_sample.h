// A sample that went through a codec: the runs of every plane, kept in memory or in a file.
//
//   file = JSON object, newline, run*      ; the object says the shape, codec, profile and the size
//                                          ; of each run; runs are in the order plane, level
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/larder/profile.h"
#include "tools/codec/sample.h"

namespace larder {

inline constexpr char kCodecNames[] = "raw, lossless, larder, cachegen, kivi2, kivi4";

// The larder codec takes the profile and the tokens between split points; INVALID_ARGUMENT names an
// unknown codec.
absl::StatusOr<std::unique_ptr<Codec>> MakeCodecByName(const std::string& name,
                                                       std::shared_ptr<const LarderProfile> profile,
                                                       uint32_t split_tokens = 0);

// The generic profile when `path` is empty.
absl::StatusOr<std::shared_ptr<const LarderProfile>> LoadProfile(const std::string& path);

struct EncodedSample {
  std::string sample_json;  // the sample's description, as it was
  SampleShape shape;
  std::string codec;
  uint32_t levels = 0;
  std::vector<std::vector<uint8_t>> runs;  // [plane number x levels + level]

  std::span<const uint8_t> Run(size_t plane_number, uint32_t level) const {
    return runs[plane_number * levels + level];
  }
  // Bytes of the runs of the first `level_count` levels of keys or values.
  uint64_t RunBytes(PlaneKind kind, uint32_t level_count) const;
  // What containers of single chunks with so many levels take: header, table of contents, planes on
  // 64-byte boundaries.
  uint64_t ContainerBytes(uint32_t level_count) const;
};

// Encodes all planes, or what the codec says is wrong with one.
absl::StatusOr<EncodedSample> EncodeSample(const Sample& sample, const std::string& codec_name,
                                           const Codec& codec);

// The planes as they come back from the first `level_count` levels.
absl::StatusOr<std::vector<uint8_t>> DecodeSample(const EncodedSample& encoded, const Codec& codec,
                                                  uint32_t level_count);

std::vector<uint8_t> SerializeEncodedSample(const EncodedSample& encoded);
// INVALID_ARGUMENT for what is no such file. Runs are as they come: the codec checks them.
absl::StatusOr<EncodedSample> ParseEncodedSample(std::span<const uint8_t> bytes);

}  // namespace larder

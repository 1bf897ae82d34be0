// What each codec and level costs and does to the same samples.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/codec/distortion.h"
#include "tools/codec/encoded_sample.h"

namespace larder {

struct ComparisonRow {
  std::string codec;
  uint32_t levels = 0;
  // Mean over the samples; `bits` is everything with the container, the others the runs alone.
  double bits = 0, keys_bits = 0, values_bits = 0;
  Distortion distortion;
};

// Encodes, decodes and measures every sample with every codec and number of levels.
absl::StatusOr<std::vector<ComparisonRow>> Compare(
    const std::vector<std::string>& sample_paths, const std::vector<std::string>& codecs,
    const std::shared_ptr<const LarderProfile>& profile);

std::string ComparisonTable(const std::vector<ComparisonRow>& rows);
std::string ComparisonJson(const std::vector<ComparisonRow>& rows);
// Bits a value against the error of the attention's output, or of the values without queries; SVG.
std::string ComparisonPlot(const std::vector<ComparisonRow>& rows);

}  // namespace larder

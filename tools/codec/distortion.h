// How far decoded keys and values are from the exact ones, by themselves and for attention.
#pragma once

#include <cstdint>
#include <span>

#include "tools/codec/sample.h"

namespace larder {

// Signal-to-noise ratios are means over layers and heads of decibels; the signal of a head is what
// remains of it without the means of its channels.
struct Distortion {
  double keys_snr_db = 0;
  double values_snr_db = 0;
  // Of real queries of the last chunk over all keys before them, causal: root mean square error of
  // the logits, and error of the attention's output relative to its size. Zero without queries.
  double logit_error = 0;
  double output_error = 0;
};

// Exact tokens have no noise; their signal-to-noise ratio counts as this.
inline constexpr double kSnrMaxDb = 200;

// REQUIRES: `decoded` has the size of sample.planes.
Distortion MeasureDistortion(const Sample& sample, std::span<const uint8_t> decoded);

}  // namespace larder

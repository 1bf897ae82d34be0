// Makes a larder profile from samples of a model's cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/codec/sample.h"

namespace larder {

// What noise in a layer's keys and values does to the model (tools/codec/sensitivity.py), in any
// unit; empty: all layers alike.
struct Sensitivity {
  std::vector<double> keys, values;  // a layer
};
absl::StatusOr<Sensitivity> ParseSensitivity(const std::string& json);

struct ProfileOptions {
  // The base step of a plane of ordinary sensitivity, in standard deviations of its head.
  double base_step = 1.45;
  // A plane's step goes with its sensitivity to minus this power; 0 is no weighting. 0.5 would be
  // right for fine steps; base steps are coarse, and measured best below that.
  double sensitivity_power = 0.35;
  // A key channel's step goes with the energy of the queries that it meets to minus this power.
  double query_power = 0.5;
  // False leaves keys as they are, rotated, for comparison.
  bool undo_rotation = true;
  // No step is finer than this part of its channel's deviation, so that 31 symbols are enough.
  double step_min = 0.25;
};

// The profile's file. The samples must be of one shape and have queries if query_power is not 0.
absl::StatusOr<std::vector<uint8_t>> MakeProfile(const std::vector<std::string>& sample_paths,
                                                 const Sensitivity& sensitivity,
                                                 const ProfileOptions& options);

}  // namespace larder

// The side of the power-cut test that looks at what is left.
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace larder {

struct CheckCounts {
  uint64_t records = 0;  // that the device names
  uint64_t right = 0;    // of them read as written
  uint64_t lost = 0;     // of them DATA_LOSS: a miss
  uint64_t wrong = 0;    // of them wrong bytes, another error, or never written; each is printed
  uint64_t durable = 0;  // that the journal calls durable and takes back with nothing
  uint64_t missing = 0;  // of them not there or not right; each is printed
};

// Opens the device in `directory` and reads all that it names. An error when it does not open, when
// the journal is not one, or when that calls nothing durable.
absl::StatusOr<CheckCounts> CheckDevice(const std::string& directory, const std::string& journal);

}  // namespace larder

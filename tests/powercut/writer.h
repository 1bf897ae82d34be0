// The side of the power-cut test that is cut off.
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace larder {

// Writes, overwrites and forgets records in the device of `directory`, opening segments anew, until
// the process is killed; returns only what went wrong. Says on `output`, each before it is done:
//   seed SEED                   first
//   open SEGMENT                from here on its records are gone
//   write KEY VERSION SEGMENT   from here on an earlier version may be gone
//   forget KEY
// and afterwards:
//   durable KEY VERSION         the write was acknowledged many sync intervals ago
// Without `sync` the device does not sync, and "durable" is not true.
absl::Status WriteUntilKilled(const std::string& directory, uint64_t seed, bool sync, int output);

}  // namespace larder

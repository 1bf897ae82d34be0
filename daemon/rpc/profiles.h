// The models' profiles that the daemon is given, so that gRPC reads chunks stored with them.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "kernels/format/coded_container.h"

namespace larder {

// Reads the files, as larder-codec makes them, whose paths are separated by commas. An error names
// the path and what is wrong with it.
absl::StatusOr<std::vector<ProfilePointer>> LoadProfiles(absl::string_view paths);

}  // namespace larder

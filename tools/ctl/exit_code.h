// How larderctl ends.
#pragma once

#include "absl/status/status.h"

namespace larder {

enum class ExitCode {
  kOk = 0,
  kFailed = 1,  // the operation failed, or found something wrong
  kBadUsage = 2,
  kNoDaemon = 3,
};

// UNAVAILABLE says that there is no daemon, INVALID_ARGUMENT that the caller is wrong.
inline ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
      return ExitCode::kBadUsage;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kNoDaemon;
    default:
      return ExitCode::kFailed;
  }
}

}  // namespace larder

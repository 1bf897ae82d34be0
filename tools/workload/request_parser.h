// One line of a request trace.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/workload/request.h"

namespace larder {

// Parses one JSON object: `timestamp` (ms), `input_length`, `output_length` (tokens), `hash_ids`
// (array of integers) and the optional `session` (integer, or a string, which becomes its hash).
// Other fields are skipped, whatever they hold. An error is INVALID_ARGUMENT and names the field
// that is missing, repeated, of the wrong type, negative or too large. Thread-safe.
absl::StatusOr<Request> ParseRequest(absl::string_view line);

}  // namespace larder

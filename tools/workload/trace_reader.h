// Request traces: one JSON object a line, plain or compressed with xz or zstd.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tools/workload/request.h"

namespace larder {

// Opens a trace for streaming; the compression is seen in the file's first bytes, not in its name.
// Fields are those of ParseRequest (request_parser.h); blank lines are skipped. Requests come in
// the file's order, with timestamps and block ids as they stand there; in the published traces the
// last id of a prompt may stand for a partial block. Every error, here and in Next, names the path,
// and in Next the line and the field. A trace without a request is an error too. Memory is bounded
// by the longest line (kLineBytesMax).
absl::StatusOr<std::unique_ptr<RequestSource>> OpenTrace(const std::string& path);

}  // namespace larder

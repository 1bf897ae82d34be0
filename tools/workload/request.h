// What an inference engine is asked for, and the one interface that traces and generators share.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

inline constexpr uint64_t kNoSession = ~uint64_t{0};

struct Request {
  double timestamp_ms = 0;     // since the start of the workload; never negative
  uint32_t input_tokens = 0;   // the whole prompt
  uint32_t output_tokens = 0;  // the answer
  // The prompt's blocks in prefix order. Equal ids mean equal prefixes: the same tokens in this
  // block and in every block before it.
  std::vector<uint64_t> block_ids;
  uint64_t session = kNoSession;
};

// A stream of requests, read once from its beginning. Implementations are not thread-safe.
class RequestSource {
 public:
  virtual ~RequestSource() = default;

  // The next request, or nothing at the end. After an error or the end every later call says the
  // same again.
  virtual absl::StatusOr<std::optional<Request>> Next() = 0;

  // How many requests the whole stream has, where that is known beforehand.
  virtual std::optional<uint64_t> total_hint() const { return std::nullopt; }
};

}  // namespace larder

// Synthetic workloads: what a trace would be, from a seed.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/workload/request.h"

namespace larder {

struct GeneratorOptions {
  // 1 to 10^9.
  uint64_t requests = 1000;
  // 16 to 65,536; the public traces have 512.
  uint32_t tokens_per_block = 512;
  // The mean over a long run, more than 0 and at most 10^6. mooncake_conversation has 3.4.
  double requests_per_second = 3.4;
  // Users who are active at the same time, 1 to 100,000. A user's mean pause between two requests
  // is users / requests_per_second: more users at the same rate mean that a prefix is wanted again
  // later, after more of others'.
  uint32_t users = 64;
};

// The kinds, for help texts.
inline constexpr absl::string_view kGeneratorKinds = "conversation, agents, rag";

// A workload of one of kGeneratorKinds (workload_model.h). Requests come ordered by timestamp.
// Block ids stand for full blocks only, so that up to tokens_per_block - 1 tokens of input_tokens
// have none. The stream is a function of the arguments, on the same mathematical library to the
// last bit. Memory is bounded by users times the longest context's ids.
absl::StatusOr<std::unique_ptr<RequestSource>> MakeGenerator(absl::string_view kind, uint64_t seed,
                                                             const GeneratorOptions& options);

}  // namespace larder

#include "tools/sim/block_trace.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace larder {
namespace {

constexpr double kNanosecondsPerMillisecond = 1e6;
// Longer spans would overflow the clock's nanoseconds.
constexpr double kTimestampMsMax = 9e12;

class Loader {
 public:
  explicit Loader(uint32_t tokens_per_block) { trace_.tokens_per_block = tokens_per_block; }

  absl::Status Add(const Request& request) {
    if (request.block_ids.size() > kTraceAccessesMax - trace_.accesses.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the workload has more than ", kTraceAccessesMax, " block accesses"));
    }
    // Some traces are not quite in order; time must not go back.
    const double milliseconds = std::min(request.timestamp_ms, kTimestampMsMax);
    now_.nanoseconds =
        std::max(now_.nanoseconds, static_cast<int64_t>(milliseconds * kNanosecondsPerMillisecond));
    trace_.requests.push_back({.time = now_,
                               .session = request.session,
                               .first_access = trace_.accesses.size(),
                               .blocks = static_cast<uint32_t>(request.block_ids.size()),
                               .tokens = request.input_tokens});
    uint32_t previous = kNoBlockNumber;
    for (const uint64_t id : request.block_ids) {
      previous = NumberOf(id, previous);
      trace_.accesses.push_back(previous);
    }
    return absl::OkStatus();
  }

  BlockTrace Take() { return std::move(trace_); }
  const BlockTrace& trace() const { return trace_; }

 private:
  // An id behind another block than before names another prefix, so another block. That also gives
  // a block that stands twice in a request two numbers.
  uint32_t NumberOf(uint64_t id, uint32_t parent) {
    const auto [known, is_new] =
        numbers_.try_emplace({id, parent}, static_cast<uint32_t>(trace_.parent.size()));
    if (is_new) {
      trace_.parent.push_back(parent);
      trace_.depth.push_back(parent == kNoBlockNumber ? 0 : trace_.depth[parent] + 1);
    }
    return known->second;
  }

  BlockTrace trace_;
  MonotonicTime now_;
  absl::flat_hash_map<std::pair<uint64_t, uint32_t>, uint32_t> numbers_;
};

}  // namespace

absl::StatusOr<BlockTrace> LoadBlockTrace(RequestSource& source, uint32_t tokens_per_block,
                                          uint64_t limit) {
  Loader loader(tokens_per_block);
  while (loader.trace().requests.size() < limit) {
    ASSIGN_OR_RETURN(const std::optional<Request> request, source.Next());
    if (!request) break;
    if (absl::Status status = loader.Add(*request); !status.ok()) {
      return Annotate(status, absl::StrCat("request ", loader.trace().requests.size()));
    }
  }
  if (loader.trace().accesses.empty()) {
    return absl::InvalidArgumentError("the workload has no block to simulate");
  }
  return loader.Take();
}

}  // namespace larder

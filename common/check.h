// A check of our own invariants that stays on in release builds. Never for input of any kind: bad
// input gets a status.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace larder::internal {

[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace larder::internal

// Prints where and what, then aborts, when `condition` is false: going on would corrupt data.
#define LARDER_CHECK(condition)       \
  ((condition) ? static_cast<void>(0) \
               : ::larder::internal::CheckFailed(#condition, __FILE__, __LINE__))

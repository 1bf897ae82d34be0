// Reads and writes of one file, many at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status.h"

namespace larder {

struct IoOperation {
  enum class Kind : uint8_t { kRead, kWrite, kSync };
  Kind kind = Kind::kRead;
  uint64_t offset = 0;  // kRead, kWrite: of the file
  // kRead: filled; kWrite: only read. Address and length are multiples of kDiskBlockBytes. It stays
  // in use until the operation's completion is returned, whatever its deadline.
  std::span<uint8_t> memory;
  uint64_t token = 0;  // comes back with the completion; kIoTokenMax at most
};
inline constexpr uint64_t kIoTokenMax = ~uint64_t{0} - 1;

struct IoCompletion {
  uint64_t token = 0;
  int error = 0;       // an errno, 0 for none
  uint64_t bytes = 0;  // moved; less than asked for is possible, and is the caller's to handle
};

// One thread submits, waits and, once it has done either, also destroys the engine; only Wake is
// thread-safe. The destructor waits for what is in flight, since the kernel may still write to its
// memory.
class IoEngine {
 public:
  virtual ~IoEngine() = default;

  // Starts the first operations, as many as the engine has room for, in one batch; returns how
  // many. An operation that cannot be started completes with its error.
  virtual size_t Submit(std::span<const IoOperation> operations) = 0;

  // Appends completions to `completions`. When there are none, waits for the first, for Wake, or
  // for `timeout`. INTERNAL when the engine itself is broken.
  virtual absl::Status Wait(absl::Duration timeout, std::vector<IoCompletion>* completions) = 0;

  // Ends the current or the next Wait.
  virtual void Wake() = 0;

  virtual size_t in_flight() const = 0;
  virtual size_t depth() const = 0;
  virtual absl::string_view name() const = 0;
};

struct IoEngineOptions {
  // Operations in flight at once.
  uint32_t depth = 64;
  // Memory that operations will mostly use; registering it saves the kernel to look it up and pin
  // it for each of them. Must outlive the engine. An engine may do without.
  std::vector<std::span<uint8_t>> registered_memory = {};
};

// io_uring. `file` must outlive the engine. PERMISSION_DENIED or UNIMPLEMENTED, saying what to do,
// where the kernel or a sandbox does not allow it; RESOURCE_EXHAUSTED when its rings do not fit
// into RLIMIT_MEMLOCK. Memory that cannot be registered (RLIMIT_MEMLOCK) is used without.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoUringEngine(int file,
                                                            const IoEngineOptions& options);

// pread and pwrite on `threads` threads of its own.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeThreadedEngine(int file,
                                                             const IoEngineOptions& options,
                                                             uint32_t threads);

}  // namespace larder

// What a process keeps in memory, as the kernel counts it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace larder {

struct ProcessMemory {
  uint64_t anonymous_bytes = 0;  // heap and stacks
  // Of the file that was asked for, mapped and resident; nothing when it is not mapped.
  std::optional<uint64_t> file_bytes;
  uint64_t other_bytes = 0;  // resident in all other mappings of files
};

// Reads /proc/PID/smaps. `file` is the absolute path of a file to be counted apart, here the
// arena's data.
absl::StatusOr<ProcessMemory> ReadProcessMemory(int pid, const std::string& file);

}  // namespace larder

// Finds where this machine keeps huge pages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace larder {

struct HugePageMount {
  std::string directory;
  uint64_t page_bytes = 0;
  uint64_t free_bytes = 0;  // of its pages, in use by nobody and promised to nobody
};

// The hugetlbfs mounts of this process that it may write to, in the order of /proc/self/mounts.
std::vector<HugePageMount> FindHugePageMounts();

// The mount points of type hugetlbfs in text of the form of /proc/self/mounts.
std::vector<std::string> ParseHugePageMounts(absl::string_view mounts);

}  // namespace larder

#include "storage/arena/huge_pages.h"

#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace larder {
namespace {

uint64_t ReadNumber(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  file >> value;
  return file ? value : 0;
}

uint64_t FreeBytes(uint64_t page_bytes) {
  const std::string folder =
      absl::StrCat("/sys/kernel/mm/hugepages/hugepages-", page_bytes / 1024, "kB/");
  const uint64_t free = ReadNumber(folder + "free_hugepages");
  const uint64_t reserved = ReadNumber(folder + "resv_hugepages");
  return free > reserved ? (free - reserved) * page_bytes : 0;
}

}  // namespace

std::vector<std::string> ParseHugePageMounts(absl::string_view mounts) {
  std::vector<std::string> directories;
  for (absl::string_view line : absl::StrSplit(mounts, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 3 || fields[2] != "hugetlbfs") continue;
    directories.push_back(absl::StrReplaceAll(
        fields[1], {{"\\040", " "}, {"\\011", "\t"}, {"\\012", "\n"}, {"\\134", "\\"}}));
  }
  return directories;
}

std::vector<HugePageMount> FindHugePageMounts() {
  std::ifstream file("/proc/self/mounts");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<HugePageMount> mounts;
  for (std::string& directory : ParseHugePageMounts(text)) {
    struct statfs information;
    if (statfs(directory.c_str(), &information) != 0) continue;
    if (access(directory.c_str(), W_OK | X_OK) != 0) continue;
    const uint64_t page_bytes = static_cast<uint64_t>(information.f_bsize);
    uint64_t free_bytes = FreeBytes(page_bytes);
    // A mount with a size of its own may hold less than the system has.
    if (information.f_blocks != 0) {
      free_bytes = std::min<uint64_t>(free_bytes, information.f_bavail * page_bytes);
    }
    mounts.push_back({std::move(directory), page_bytes, free_bytes});
  }
  return mounts;
}

}  // namespace larder

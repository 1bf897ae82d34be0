#include "tools/bench/process_memory.h"

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status.h"

namespace larder {
namespace {

constexpr uint64_t kBytesPerKb = 1024;

// A mapping begins with "ADDRESS-ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH"; its counters follow
// as "Name:   N kB".
bool IsMappingLine(absl::string_view line) {
  const absl::string_view word = line.substr(0, line.find(' '));
  return absl::StrContains(word, '-') && !absl::EndsWith(word, ":");
}

absl::StatusOr<uint64_t> ParseKb(absl::string_view text) {
  uint64_t kb = 0;
  if (!absl::ConsumeSuffix(&text, " kB") ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &kb)) {
    return absl::InternalError(absl::StrCat("smaps: cannot read the size '", text, "'"));
  }
  return kb * kBytesPerKb;
}

}  // namespace

absl::StatusOr<ProcessMemory> ReadProcessMemory(int pid, const std::string& file) {
  const std::string path = absl::StrCat("/proc/", pid, "/smaps");
  std::ifstream smaps(path);
  if (!smaps) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  ProcessMemory memory;
  bool in_file = false;
  uint64_t resident = 0;
  for (std::string line; std::getline(smaps, line);) {
    absl::string_view rest = line;
    if (IsMappingLine(rest)) {
      in_file = absl::EndsWith(rest, absl::StrCat(" ", file));
      if (in_file && !memory.file_bytes) memory.file_bytes = 0;
    } else if (absl::ConsumePrefix(&rest, "Rss:")) {
      ASSIGN_OR_RETURN(resident, ParseKb(rest));
      if (in_file) *memory.file_bytes += resident;
    } else if (absl::ConsumePrefix(&rest, "Anonymous:")) {
      ASSIGN_OR_RETURN(const uint64_t anonymous, ParseKb(rest));
      memory.anonymous_bytes += anonymous;
      if (!in_file) memory.other_bytes += resident - anonymous;
    }
  }
  return memory;
}

}  // namespace larder

#include "common/ids.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace larder {

std::string ToHex(uint64_t high, uint64_t low) { return absl::StrFormat("%016x%016x", high, low); }

absl::Status ParseHex128(absl::string_view hex, uint64_t* high, uint64_t* low) {
  // SimpleHexAtoi alone would take a "0x" for two digits.
  const bool digits = std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit);
  if (hex.size() != 32 || !digits || !absl::SimpleHexAtoi(hex.substr(0, 16), high) ||
      !absl::SimpleHexAtoi(hex.substr(16), low)) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected 32 hexadecimal digits, got \"", hex.substr(0, 64), "\""));
  }
  return absl::OkStatus();
}

}  // namespace larder

// Uses the installed package: one call into each library that its static libraries bring along.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>

#include "common/crc32c.h"
#include "common/hash.h"
#include "common/status.h"

namespace {

constexpr std::array<uint8_t, 9> kDigits = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
// The check value of CRC-32C in every catalogue of checksums.
constexpr uint32_t kDigitsCrc32c = 0xe3069283;
// SHA-256 of the same nine bytes starts with these.
constexpr std::array<uint8_t, 4> kDigitsSha256Start = {0x15, 0xe2, 0xb0, 0xd3};

bool Expect(bool condition, const char* what) {
  if (!condition) std::fprintf(stderr, "wrong: %s\n", what);
  return condition;
}

}  // namespace

int main() {
  const larder::Sha256Digest digest = larder::Sha256(kDigits);
  bool right = Expect(larder::Crc32c(kDigits) == kDigitsCrc32c, "CRC32C");
  right &= Expect(std::equal(kDigitsSha256Start.begin(), kDigitsSha256Start.end(), digest.begin()),
                  "SHA-256");
  right &= Expect(!larder::HashKey(kDigits).IsZero(), "key hash");
  right &= Expect(absl::IsNotFound(larder::ErrnoStatus(ENOENT, "open")), "status of ENOENT");
  return right ? 0 : 1;
}

#include "daemon/node/utf8.h"

#include <cstdint>

#include "absl/strings/escaping.h"

namespace larder {
namespace {

// The length of the character at the front of `text`, 0 if it is malformed.
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies beyond the last code point.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

}  // namespace

std::string ToUtf8(absl::string_view bytes) {
  for (absl::string_view rest = bytes; !rest.empty();) {
    const size_t length = CharacterBytes(rest);
    if (length == 0) return absl::CHexEscape(bytes);
    rest.remove_prefix(length);
  }
  return std::string(bytes);
}

}  // namespace larder

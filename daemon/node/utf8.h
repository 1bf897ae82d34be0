// Text from clients on its way to readers that insist on UTF-8.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace larder {

// `bytes` as they are when they are well-formed UTF-8 (RFC 3629), else with everything beyond
// printable ASCII written as \xNN. Thread-safe.
std::string ToUtf8(absl::string_view bytes);

}  // namespace larder

// Sizes, times and counts as people write them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace larder {

// "17 B", "1.50 KiB", "8.00 GiB": three digits and the largest unit that keeps them above 1.
std::string FormatBytes(uint64_t bytes);

// "850 ns", "12.3 us", "4.56 ms", "1.20 s", then "3 min 05 s", "2 h 10 min", "4 d 03 h". A leading
// minus for negative ones, "forever" for an infinite one.
std::string FormatTimeSpan(absl::Duration duration);

// "12,031".
std::string FormatCount(uint64_t count);

// A whole number with one of the units B (also when none is given), KiB, MiB, GiB or TiB, as
// "4096", "512MiB" or "8 GiB". INVALID_ARGUMENT says what is wrong with anything else.
absl::StatusOr<uint64_t> ParseBytes(absl::string_view text);

// A finite, not negative duration with units, as "250ms" or "1h30m".
absl::StatusOr<absl::Duration> ParseTimeSpan(absl::string_view text);

}  // namespace larder

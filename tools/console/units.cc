#include "tools/console/units.h"

#include <array>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace larder {
namespace {

struct ByteUnit {
  absl::string_view name;
  int shift;
};
constexpr std::array<ByteUnit, 5> kByteUnits = {
    {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};

// Three significant digits of a number from 0 to below 1024.
std::string ThreeDigits(double number) {
  if (number < 9.995) return absl::StrFormat("%.2f", number);
  if (number < 99.95) return absl::StrFormat("%.1f", number);
  return absl::StrFormat("%.0f", number);
}

std::string FormatSeconds(int64_t seconds) {
  if (seconds < 3600) return absl::StrFormat("%d min %02d s", seconds / 60, seconds % 60);
  const int64_t minutes = seconds / 60;
  if (minutes < 24 * 60) return absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
  return absl::StrFormat("%d d %02d h", minutes / (24 * 60), minutes / 60 % 24);
}

}  // namespace

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  size_t unit = 0;
  double number = static_cast<double>(bytes);
  // 1023.5 would round to 1024 of a unit.
  while (number >= 1023.5 && unit + 1 < kByteUnits.size()) {
    number /= 1024;
    ++unit;
  }
  return absl::StrCat(ThreeDigits(number), " ", kByteUnits[unit].name);
}

std::string FormatTimeSpan(absl::Duration duration) {
  if (duration < absl::ZeroDuration()) return absl::StrCat("-", FormatTimeSpan(-duration));
  if (duration == absl::InfiniteDuration()) return "forever";
  // A unit ends where rounding would write 1000 of it.
  if (duration < absl::Microseconds(1)) {
    return absl::StrCat(absl::ToInt64Nanoseconds(duration), " ns");
  }
  if (duration < absl::Nanoseconds(999'500)) {
    return absl::StrCat(ThreeDigits(absl::ToDoubleMicroseconds(duration)), " us");
  }
  if (duration < absl::Microseconds(999'500)) {
    return absl::StrCat(ThreeDigits(absl::ToDoubleMilliseconds(duration)), " ms");
  }
  if (duration < absl::Milliseconds(59'950)) {
    return absl::StrCat(ThreeDigits(absl::ToDoubleSeconds(duration)), " s");
  }
  return FormatSeconds(absl::ToInt64Seconds(duration + absl::Milliseconds(500)));
}

std::string FormatCount(uint64_t count) {
  std::string digits = absl::StrCat(count);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  size_t digits = 0;
  while (digits < trimmed.size() && absl::ascii_isdigit(trimmed[digits])) ++digits;
  const absl::string_view unit = absl::StripLeadingAsciiWhitespace(trimmed.substr(digits));
  if (digits == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("size '", text, "' must begin with a whole number, as in 512MiB"));
  }
  const absl::Status too_large =
      absl::InvalidArgumentError(absl::StrCat("size '", text, "' is too large"));
  uint64_t number;
  if (!absl::SimpleAtoi(trimmed.substr(0, digits), &number)) return too_large;
  for (const ByteUnit& known : kByteUnits) {
    if (unit != known.name && !(unit.empty() && known.shift == 0)) continue;
    if (number > std::numeric_limits<uint64_t>::max() >> known.shift) return too_large;
    return number << known.shift;
  }
  return absl::InvalidArgumentError(absl::StrCat("size '", text, "' has the unknown unit '", unit,
                                                 "'; there are B, KiB, MiB, GiB and TiB"));
}

absl::StatusOr<absl::Duration> ParseTimeSpan(absl::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "duration '", text, "' must be a number with a unit (ns, us, ms, s, m, h), as in 250ms"));
  }
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("duration '", text, "' must be finite and not negative"));
  }
  return duration;
}

}  // namespace larder

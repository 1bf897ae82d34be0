// The table of settings: one entry each, from which files, flags and the reference are made.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status.h"
#include "daemon/config/config.h"

namespace larder {

enum class SettingKind {
  kFlag,      // true or false
  kCount,     // a whole number
  kBytes,     // 4096, "64KiB", "2GiB"
  kFraction,  // 0.5
  kDuration,  // "100us", "1m30s"
  kMode,      // "0660", octal
  kText,
  kChoice,   // one of a few words
  kListen,   // "HOST:PORT", "unix:PATH" or "" (off)
  kUsers,    // a list of user names and numbers
  kTenants,  // a list of tenants with their quotas (tenant_setting.h)
};

using SettingTarget =
    std::variant<bool*, uint32_t*, uint64_t*, double*, absl::Duration*, std::string*, HugePages*,
                 std::vector<uint32_t>*, OrderKind*, DropLevels*, std::vector<TenantLimits>*>;

struct Setting {
  absl::string_view name;       // "section.key"
  absl::string_view flag = "";  // a flag of its own, besides --set; or empty
  SettingKind kind;
  SettingTarget (*target)(Config&);
  // Inclusive bounds of counts, bytes, fractions and durations, the last in seconds.
  double min = 0, max = 0;
  bool power_of_two = false;
  bool unix_allowed = true;        // for kListen
  absl::string_view choices = "";  // for kChoice, with '|' between them
  // What it means and why one would change it; one line or several.
  absl::string_view doc;
};

// "2GiB", or a number of bytes; and the other way round.
absl::StatusOr<uint64_t> ParseByteCount(absl::string_view text);
std::string FormatByteCount(uint64_t bytes);

// Sections are together, in the order in which the reference shows them.
std::span<const Setting> Settings();

// Null if there is none of that name.
const Setting* FindSetting(absl::string_view name);

// Sets the value that `text` says. INVALID_ARGUMENT says what is wrong with it and what would be
// right, without the setting's name; the value is unchanged then.
absl::Status ParseSetting(const Setting& setting, absl::string_view text, Config* config);

// The value in `config` as a TOML value.
std::string FormatSetting(const Setting& setting, const Config& config);

// "from 16MiB to 1PiB, a power of two"; empty for kinds without bounds.
std::string DescribeBounds(const Setting& setting);

}  // namespace larder

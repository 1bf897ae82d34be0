#include "daemon/config/setting.h"

#include <pwd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "daemon/config/tenant_setting.h"

namespace larder {
namespace {

struct ByteUnit {
  absl::string_view suffix;
  int shift;
};
constexpr ByteUnit kByteUnits[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}};

constexpr size_t kAllowedUsersMax = 1024;
constexpr uint32_t kOwnerMayReadAndWrite = 0600;

template <typename... Parts>
absl::Status Wrong(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// For messages.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

// REQUIRES: no control characters, which are never let into a setting.
std::string TomlString(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

absl::StatusOr<uint64_t> ParseCount(absl::string_view text) {
  uint64_t value;
  // SimpleAtoi would take "+1" and " 1".
  if (text.empty() || !std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &value)) {
    return Wrong(Quoted(text), " is not a whole number from 0 up");
  }
  return value;
}

// A number in the setting's unit, as its messages show it.
std::string FormatNumber(SettingKind kind, double value) {
  switch (kind) {
    case SettingKind::kBytes:
      return FormatByteCount(static_cast<uint64_t>(value));
    case SettingKind::kCount:
      return absl::StrCat(static_cast<uint64_t>(value));
    case SettingKind::kDuration:
      return absl::FormatDuration(absl::Seconds(value));
    default:
      return absl::StrCat(value);
  }
}

absl::Status CheckBounds(const Setting& setting, double value) {
  // Written so that a NaN is out of bounds.
  if (!(value >= setting.min && value <= setting.max)) {
    return Wrong(FormatNumber(setting.kind, value), " is out of bounds: ", DescribeBounds(setting));
  }
  return absl::OkStatus();
}

absl::Status SetNumber(const Setting& setting, uint64_t value, Config* config) {
  // A double holds every bound exactly and rounds values without crossing one.
  if (!CheckBounds(setting, static_cast<double>(value)).ok()) {
    const std::string shown =
        setting.kind == SettingKind::kBytes ? FormatByteCount(value) : absl::StrCat(value);
    return Wrong(shown, " is out of bounds: ", DescribeBounds(setting));
  }
  if (setting.power_of_two && !std::has_single_bit(value)) {
    return Wrong(FormatByteCount(value), " is not a power of two: ", DescribeBounds(setting));
  }
  const SettingTarget target = setting.target(*config);
  if (uint32_t* const* narrow = std::get_if<uint32_t*>(&target)) {
    **narrow = static_cast<uint32_t>(value);
  } else {
    *std::get<uint64_t*>(target) = value;
  }
  return absl::OkStatus();
}

absl::Status SetFlag(const Setting& setting, absl::string_view text, Config* config) {
  if (text != "true" && text != "false") {
    return Wrong(Quoted(text), " is neither true nor false");
  }
  *std::get<bool*>(setting.target(*config)) = text == "true";
  return absl::OkStatus();
}

absl::Status SetFraction(const Setting& setting, absl::string_view text, Config* config) {
  double value;
  if (!absl::SimpleAtod(text, &value)) return Wrong(Quoted(text), " is not a number");
  RETURN_IF_ERROR(CheckBounds(setting, value));
  *std::get<double*>(setting.target(*config)) = value;
  return absl::OkStatus();
}

absl::Status SetDuration(const Setting& setting, absl::string_view text, Config* config) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value)) {
    return Wrong(Quoted(text),
                 " is not a duration; write numbers with ns, us, ms, s, m or h, such as \"1m30s\"");
  }
  RETURN_IF_ERROR(CheckBounds(setting, absl::ToDoubleSeconds(value)));
  *std::get<absl::Duration*>(setting.target(*config)) = value;
  return absl::OkStatus();
}

absl::Status SetMode(const Setting& setting, absl::string_view text, Config* config) {
  const bool octal =
      text.size() == 4 && text[0] == '0' &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '7'; });
  if (!octal) {
    return Wrong(Quoted(text), " is not a mode; write four octal digits such as \"0660\"");
  }
  uint32_t mode = 0;
  for (const char digit : text) mode = mode * 8 + static_cast<uint32_t>(digit - '0');
  if ((mode & kOwnerMayReadAndWrite) != kOwnerMayReadAndWrite) {
    return Wrong(Quoted(text), " keeps the daemon's own user out; it must include 0600");
  }
  *std::get<uint32_t*>(setting.target(*config)) = mode;
  return absl::OkStatus();
}

absl::Status SetText(const Setting& setting, absl::string_view text, Config* config) {
  if (std::any_of(text.begin(), text.end(), absl::ascii_iscntrl)) {
    return Wrong(Quoted(text), " contains control characters");
  }
  *std::get<std::string*>(setting.target(*config)) = std::string(text);
  return absl::OkStatus();
}

absl::Status SetChoice(const Setting& setting, absl::string_view text, Config* config) {
  const std::vector<std::string> choices = absl::StrSplit(setting.choices, '|');
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) {
    return Wrong(Quoted(text), " is none of ", absl::StrJoin(choices, ", "));
  }
  const SettingTarget target = setting.target(*config);
  if (std::string* const* word = std::get_if<std::string*>(&target)) {
    **word = *found;
  } else {
    // The choices are in the order of the enumeration.
    const auto number = found - choices.begin();
    if (HugePages* const* huge_pages = std::get_if<HugePages*>(&target)) {
      **huge_pages = static_cast<HugePages>(number);
    } else if (DropLevels* const* drop_levels = std::get_if<DropLevels*>(&target)) {
      **drop_levels = static_cast<DropLevels>(number);
    } else {
      *std::get<OrderKind*>(target) = static_cast<OrderKind>(number);
    }
  }
  return absl::OkStatus();
}

absl::Status SetListen(const Setting& setting, absl::string_view text, Config* config) {
  absl::string_view path = text;
  const bool is_unix = absl::ConsumePrefix(&path, "unix:");
  if (text.empty() || (is_unix && setting.unix_allowed && absl::StartsWith(path, "/"))) {
    return SetText(setting, text, config);
  }
  const size_t colon = text.rfind(':');
  const absl::string_view host = text.substr(0, colon == absl::string_view::npos ? 0 : colon);
  const bool is_bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  if (is_unix || host.empty() || (absl::StrContains(host, ":") && !is_bracketed)) {
    return Wrong(Quoted(text), " is not an address; write \"HOST:PORT\", \"[IPV6]:PORT\", ",
                 setting.unix_allowed ? "\"unix:/PATH\" " : "", "or \"\" for none");
  }
  const absl::StatusOr<uint64_t> port = ParseCount(text.substr(colon + 1));
  if (!port.ok() || *port > 65535) {
    return Wrong(Quoted(text), ": the port must be a number from 0 to 65535");
  }
  return SetText(setting, text, config);
}

absl::StatusOr<uint32_t> FindUser(absl::string_view user) {
  if (const absl::StatusOr<uint64_t> number = ParseCount(user); number.ok()) {
    // The greatest number means "nobody in particular" to the system.
    if (*number >= std::numeric_limits<uint32_t>::max()) {
      return Wrong(Quoted(user), " is larger than any user's number");
    }
    return static_cast<uint32_t>(*number);
  }
  passwd entry;
  passwd* found = nullptr;
  char buffer[16384];
  if (getpwnam_r(std::string(user).c_str(), &entry, buffer, sizeof buffer, &found) != 0 ||
      found == nullptr) {
    return Wrong("there is no user ", Quoted(user));
  }
  return found->pw_uid;
}

absl::Status SetUsers(const Setting& setting, absl::string_view text, Config* config) {
  std::vector<uint32_t> users;
  for (absl::string_view user : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    ASSIGN_OR_RETURN(const uint32_t id, FindUser(absl::StripAsciiWhitespace(user)));
    users.push_back(id);
  }
  if (users.size() > kAllowedUsersMax) {
    return Wrong(users.size(), " users are too many: at most ", kAllowedUsersMax);
  }
  *std::get<std::vector<uint32_t>*>(setting.target(*config)) = std::move(users);
  return absl::OkStatus();
}

absl::Status SetTenants(const Setting& setting, absl::string_view text, Config* config) {
  ASSIGN_OR_RETURN(*std::get<std::vector<TenantLimits>*>(setting.target(*config)),
                   ParseTenants(text));
  return absl::OkStatus();
}

std::string FormatMode(uint32_t mode) {
  return absl::StrCat("\"0", mode >> 6 & 7, mode >> 3 & 7, mode & 7, "\"");
}

struct ValueFormatter {
  const Setting& setting;

  std::string operator()(bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(uint64_t* value) const { return Number(*value); }
  std::string operator()(uint32_t* value) const {
    return setting.kind == SettingKind::kMode ? FormatMode(*value) : Number(*value);
  }
  std::string operator()(double* value) const { return absl::StrCat(*value); }
  std::string operator()(absl::Duration* value) const {
    return TomlString(absl::FormatDuration(*value));
  }
  std::string operator()(std::string* value) const { return TomlString(*value); }
  std::string operator()(HugePages* value) const { return Choice(static_cast<size_t>(*value)); }
  std::string operator()(DropLevels* value) const { return Choice(static_cast<size_t>(*value)); }
  std::string operator()(OrderKind* value) const { return Choice(static_cast<size_t>(*value)); }
  std::string operator()(std::vector<TenantLimits>* value) const {
    return absl::StrCat("[",
                        absl::StrJoin(*value, ", ",
                                      [](std::string* out, const TenantLimits& tenant) {
                                        out->append(TomlString(FormatTenant(tenant)));
                                      }),
                        "]");
  }
  std::string operator()(std::vector<uint32_t>* value) const {
    return absl::StrCat("[", absl::StrJoin(*value, ", "), "]");
  }

  std::string Choice(size_t number) const {
    const std::vector<absl::string_view> choices = absl::StrSplit(setting.choices, '|');
    return TomlString(choices[number]);
  }

  std::string Number(uint64_t value) const {
    return setting.kind == SettingKind::kBytes ? TomlString(FormatByteCount(value))
                                               : absl::StrCat(value);
  }
};

}  // namespace

absl::StatusOr<uint64_t> ParseByteCount(absl::string_view text) {
  absl::string_view digits = text;
  int shift = 0;
  for (const ByteUnit& unit : kByteUnits) {
    if (absl::ConsumeSuffix(&digits, unit.suffix)) {
      shift = unit.shift;
      break;
    }
  }
  const absl::StatusOr<uint64_t> number = ParseCount(absl::StripTrailingAsciiWhitespace(digits));
  if (!number.ok()) {
    return Wrong(Quoted(text),
                 " is not a size; write a whole number of bytes, or one with KiB, MiB, GiB or "
                 "TiB, such as \"2GiB\"");
  }
  if (*number > std::numeric_limits<uint64_t>::max() >> shift) {
    return Wrong(Quoted(text), " is larger than any size");
  }
  return *number << shift;
}

std::string FormatByteCount(uint64_t bytes) {
  for (const ByteUnit& unit : kByteUnits) {
    if (bytes != 0 && bytes % (uint64_t{1} << unit.shift) == 0) {
      return absl::StrCat(bytes >> unit.shift, unit.suffix);
    }
  }
  return absl::StrCat(bytes);
}

absl::Status ParseSetting(const Setting& setting, absl::string_view text, Config* config) {
  switch (setting.kind) {
    case SettingKind::kFlag:
      return SetFlag(setting, text, config);
    case SettingKind::kCount: {
      ASSIGN_OR_RETURN(const uint64_t value, ParseCount(text));
      return SetNumber(setting, value, config);
    }
    case SettingKind::kBytes: {
      ASSIGN_OR_RETURN(const uint64_t value, ParseByteCount(text));
      return SetNumber(setting, value, config);
    }
    case SettingKind::kFraction:
      return SetFraction(setting, text, config);
    case SettingKind::kDuration:
      return SetDuration(setting, text, config);
    case SettingKind::kMode:
      return SetMode(setting, text, config);
    case SettingKind::kText:
      return SetText(setting, text, config);
    case SettingKind::kChoice:
      return SetChoice(setting, text, config);
    case SettingKind::kListen:
      return SetListen(setting, text, config);
    case SettingKind::kUsers:
      return SetUsers(setting, text, config);
    case SettingKind::kTenants:
      return SetTenants(setting, text, config);
  }
  return absl::InternalError("unknown kind of setting");
}

std::string FormatSetting(const Setting& setting, const Config& config) {
  Config copy = config;  // The table's accessors lead to values that can be set.
  return std::visit(ValueFormatter{setting}, setting.target(copy));
}

std::string DescribeBounds(const Setting& setting) {
  switch (setting.kind) {
    case SettingKind::kCount:
    case SettingKind::kBytes:
    case SettingKind::kFraction:
    case SettingKind::kDuration:
      return absl::StrCat("from ", FormatNumber(setting.kind, setting.min), " to ",
                          FormatNumber(setting.kind, setting.max),
                          setting.power_of_two ? ", a power of two" : "");
    case SettingKind::kMode:
      return "four octal digits that include 0600";
    case SettingKind::kChoice:
      return absl::StrCat("one of ", absl::StrJoin(absl::StrSplit(setting.choices, '|'), ", "));
    default:
      return "";
  }
}

}  // namespace larder

#include "daemon/config/config_reader.h"

#include <grp.h>
#include <sys/un.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "toml++/toml.h"

namespace larder {
namespace {

constexpr size_t kConfigFileBytesMax = 1 << 20;
// Names differing in more letters are no slips of the pen.
constexpr size_t kSuggestionDistanceMax = 3;
constexpr size_t kSuggestionNameBytesMax = 64;
// Fewer would take a slow moment for a death.
constexpr int kHeartbeatsPerTimeoutMin = 3;

struct LineProblem {
  toml::source_index line;
  std::string text;
};

// Levenshtein's: insertions, deletions and replacements from `a` to `b`.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

absl::string_view SectionOf(absl::string_view name) { return name.substr(0, name.find('.')); }
absl::string_view KeyOf(absl::string_view name) { return name.substr(name.rfind('.') + 1); }

std::vector<absl::string_view> SectionNames() {
  std::vector<absl::string_view> names;
  for (const Setting& setting : Settings()) {
    if (names.empty() || names.back() != SectionOf(setting.name)) {
      names.push_back(SectionOf(setting.name));
    }
  }
  return names;
}

bool IsSection(absl::string_view name) {
  const std::vector<absl::string_view> names = SectionNames();
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Names the most similar of `known`, or is empty when none is.
std::string Suggest(absl::string_view name, const std::vector<absl::string_view>& known) {
  if (name.size() > kSuggestionNameBytesMax) return "";
  absl::string_view best;
  size_t best_distance = kSuggestionDistanceMax + 1;
  for (const absl::string_view candidate : known) {
    // Either a slip in the name, or the right key in the wrong section.
    const size_t distance =
        std::min(EditDistance(name, candidate), EditDistance(KeyOf(name), KeyOf(candidate)) + 1);
    // A name that differs in more than a third of its letters is another word.
    if (distance < best_distance && 3 * distance <= candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best.empty() ? "" : absl::StrCat("; did you mean \"", best, "\"?");
}

std::string SuggestSetting(absl::string_view name) {
  std::vector<absl::string_view> names;
  for (const Setting& setting : Settings()) names.push_back(setting.name);
  return Suggest(name, names);
}

// What a value of this kind looks like in TOML.
absl::string_view ExpectedForm(SettingKind kind) {
  switch (kind) {
    case SettingKind::kFlag:
      return "true or false, without quotes";
    case SettingKind::kCount:
      return "a whole number";
    case SettingKind::kBytes:
      return "a size such as \"2GiB\", or a whole number of bytes";
    case SettingKind::kFraction:
      return "a number";
    case SettingKind::kDuration:
      return "a duration in quotes, such as \"30s\"";
    case SettingKind::kMode:
      return "four octal digits in quotes, such as \"0660\"";
    case SettingKind::kUsers:
      return "a list of names and numbers, such as [\"vllm\", 1000]";
    case SettingKind::kTenants:
      return "a list such as [\"acme memory=4GiB..8GiB\", \"lab disk=..20GiB\"]";
    case SettingKind::kText:
    case SettingKind::kChoice:
    case SettingKind::kListen:
      break;
  }
  return "text in quotes";
}

bool Admits(SettingKind kind, toml::node_type type) {
  switch (kind) {
    case SettingKind::kFlag:
      return type == toml::node_type::boolean;
    case SettingKind::kCount:
      return type == toml::node_type::integer;
    case SettingKind::kBytes:
      return type == toml::node_type::integer || type == toml::node_type::string;
    case SettingKind::kFraction:
      return type == toml::node_type::integer || type == toml::node_type::floating_point;
    case SettingKind::kUsers:
    case SettingKind::kTenants:
      return type == toml::node_type::array;
    default:
      return type == toml::node_type::string;
  }
}

absl::string_view TypeName(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a section";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

// The text that ParseSetting takes.
absl::StatusOr<std::string> ToText(const Setting& setting, const toml::node& node) {
  if (!Admits(setting.kind, node.type())) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", TypeName(node.type()), ", must be ", ExpectedForm(setting.kind)));
  }
  if (const toml::array* array = node.as_array()) {
    std::string list;
    for (const toml::node& element : *array) {
      const bool fits = element.is_integer() || element.is_string();
      const std::string text = element.is_integer() ? absl::StrCat(element.as_integer()->get())
                                                    : element.value_or(std::string());
      if (!fits || text.empty() || absl::StrContains(text, ",")) {
        return absl::InvalidArgumentError(absl::StrCat("must be ", ExpectedForm(setting.kind)));
      }
      absl::StrAppend(&list, text, ",");
    }
    return list;
  }
  if (const auto* boolean = node.as_boolean())
    return std::string(boolean->get() ? "true" : "false");
  if (const auto* integer = node.as_integer()) return absl::StrCat(integer->get());
  if (const auto* floating = node.as_floating_point()) return absl::StrCat(floating->get());
  return node.value_or(std::string());
}

// The adapter to the parser's exceptions.
absl::StatusOr<toml::table> ParseToml(absl::string_view text, const std::string& source) {
  try {
    return toml::parse(std::string_view(text.data(), text.size()));
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ":", error.source().begin.line,
                     ": not valid TOML: ", std::string(error.description())));
  }
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, absl::StrCat(path, ": cannot be opened"));
  std::string text(kConfigFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return ErrnoStatus(errno, absl::StrCat(path, ": cannot be read"));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kConfigFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is larger than ", kConfigFileBytesMax, " bytes"));
  }
  return text;
}

}  // namespace

void ConfigReader::ReadFile(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWhole(path);
  if (text.ok()) {
    ReadText(*text, path);
  } else {
    problems_.emplace_back(text.status().message());
  }
}

void ConfigReader::ReadText(absl::string_view text, const std::string& source) {
  const absl::StatusOr<toml::table> document = ParseToml(text, source);
  if (!document.ok()) {
    problems_.emplace_back(document.status().message());
    return;
  }
  // The parser sorts by name; people read by line.
  std::vector<LineProblem> found;
  const auto add = [&](toml::source_index line, const auto&... parts) {
    found.push_back({line, absl::StrCat(source, ":", line, ": ", parts...)});
  };
  for (const auto& [section_key, section_node] : *document) {
    const std::string section(section_key.str());
    const toml::source_index section_line = section_key.source().begin.line;
    const toml::table* table = section_node.as_table();
    if (!IsSection(section)) {
      add(section_line, section,
          table == nullptr ? ": is in no section, and every setting is" : ": no such section",
          Suggest(section, SectionNames()));
      continue;
    }
    if (table == nullptr) {
      add(section_line, section, ": is ", TypeName(section_node.type()), ", must be a section");
      continue;
    }
    for (const auto& [key, node] : *table) {
      const std::string name = absl::StrCat(section, ".", std::string(key.str()));
      const toml::source_index line = key.source().begin.line;
      const Setting* setting = FindSetting(name);
      if (setting == nullptr) {
        add(line, name, ": no such setting", SuggestSetting(name));
        continue;
      }
      const absl::StatusOr<std::string> value = ToText(*setting, node);
      const absl::Status status =
          value.ok() ? ParseSetting(*setting, *value, &config_) : value.status();
      if (!status.ok()) add(line, name, ": ", status.message());
      places_[name] = absl::StrCat(source, ":", line);
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const LineProblem& a, const LineProblem& b) { return a.line < b.line; });
  for (LineProblem& problem : found) problems_.push_back(std::move(problem.text));
}

void ConfigReader::Set(absl::string_view name, absl::string_view value, const std::string& place) {
  const Setting* setting = FindSetting(name);
  if (setting == nullptr) {
    problems_.push_back(absl::StrCat(place, ": ", name, ": no such setting", SuggestSetting(name)));
    return;
  }
  places_[name] = place;
  if (const absl::Status status = ParseSetting(*setting, value, &config_); !status.ok()) {
    AddProblem(name, status.message());
  }
}

void ConfigReader::AddProblem(absl::string_view name, absl::string_view what) {
  const auto place = places_.find(name);
  problems_.push_back(
      absl::StrCat(place == places_.end() ? "default" : place->second, ": ", name, ": ", what));
}

void ConfigReader::CheckTogether() {
  CheckArena();
  CheckSocket();
  CheckTenants();
  const LocalServerOptions& local = config_.node.local;
  if (local.session_timeout < kHeartbeatsPerTimeoutMin * local.heartbeat_interval) {
    AddProblem(places_.contains("local.session_timeout") ? "local.session_timeout"
                                                         : "local.heartbeat_interval",
               absl::StrCat("the timeout of ", absl::FormatDuration(local.session_timeout),
                            " must be at least ", kHeartbeatsPerTimeoutMin,
                            " times the heartbeat interval of ",
                            absl::FormatDuration(local.heartbeat_interval)));
  }
  if (!config_.grpc_listen.empty() && config_.grpc_listen == config_.metrics_listen &&
      !absl::EndsWith(config_.grpc_listen, ":0")) {
    AddProblem(places_.contains("metrics.listen") ? "metrics.listen" : "grpc.listen",
               absl::StrCat("\"", config_.grpc_listen,
                            "\" is taken by the other of grpc.listen "
                            "and metrics.listen"));
  }
}

void ConfigReader::CheckArena() {
  const ArenaOptions& arena = config_.node.arena;
  if (!absl::StartsWith(arena.directory, "/")) {
    AddProblem("arena.directory", absl::StrCat("\"", arena.directory, "\" does not begin with /"));
  }
  if (arena.data_bytes % arena.granule_bytes != 0) {
    AddProblem(places_.contains("arena.bytes") ? "arena.bytes" : "arena.granule",
               absl::StrCat("the arena's ", arena.data_bytes,
                            " bytes must be a multiple of the granule of ", arena.granule_bytes));
  }
}

void ConfigReader::CheckTenants() {
  // Each may be as large as any number: a sum that went round would pass for a small one.
  const auto add = [](uint64_t sum, uint64_t bytes) {
    return sum > ~bytes ? ~uint64_t{0} : sum + bytes;
  };
  uint64_t memory = 0, disk = 0;
  for (const TenantLimits& tenant : config_.node.core.tenants) {
    memory = add(memory, tenant.memory.guaranteed);
    disk = add(disk, tenant.disk.guaranteed);
  }
  if (memory > config_.node.arena.data_bytes) {
    AddProblem("policy.tenants", absl::StrCat("guarantees of ", memory, " bytes of memory exceed ",
                                              "the arena's ", config_.node.arena.data_bytes));
  }
  // What is guaranteed is moved whenever its segment is reclaimed.
  const std::string& paths = config_.node.disk.paths;
  const auto devices = 1 + static_cast<uint64_t>(std::count(paths.begin(), paths.end(), ','));
  const uint64_t disk_max = config_.node.disk.capacity_bytes * devices / 2;
  if (disk > disk_max) {
    AddProblem("policy.tenants", absl::StrCat("guarantees of ", disk, " bytes of disk exceed ",
                                              "half of the disk tier, ", disk_max));
  }
}

void ConfigReader::CheckSocket() {
  const UnixListenerOptions& listen = config_.node.local.listen;
  constexpr size_t kPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
  if (!absl::StartsWith(listen.path, "/")) {
    AddProblem("local.socket", absl::StrCat("\"", listen.path, "\" does not begin with /"));
  } else if (listen.path.size() > kPathBytesMax) {
    AddProblem("local.socket", absl::StrCat("has ", listen.path.size(),
                                            " bytes, the system allows ", kPathBytesMax));
  }
  group entry;
  group* found = nullptr;
  char buffer[65536];
  // A group whose list of members is too long for the buffer exists all the same.
  if (!listen.group.empty() &&
      getgrnam_r(listen.group.c_str(), &entry, buffer, sizeof buffer, &found) == 0 &&
      found == nullptr) {
    AddProblem("local.group", absl::StrCat("there is no group \"", listen.group, "\""));
  }
}

}  // namespace larder

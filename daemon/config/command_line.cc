#include "daemon/config/command_line.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/config/config_reader.h"
#include "daemon/config/setting.h"

namespace larder {
namespace {

struct Flags {
  std::optional<std::string> config_file;
  bool print_config = false, check_config = false, version = false, arena_reset = false;
  std::optional<std::string> owner_fd;  // The parser would not name a hidden flag in its errors.
  std::map<const Setting*, std::string> settings;  // those with a flag of their own
  std::vector<std::string> assignments;            // of --set
};

void Declare(CLI::App* app, Flags* flags) {
  app->add_option("--config", flags->config_file,
                  absl::StrCat("Configuration file (TOML); default ", kConfigFileDefault,
                               " where that exists"))
      ->type_name("FILE");
  for (const Setting& setting : Settings()) {
    if (setting.flag.empty()) continue;
    app->add_option_function<std::string>(
           std::string(setting.flag),
           [flags, &setting](const std::string& value) { flags->settings[&setting] = value; },
           absl::StrCat("Overrides ", setting.name))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->type_name("VALUE");
  }
  app->add_option("--set", flags->assignments, "Overrides any setting; may be repeated")
      ->type_name("SECTION.KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_flag("--arena-reset", flags->arena_reset,
                "Discards what is in the arena and begins empty");
  app->add_flag("--print-config", flags->print_config,
                "Prints every setting with its meaning, as a configuration file");
  app->add_flag("--check-config", flags->check_config,
                "Says what is wrong with the configuration, and ends");
  app->add_flag("--version", flags->version, "Prints the version");
  // For private daemons: an empty group keeps it out of the help.
  app->add_option("--owner-fd", flags->owner_fd)->group("");
}

// The parser takes "--flag=" for a flag whose value follows.
std::vector<std::string> SplitEmptyValues(const std::vector<std::string>& arguments) {
  std::vector<std::string> result;
  for (const std::string& argument : arguments) {
    if (absl::StartsWith(argument, "--") && argument.find('=') == argument.size() - 1) {
      result.push_back(argument.substr(0, argument.size() - 1));
      result.emplace_back();
    } else {
      result.push_back(argument);
    }
  }
  return result;
}

void ReadSettings(const Flags& flags, CommandLine* line) {
  ConfigReader reader;
  line->config_file = flags.config_file.value_or("");
  if (!flags.config_file.has_value() && access(kConfigFileDefault, F_OK) == 0) {
    line->config_file = kConfigFileDefault;
  }
  if (!line->config_file.empty()) reader.ReadFile(line->config_file);
  for (const auto& [setting, value] : flags.settings) {
    reader.Set(setting->name, value, std::string(setting->flag));
  }
  for (const std::string& assignment : flags.assignments) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(assignment, absl::MaxSplits('=', 1));
    reader.Set(parts.first, parts.second, "--set");
  }
  reader.CheckTogether();
  line->problems = reader.problems();
  line->config = reader.config();
  line->config.node.arena.reset = flags.arena_reset;
}

absl::StatusOr<int> OwnerDescriptor(const Flags& flags) {
  if (!flags.owner_fd.has_value()) return -1;
  int fd;
  if (!absl::SimpleAtoi(*flags.owner_fd, &fd) || fcntl(fd, F_GETFD) < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--owner-fd ", *flags.owner_fd, ": no such descriptor is open"));
  }
  return fd;
}

absl::Status CheckFlags(const Flags& flags) {
  if (flags.config_file.has_value() && flags.config_file->empty()) {
    return absl::InvalidArgumentError("--config: the file's name is empty");
  }
  for (const std::string& assignment : flags.assignments) {
    if (!absl::StrContains(assignment, "=")) {
      return absl::InvalidArgumentError(
          absl::StrCat("--set ", assignment, ": must be SECTION.KEY=VALUE"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const std::string& version) {
  CLI::App app("Larder's daemon: keeps the KV cache of inference engines.", "larderd");
  app.footer(
      "Settings are described by --print-config. Exit codes: 0 ended as asked, 1 could not "
      "start or go on, 2 bad usage or settings.");
  Flags flags;
  Declare(&app, &flags);
  std::vector<std::string> reversed = SplitEmptyValues(arguments);
  std::reverse(reversed.begin(), reversed.end());
  CommandLine line;
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    line.action = CommandLine::Action::kPrintText;
    line.text = app.help();
    return line;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (flags.version) {
    line.action = CommandLine::Action::kPrintText;
    line.text = absl::StrCat("larderd ", version, "\n");
    return line;
  }
  RETURN_IF_ERROR(CheckFlags(flags));
  ASSIGN_OR_RETURN(const int owner_fd, OwnerDescriptor(flags));
  ReadSettings(flags, &line);
  line.config.node.owner_fd = owner_fd;
  if (flags.check_config) line.action = CommandLine::Action::kCheckConfig;
  if (flags.print_config) line.action = CommandLine::Action::kPrintConfig;
  return line;
}

}  // namespace larder

// What larderd was asked to do.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "daemon/config/config.h"

namespace larder {

inline constexpr char kConfigFileDefault[] = "/etc/larder/larder.toml";

struct CommandLine {
  enum class Action { kRun, kPrintConfig, kCheckConfig, kPrintText };

  Action action = Action::kRun;
  std::string text;         // what kPrintText prints: the help or the version
  std::string config_file;  // the file that was read, or empty
  Config config;
  // What is wrong with the settings, a line each. The configuration is no use unless it is empty.
  std::vector<std::string> problems;
};

// `arguments` without the program's name. Reads the configuration file too. INVALID_ARGUMENT for
// flags that make no sense; bad settings are in `problems`.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const std::string& version);

}  // namespace larder

// Reads settings from files and flags, and says everything that is wrong with them at once.
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/status.h"
#include "daemon/config/config.h"
#include "daemon/config/setting.h"

namespace larder {

// Starts from the defaults; what is read later wins. A bad setting is remembered as a problem, with
// its place, and reading goes on. Not thread-safe.
class ConfigReader {
 public:
  ConfigReader() : config_(DefaultConfig()) {}

  // TOML. A file that is no TOML is one problem: what follows the mistake cannot be understood.
  void ReadFile(const std::string& path);
  // Places are called "SOURCE:LINE".
  void ReadText(absl::string_view text, const std::string& source);
  // One setting from elsewhere; `place` names where in messages ("--socket").
  void Set(absl::string_view name, absl::string_view value, const std::string& place);

  // Checks what settings must be to each other. Call it once, when all is read.
  void CheckTogether();

  // One line each: "PLACE: NAME: what is wrong".
  const std::vector<std::string>& problems() const { return problems_; }
  // Complete when there are no problems.
  const Config& config() const { return config_; }

 private:
  // A problem with the setting `name`, wherever it was set.
  void AddProblem(absl::string_view name, absl::string_view what);
  void CheckArena();
  void CheckSocket();
  void CheckTenants();

  Config config_;
  std::vector<std::string> problems_;
  absl::flat_hash_map<std::string, std::string> places_;  // of what was set, by its name
};

}  // namespace larder

#include "daemon/config/config.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace larder {
namespace {

constexpr uint64_t kArenaBytesDefault = uint64_t{1} << 30;

// Empty when the variable is not set to an absolute path.
std::string DirectoryVariable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || value[0] != '/') return "";
  // systemd lists several directories with colons between them; the first is the one.
  const std::string list = value;
  return list.substr(0, list.find(':'));
}

std::string SocketDirectory() {
  if (std::string given = DirectoryVariable("RUNTIME_DIRECTORY"); !given.empty()) {
    return given;
  }
  if (geteuid() == 0) return "/run/larder";
  if (const std::string given = DirectoryVariable("XDG_RUNTIME_DIR"); !given.empty()) {
    return given + "/larder";
  }
  return absl::StrCat("/tmp/larder-", geteuid());
}

}  // namespace

Config DefaultConfig() {
  Config config;
  config.node.arena.directory =
      geteuid() == 0 ? "/dev/shm/larder" : absl::StrCat("/dev/shm/larder-", geteuid());
  config.node.arena.data_bytes = kArenaBytesDefault;
  config.node.arena.huge_pages = HugePages::kAuto;
  config.node.local.listen.path = SocketDirectory() + "/larder.sock";
  return config;
}

}  // namespace larder

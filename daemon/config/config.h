// Everything that an operator can set, as one plain value.
#pragma once

#include <string>

#include "daemon/node/node.h"

namespace larder {

// The components' own option structs hold the values and say what they mean; setting.h names each
// one for configuration files and flags. Nothing here changes while the daemon runs.
struct Config {
  NodeOptions node;
  std::string grpc_listen = "127.0.0.1:7411";
  std::string grpc_profiles;
  std::string metrics_listen = "127.0.0.1:7412";
  std::string log_level = "info";
};

// What a daemon of this user has without any configuration. Root's daemon, and one that systemd
// starts, is where clients look for it; other users' daemons are at places of their own:
//   socket  $RUNTIME_DIRECTORY (set by systemd), /run/larder for root, $XDG_RUNTIME_DIR/larder or
//           /tmp/larder-UID, each with larder.sock
//   arena   /dev/shm/larder for root, else /dev/shm/larder-UID
Config DefaultConfig();

}  // namespace larder

// What larderctl was asked to do.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

// How a command line names a space: by its id, by its manifest, or not at all when the daemon has
// only one.
struct SpaceChoice {
  std::string id;  // lower-case hexadecimal digits: an id, or what only one id begins with
  bool all = false;
  std::string manifest_file;
  std::vector<std::string> manifest_fields;  // "layers=32"
  std::string tenant = "default";
  std::string salt;

  bool ByManifest() const { return !manifest_file.empty() || !manifest_fields.empty(); }
};

// Chunks as the command line names them: all by their keys, or all by their hashes.
struct KeyChoice {
  std::vector<std::string> keys;    // bytes
  std::vector<std::string> hashes;  // 32 lower-case hexadecimal digits

  size_t size() const { return keys.size() + hashes.size(); }
};

// A device of the disk tier.
struct DiskChoice {
  std::string path;
  std::string metadata_directory;  // of a block device
  bool headers_only = false;
};

// A plain value; each command reads the fields of its own options.
struct Invocation {
  enum class Command {
    kPrintText,
    kStatus,
    kSpaces,
    kChunks,
    kInspect,
    kExplain,
    kCluster,
    kWhere,
    kHint,
    kMatch,
    kPut,
    kGet,
    kPin,
    kUnpin,
    kRemove,
    kClear,
    kVerify,
    kAdvise,
    kDrain,
    kTop,
    kVersion,
    kDiskList,
    kDiskVerify,
    kDiskRebuild,
    kDiskRetire,
  };

  Command command = Command::kPrintText;
  std::string text;  // the help, for kPrintText

  bool json = false;
  std::string address;
  std::string socket_path;
  absl::Duration timeout;

  SpaceChoice space;
  KeyChoice keys;
  DiskChoice disk;

  // chunks
  bool visible_only = false, pinned_only = false;
  uint32_t min_depth = 0;
  std::string hash_prefix;
  std::optional<uint64_t> limit;  // none: all
  std::string page_token;

  bool verify = false;  // inspect

  // put and get
  std::string file;
  std::string parent;  // bytes of a key, or empty
  uint32_t depth = 0;
  absl::Duration ttl = absl::InfiniteDuration();
  bool pin = false;
  std::string codec;    // empty: the space's
  uint32_t levels = 0;  // 0: those of the space, or all of the codec

  // hint; durations of zero say nothing
  absl::Duration keep, next_use;
  bool no_next_use = false, session_end = false;
  std::string priority;  // low, normal, high or empty

  bool yes = false;  // clear

  // top
  absl::Duration interval;
  bool once = false;
};

// Returns the value of an environment variable, or null.
using EnvironmentReader = std::function<const char*(const char* name)>;

// `arguments` without the program's name. INVALID_ARGUMENT says what makes no sense.
absl::StatusOr<Invocation> ParseCommandLine(const std::vector<std::string>& arguments,
                                            const EnvironmentReader& environment);

}  // namespace larder

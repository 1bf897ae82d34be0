#include "tools/ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "common/status.h"
#include "kernels/format/container_codec.h"
#include "kernels/format/container_format.h"
#include "tools/console/units.h"

namespace larder {
namespace {

using Command = Invocation::Command;

constexpr char kFooter[] =
    "\"larderctl COMMAND --help\" explains a command. Exit codes: 0 done, 1 it failed or found\n"
    "something wrong, 2 bad usage, 3 no daemon.";
constexpr char kAddressDefault[] = "127.0.0.1:7411";
constexpr char kTimeoutDefault[] = "5s";
// These two go through everything that is stored.
constexpr char kClearTimeoutDefault[] = "5m";
constexpr char kVerifyTimeoutDefault[] = "1h";
// A view that waits for a silent daemon does not see the keys that end it.
constexpr char kTopTimeoutDefault[] = "2s";
constexpr uint64_t kChunksLimitDefault = 100;
constexpr absl::Duration kIntervalMin = absl::Milliseconds(100);
constexpr absl::Duration kIntervalMax = absl::Hours(1);
constexpr size_t kKeyBytesMax = kContainerKeyBytesMax;
constexpr size_t kHashDigits = 32;

// What CLI11 fills in before it is checked.
struct RawOptions {
  std::string timeout, ttl, keep, next_use, interval = "1s";
  std::vector<std::string> keys;
  std::string parent, hash_prefix, space;
  bool keys_are_hashes = false, all_chunks = false;
  uint64_t limit = kChunksLimitDefault;
};

struct CommandSpec {
  Command command;
  const char* name;
  const char* description;
  void (*declare)(CLI::App* app, Invocation* invocation, RawOptions* raw);
};

const char* TimeoutDefault(Command command) {
  switch (command) {
    case Command::kClear:
      return kClearTimeoutDefault;
    case Command::kVerify:
      return kVerifyTimeoutDefault;
    case Command::kTop:
      return kTopTimeoutDefault;
    default:
      return kTimeoutDefault;
  }
}

void DeclareDaemon(CLI::App* app, Command command, Invocation* invocation, RawOptions* raw) {
  app->add_option("--address", invocation->address,
                  "Daemon's gRPC address, HOST:PORT or unix:PATH ($LARDER_ADDRESS)")
      ->capture_default_str()
      ->type_name("ADDRESS");
  app->add_option("--timeout", raw->timeout,
                  absl::StrCat("How long each answer may take [", TimeoutDefault(command), "]"))
      ->type_name("DURATION");
}

void DeclareSpaceId(CLI::App* app, RawOptions* raw) {
  app->add_option("--space", raw->space,
                  "Space by its id, or by its beginning; not needed when there is only one")
      ->type_name("ID");
}

void DeclareKeys(CLI::App* app, RawOptions* raw, const char* description) {
  app->add_option("KEY", raw->keys, description)->required()->type_name("HEX");
}

void DeclareHash(CLI::App* app, RawOptions* raw) {
  app->add_flag("--hash", raw->keys_are_hashes,
                "Keys are given as hashes of 32 digits, as the command chunks lists them");
}

void DeclareManyKeys(CLI::App* app, Invocation*, RawOptions* raw) {
  DeclareKeys(app, raw, "Keys of chunks, in hexadecimal");
  DeclareHash(app, raw);
  DeclareSpaceId(app, raw);
}

// For the commands that take an engine's path.
void DeclareEngineSpace(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareSpaceId(app, raw);
  app->add_option("--manifest-file", invocation->space.manifest_file,
                  "Space by its manifest: a JSON file, as \"spaces --json\" shows manifests")
      ->type_name("FILE");
  app->add_option("--manifest", invocation->space.manifest_fields,
                  "Space by its manifest: one field of it; may be repeated")
      ->type_name("FIELD=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_option("--tenant", invocation->space.tenant, "Tenant, with a manifest")
      ->capture_default_str()
      ->type_name("NAME");
  app->add_option("--salt", invocation->space.salt, "Salt, with a manifest")->type_name("TEXT");
  app->add_option("--socket", invocation->socket_path,
                  "Daemon's socket for engines ($LARDER_SOCKET)")
      ->capture_default_str()
      ->type_name("PATH");
}

void DeclareNothing(CLI::App*, Invocation*, RawOptions*) {}

void DeclareChunks(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareSpaceId(app, raw);
  app->add_flag("--visible", invocation->visible_only, "Only chunks whose parts are all there");
  app->add_flag("--pinned", invocation->pinned_only, "Only pinned chunks");
  app->add_option("--min-depth", invocation->min_depth, "Only chunks with so many before them")
      ->type_name("N");
  app->add_option("--hash-prefix", raw->hash_prefix, "Only chunks whose hash begins so")
      ->type_name("HEX");
  CLI::Option* limit = app->add_option("--limit", raw->limit, "At most so many")
                           ->capture_default_str()
                           ->type_name("N");
  app->add_flag("--all", raw->all_chunks, "All, however many there are")->excludes(limit);
  app->add_option("--page-token", invocation->page_token, "Goes on where an earlier list ended")
      ->type_name("TOKEN");
}

void DeclareInspect(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareKeys(app, raw, "Key of a chunk, in hexadecimal");
  app->get_option("KEY")->expected(1);
  DeclareHash(app, raw);
  DeclareSpaceId(app, raw);
  app->add_flag("--verify", invocation->verify, "Checks all of its bytes");
}

void DeclareMatch(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareKeys(app, raw, "Keys of a prefix, first chunk first, in hexadecimal");
  DeclareEngineSpace(app, invocation, raw);
}

void DeclareHint(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareKeys(app, raw, "Keys of chunks, shallowest first, in hexadecimal");
  app->add_option("--keep", raw->keep, "Stay for so long, unless nothing else can go")
      ->type_name("DURATION");
  app->add_option("--next-use", raw->next_use, "Will be used again in about so long")
      ->type_name("DURATION");
  app->add_flag("--no-next-use", invocation->no_next_use, "Won't be used again: leave first");
  app->add_flag("--session-end", invocation->session_end,
                "The same, for what no other session shares");
  app->add_option("--ttl", raw->ttl, "Expire after so long")->type_name("DURATION");
  app->add_option("--priority", invocation->priority, "Leave before others, or after")
      ->check(CLI::IsMember({"low", "normal", "high"}))
      ->type_name("low|normal|high");
  app->add_flag("--pin", invocation->pin, "Stay until unpinned");
  DeclareEngineSpace(app, invocation, raw);
}

void DeclarePut(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  app->add_option("FILE", invocation->file, "Payload of the chunks, one after the other")
      ->required()
      ->type_name("");
  app->add_option("--key", raw->keys, "Key of a chunk in hexadecimal; one for each in the file")
      ->required()
      ->type_name("HEX")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_option("--parent", raw->parent, "Key of the chunk before the first")->type_name("HEX");
  app->add_option("--depth", invocation->depth, "How many chunks come before the first")
      ->capture_default_str()
      ->type_name("N");
  app->add_option("--ttl", raw->ttl, "How long they are kept at most, as in 90s or 1h30m")
      ->type_name("DURATION");
  app->add_flag("--pin", invocation->pin, "Keeps them until they are unpinned");
  app->add_option("--codec", invocation->codec,
                  "How they are stored; else as the space's manifest says")
      ->check(CLI::IsMember(std::vector<std::string>(absl::StrSplit(kContainerCodecNames, ", "))))
      ->type_name("NAME");
  app->add_option("--levels", invocation->levels, "In so many levels of the codec")->type_name("N");
  DeclareEngineSpace(app, invocation, raw);
}

void DeclareGet(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareKeys(app, raw, "Key of a chunk, in hexadecimal");
  app->get_option("KEY")->expected(1);
  app->add_option("-o,--output", invocation->file, "Where the payload goes; - is standard output")
      ->required()
      ->type_name("FILE");
  DeclareHash(app, raw);
  DeclareEngineSpace(app, invocation, raw);
}

void DeclareClear(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  CLI::Option_group* which = app->add_option_group("Space");
  which->add_option("--space", raw->space, "Space by its id, or by its beginning")->type_name("ID");
  which->add_flag("--all-spaces", invocation->space.all, "Every space");
  which->require_option(1);
  app->add_flag("-y,--yes", invocation->yes, "Does not ask");
}

void DeclareVerify(CLI::App* app, Invocation*, RawOptions* raw) {
  app->add_option("--space", raw->space, "Only this space, by its id or by its beginning")
      ->type_name("ID");
}

void DeclareTop(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  app->add_option("--interval", raw->interval, "Time between samples")
      ->capture_default_str()
      ->type_name("DURATION");
  app->add_flag("--once", invocation->once, "Prints one sample and ends");
}

void DeclareDisk(CLI::App* app, Invocation* invocation, RawOptions*) {
  app->add_option("--path", invocation->disk.path, "The device: its directory, or a block device")
      ->required()
      ->type_name("PATH");
  app->add_option("--metadata", invocation->disk.metadata_directory,
                  "Metadata directory of a block device")
      ->type_name("DIR");
}

void DeclareDiskWithPayloads(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  DeclareDisk(app, invocation, raw);
  app->add_flag("--headers-only", invocation->disk.headers_only,
                "Does not read payloads, which takes most of the time");
}

void DeclareDiskRetire(CLI::App* app, Invocation* invocation, RawOptions* raw) {
  app->add_option("--path", invocation->disk.path, "The device, as the command status names it")
      ->required()
      ->type_name("PATH");
  DeclareDaemon(app, Command::kDiskRetire, invocation, raw);
}

constexpr CommandSpec kCommands[] = {
    {Command::kStatus, "status", "How the daemon is: memory, chunks, clients", DeclareNothing},
    {Command::kSpaces, "spaces", "The spaces and what happened in them", DeclareNothing},
    {Command::kChunks, "chunks", "The stored chunks", DeclareChunks},
    {Command::kInspect, "inspect", "Everything about one chunk", DeclareInspect},
    {Command::kExplain, "explain", "Why chunks are stored or not", DeclareManyKeys},
    {Command::kHint, "hint", "Says what is known of the future of chunks", DeclareHint},
    {Command::kCluster, "cluster", "The nodes of the cluster, and what flows between them",
     DeclareNothing},
    {Command::kWhere, "where", "Which nodes hold chunks", DeclareManyKeys},
    {Command::kMatch, "match", "How much of a prefix is stored", DeclareMatch},
    {Command::kPut, "put", "Stores a file as a chunk, or as several", DeclarePut},
    {Command::kGet, "get", "Writes a chunk's payload to a file, verified", DeclareGet},
    {Command::kPin, "pin", "Keeps chunks from being evicted", DeclareManyKeys},
    {Command::kUnpin, "unpin", "Ends that", DeclareManyKeys},
    {Command::kRemove, "remove", "Removes chunks", DeclareManyKeys},
    {Command::kClear, "clear", "Removes all chunks of a space, or of all", DeclareClear},
    {Command::kVerify, "verify", "Checks every byte that is stored; removes bad chunks",
     DeclareVerify},
    {Command::kAdvise, "advise", "What more memory, a disk or another policy would be worth",
     DeclareNothing},
    {Command::kDrain, "drain", "Ends the daemon, once nothing is being written", DeclareNothing},
    {Command::kTop, "top", "What is going on, live", DeclareTop},
    {Command::kVersion, "version", "The versions of larderctl and of the daemon", DeclareNothing},
};

// Of "larderctl disk". Most ask no daemon; the one that has the device must have ended.
constexpr CommandSpec kDiskCommands[] = {
    {Command::kDiskList, "list", "What a device is, and its segments", DeclareDisk},
    {Command::kDiskVerify, "verify", "Compares a device with its index, and checks every payload",
     DeclareDiskWithPayloads},
    {Command::kDiskRebuild, "rebuild", "Makes the index anew from what the device holds",
     DeclareDiskWithPayloads},
    {Command::kDiskRetire, "retire", "Has the daemon write nothing more to a device",
     DeclareDiskRetire},
};
constexpr char kDiskName[] = "disk";

void DeclareJson(CLI::App* app, Invocation* invocation) {
  app->add_flag("--json", invocation->json, "Prints JSON, for programs");
}

void DeclareCommon(CLI::App* app, Command command, Invocation* invocation, RawOptions* raw) {
  DeclareJson(app, invocation);
  DeclareDaemon(app, command, invocation, raw);
}

absl::StatusOr<std::string> ParseHexDigits(absl::string_view option, const std::string& text) {
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isxdigit)) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, " '", text, "': not hexadecimal digits"));
  }
  return absl::AsciiStrToLower(text);
}

absl::StatusOr<std::string> ParseKey(absl::string_view option, const std::string& text) {
  ASSIGN_OR_RETURN(const std::string digits, ParseHexDigits(option, text));
  if (digits.empty() || digits.size() % 2 != 0 || digits.size() > 2 * kKeyBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(option, " '", text, "': a key has 1 to ",
                                                   kKeyBytesMax, " bytes of two digits, this has ",
                                                   digits.size(), " digits"));
  }
  return absl::HexStringToBytes(digits);
}

absl::Status CheckKeys(const RawOptions& raw, Invocation* invocation) {
  const char* option = invocation->command == Command::kPut ? "--key" : "KEY";
  for (const std::string& text : raw.keys) {
    if (!raw.keys_are_hashes) {
      ASSIGN_OR_RETURN(std::string key, ParseKey(option, text));
      invocation->keys.keys.push_back(std::move(key));
      continue;
    }
    ASSIGN_OR_RETURN(std::string hash, ParseHexDigits(option, text));
    if (hash.size() != kHashDigits) {
      return absl::InvalidArgumentError(absl::StrCat(
          option, " '", text, "': a hash has ", kHashDigits, " digits, this has ", hash.size()));
    }
    invocation->keys.hashes.push_back(std::move(hash));
  }
  if (!raw.parent.empty()) {
    ASSIGN_OR_RETURN(invocation->parent, ParseKey("--parent", raw.parent));
  }
  return absl::OkStatus();
}

absl::Status CheckSpace(const RawOptions& raw, SpaceChoice* space) {
  ASSIGN_OR_RETURN(space->id, ParseHexDigits("--space", raw.space));
  if (space->id.size() > kHashDigits) {
    return absl::InvalidArgumentError(
        absl::StrCat("--space '", raw.space, "': an id has ", kHashDigits, " digits"));
  }
  if (!space->id.empty() && space->ByManifest()) {
    return absl::InvalidArgumentError("a space is named by --space or by its manifest, not both");
  }
  if (!space->manifest_file.empty() && !space->manifest_fields.empty()) {
    return absl::InvalidArgumentError("there is --manifest-file or --manifest, not both");
  }
  return absl::OkStatus();
}

absl::Status CheckTimes(const RawOptions& raw, Invocation* invocation) {
  const std::string timeout =
      raw.timeout.empty() ? TimeoutDefault(invocation->command) : raw.timeout;
  const absl::StatusOr<absl::Duration> parsed = ParseTimeSpan(timeout);
  RETURN_IF_ERROR(Annotate(parsed.status(), "--timeout"));
  if (*parsed == absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout: must be more than nothing");
  }
  invocation->timeout = *parsed;
  if (!raw.ttl.empty()) {
    const absl::StatusOr<absl::Duration> ttl = ParseTimeSpan(raw.ttl);
    RETURN_IF_ERROR(Annotate(ttl.status(), "--ttl"));
    if (*ttl < absl::Milliseconds(1)) {
      return absl::InvalidArgumentError("--ttl: must be at least 1ms");
    }
    invocation->ttl = *ttl;
  }
  for (const auto& [option, text, target] :
       {std::tuple("--keep", &raw.keep, &invocation->keep),
        std::tuple("--next-use", &raw.next_use, &invocation->next_use)}) {
    if (text->empty()) continue;
    const absl::StatusOr<absl::Duration> span = ParseTimeSpan(*text);
    RETURN_IF_ERROR(Annotate(span.status(), option));
    if (*span < absl::Milliseconds(1)) {
      return absl::InvalidArgumentError(absl::StrCat(option, ": must be at least 1ms"));
    }
    *target = *span;
  }
  const absl::StatusOr<absl::Duration> interval = ParseTimeSpan(raw.interval);
  RETURN_IF_ERROR(Annotate(interval.status(), "--interval"));
  if (*interval < kIntervalMin || *interval > kIntervalMax) {
    return absl::InvalidArgumentError(absl::StrCat("--interval: must be between ",
                                                   absl::FormatDuration(kIntervalMin), " and ",
                                                   absl::FormatDuration(kIntervalMax)));
  }
  invocation->interval = *interval;
  return absl::OkStatus();
}

absl::Status Check(const RawOptions& raw, Invocation* invocation) {
  if (invocation->address.empty()) return absl::InvalidArgumentError("--address: is empty");
  if (invocation->socket_path.empty()) return absl::InvalidArgumentError("--socket: is empty");
  const bool names_disk =
      std::any_of(std::begin(kDiskCommands), std::end(kDiskCommands),
                  [&](const CommandSpec& spec) { return invocation->command == spec.command; });
  if (names_disk && invocation->disk.path.empty()) {
    return absl::InvalidArgumentError("--path: is empty");
  }
  RETURN_IF_ERROR(CheckTimes(raw, invocation));
  RETURN_IF_ERROR(CheckKeys(raw, invocation));
  RETURN_IF_ERROR(CheckSpace(raw, &invocation->space));
  ASSIGN_OR_RETURN(invocation->hash_prefix, ParseHexDigits("--hash-prefix", raw.hash_prefix));
  if (invocation->hash_prefix.size() > kHashDigits) {
    return absl::InvalidArgumentError(
        absl::StrCat("--hash-prefix: a hash has ", kHashDigits, " digits"));
  }
  if (raw.limit == 0) return absl::InvalidArgumentError("--limit: must be at least 1");
  if (!raw.all_chunks) invocation->limit = raw.limit;
  return absl::OkStatus();
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

// In better words than the parser's.
absl::Status CheckCommandName(const std::vector<std::string>& arguments) {
  constexpr char kHint[] = "\"larderctl --help\" lists the commands";
  if (arguments.empty()) return absl::InvalidArgumentError(absl::StrCat("no command; ", kHint));
  const std::string& name = arguments.front();
  const bool known = std::any_of(std::begin(kCommands), std::end(kCommands),
                                 [&](const CommandSpec& spec) { return name == spec.name; });
  if (known || name == kDiskName || absl::StartsWith(name, "-")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": no such command; ", kHint));
}

std::string VariableOr(const EnvironmentReader& environment, const char* name,
                       const std::string& otherwise) {
  const char* value = environment(name);
  return value == nullptr || value[0] == '\0' ? otherwise : value;
}

}  // namespace

absl::StatusOr<Invocation> ParseCommandLine(const std::vector<std::string>& arguments,
                                            const EnvironmentReader& environment) {
  RETURN_IF_ERROR(CheckCommandName(arguments));
  Invocation invocation;
  RawOptions raw;
  invocation.address = VariableOr(environment, "LARDER_ADDRESS", kAddressDefault);
  invocation.socket_path = VariableOr(environment, "LARDER_SOCKET", ClientOptions().socket_path);

  CLI::App app("Looks after a Larder daemon, and stores and reads chunks by hand.", "larderctl");
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("--version", version, "The same as the command version");
  std::vector<std::pair<CLI::App*, Command>> subcommands;
  for (const CommandSpec& spec : kCommands) {
    CLI::App* subcommand = app.add_subcommand(spec.name, spec.description);
    spec.declare(subcommand, &invocation, &raw);
    DeclareCommon(subcommand, spec.command, &invocation, &raw);
    subcommands.emplace_back(subcommand, spec.command);
  }
  CLI::App* disk = app.add_subcommand(kDiskName, "Devices of the disk tier");
  disk->require_subcommand(1);
  for (const CommandSpec& spec : kDiskCommands) {
    CLI::App* subcommand = disk->add_subcommand(spec.name, spec.description);
    spec.declare(subcommand, &invocation, &raw);
    DeclareJson(subcommand, &invocation);
    subcommands.emplace_back(subcommand, spec.command);
  }
  app.footer(kFooter);
  std::vector<std::string> reversed = SplitEmptyValues(arguments);
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    invocation.text = app.help();
    return invocation;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (version) invocation.command = Command::kVersion;
  for (const auto& [subcommand, command] : subcommands) {
    if (subcommand->parsed()) invocation.command = command;
  }
  RETURN_IF_ERROR(Check(raw, &invocation));
  return invocation;
}

}  // namespace larder

#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "kernels/format/container_codec.h"
#include "tools/console/units.h"
#include "tools/ctl/admin_client.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/manifest_input.h"
#include "tools/ctl/payload_file.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/space_lookup.h"

namespace larder {
namespace {

struct NamedSpace {
  Manifest manifest;
  std::string tenant, salt;
};

// Clients that the daemon behind `admin` has let in so far.
absl::StatusOr<uint64_t> AcceptedClients(AdminClient& admin) {
  ASSIGN_OR_RETURN(const v1::StatusResponse status,
                   admin.Call(&v1::Admin::Stub::Status, v1::StatusRequest()));
  return status.local_server().accepted();
}

// A connection to the daemon's socket and the space in question.
struct Store {
  std::unique_ptr<Client> client;
  ClientSpace space;
};

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

absl::StatusOr<NamedSpace> DescribedSpace(const SpaceChoice& choice) {
  NamedSpace named{.manifest = {}, .tenant = choice.tenant, .salt = choice.salt};
  if (choice.manifest_file.empty()) {
    ASSIGN_OR_RETURN(named.manifest, ManifestFromFields(choice.manifest_fields));
    return named;
  }
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(choice.manifest_file));
  absl::StatusOr<Manifest> manifest = ManifestFromJson(text);
  RETURN_IF_ERROR(Annotate(manifest.status(), choice.manifest_file));
  named.manifest = *std::move(manifest);
  return named;
}

absl::StatusOr<NamedSpace> FindNamedSpace(AdminClient& admin, const std::string& id) {
  const absl::StatusOr<v1::SpaceStatus> space = FindSpace(admin, id);
  if (absl::IsNotFound(space.status())) {
    return absl::NotFoundError(absl::StrCat(space.status().message(),
                                            "; --manifest-file or --manifest describes a new one"));
  }
  RETURN_IF_ERROR(space.status());
  const v1::SpaceDescription& description = space->description();
  absl::StatusOr<Manifest> manifest = ToManifest(description.manifest());
  RETURN_IF_ERROR(Annotate(manifest.status(), absl::StrCat("space ", space->space_id())));
  // Names that are no UTF-8 do not come through whole, and would name another space.
  const SpaceId named = ComputeSpaceId(description.tenant(), manifest->Id(), description.salt());
  if (ToString(named) != space->space_id()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the names of space ", space->space_id(), " can't be written as text"));
  }
  return NamedSpace{
      .manifest = *std::move(manifest), .tenant = description.tenant(), .salt = description.salt()};
}

// Where a daemon answered, UNAVAILABLE is its word (it is draining) and no missing daemon.
absl::Status FromClient(const Client& client, const absl::Status& status) {
  if (!absl::IsUnavailable(status)) return status;
  if (client.connected()) return absl::FailedPreconditionError(status.message());
  return absl::UnavailableError(absl::StrCat(status.message(), " (--socket names another)"));
}

absl::StatusOr<std::unique_ptr<Client>> ConnectToSocket(const Invocation& invocation) {
  ClientOptions options;
  options.socket_path = invocation.socket_path;
  options.name = "larderctl";
  options.timeout = invocation.timeout;
  options.async_threads = 0;
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options));
  // A client works without a daemon; here that is no use.
  RETURN_IF_ERROR(FromClient(*client, client->Stats().status()));
  return client;
}

absl::StatusOr<Store> OpenDescribed(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const NamedSpace named, DescribedSpace(invocation.space));
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, ConnectToSocket(invocation));
  ASSIGN_OR_RETURN(ClientSpace space, client->Open(named.manifest, named.tenant, named.salt));
  return Store{std::move(client), std::move(space)};
}

absl::StatusOr<Store> OpenListed(const Invocation& invocation) {
  AdminClient admin(invocation.address, invocation.timeout);
  ASSIGN_OR_RETURN(const NamedSpace named, FindNamedSpace(admin, invocation.space.id));
  ASSIGN_OR_RETURN(const uint64_t clients_before, AcceptedClients(admin));
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, ConnectToSocket(invocation));
  ASSIGN_OR_RETURN(const uint64_t clients_now, AcceptedClients(admin));
  // Opening the space would make it in a daemon that does not have it.
  if (clients_now == clients_before) {
    return absl::InvalidArgumentError(absl::StrCat("the daemon at ", invocation.address,
                                                   " is not the one at ", invocation.socket_path,
                                                   ": --address and --socket name one daemon"));
  }
  ASSIGN_OR_RETURN(ClientSpace space, client->Open(named.manifest, named.tenant, named.salt));
  return Store{std::move(client), std::move(space)};
}

absl::StatusOr<Store> OpenStore(const Invocation& invocation) {
  return invocation.space.ByManifest() ? OpenDescribed(invocation) : OpenListed(invocation);
}

// The keys back to back, as the client takes them.
absl::StatusOr<std::string> JoinKeys(const std::vector<std::string>& keys) {
  std::string joined;
  for (const std::string& key : keys) {
    if (key.size() != keys.front().size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the keys of one prefix are equally long, but there are ",
                       keys.front().size(), " and ", key.size(), " bytes"));
    }
    absl::StrAppend(&joined, key);
  }
  return joined;
}

// The key of a chunk that was named by its hash.
absl::StatusOr<std::string> FindKey(const Invocation& invocation, const SpaceId& space) {
  AdminClient admin(invocation.address, invocation.timeout);
  v1::InspectRequest request;
  request.set_space_id(ToString(space));
  request.set_key_hash(invocation.keys.hashes.front());
  ASSIGN_OR_RETURN(v1::InspectResponse response, admin.Call(&v1::Admin::Stub::Inspect, request));
  if (response.key().empty()) {
    return absl::DataLossError(
        absl::StrCat("no container of chunk ", request.key_hash(), " can be read"));
  }
  return response.key();
}

// Puts the chunks of the file one at a time, so that memory holds one.
absl::Status PutAll(const Invocation& invocation, Store& store, PayloadReader& reader,
                    std::span<uint8_t> buffer, PutResult* total) {
  const std::vector<std::string>& keys = invocation.keys.keys;
  PutOptions options;
  options.ttl = invocation.ttl;
  options.pin = invocation.pin;
  options.levels = invocation.levels;
  if (!invocation.codec.empty()) {
    ASSIGN_OR_RETURN(options.codec, ParseContainerCodec(invocation.codec));
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    RETURN_IF_ERROR(reader.Read(buffer));
    options.parent = Bytes(i == 0 ? invocation.parent : keys[i - 1]);
    options.first_depth = invocation.depth + static_cast<uint32_t>(i);
    const std::array<ConstSegment, 1> source = {{{buffer.data(), buffer.size()}}};
    const std::array<GatherList, 1> sources = {source};
    const std::span<const uint8_t> key = Bytes(keys[i]);
    const PutResult result = store.space.Put(KeySpan(key.data(), key.size(), 1), sources, options);
    total->stored += result.stored;
    total->already_stored += result.already_stored;
    total->bytes += result.bytes;
    if (!result.status.ok()) {
      return Annotate(FromClient(*store.client, result.status),
                      absl::StrCat("chunk ", absl::BytesToHexString(keys[i])));
    }
  }
  return reader.CheckEnd();
}

absl::Status FetchChunk(Store& store, const std::string& key, std::span<uint8_t> payload) {
  const std::array<Segment, 1> destination = {{{payload.data(), payload.size()}}};
  const std::array<ScatterList, 1> destinations = {destination};
  const FetchResult result =
      store.space.Fetch(KeySpan(Bytes(key).data(), key.size(), 1), destinations);
  if (result.chunks == 1) return absl::OkStatus();
  const std::string name = absl::StrCat("chunk ", absl::BytesToHexString(key));
  if (absl::IsNotFound(result.status)) {
    return absl::NotFoundError(absl::StrCat(name, " is not stored"));
  }
  return Annotate(FromClient(*store.client, result.status), name);
}

}  // namespace

absl::StatusOr<ExitCode> RunMatch(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const std::string joined, JoinKeys(invocation.keys.keys));
  ASSIGN_OR_RETURN(Store store, OpenStore(invocation));
  const size_t asked = invocation.keys.keys.size();
  MatchOptions options;
  options.touch = false;  // somebody looking is no use of the chunks
  const MatchResult result =
      store.space.Match(KeySpan(Bytes(joined).data(), joined.size() / asked, asked), options);
  RETURN_IF_ERROR(FromClient(*store.client, result.status));
  if (invocation.json) {
    const Json json = {
        {"space_id", ToString(store.space.id())},
        {"asked", asked},
        {"chunks", result.chunks},
        {"tokens", result.tokens},
        {"bytes", result.bytes},
        {"predicted_load_us", absl::ToDoubleMicroseconds(result.predicted_load_time)}};
    std::fputs(ToText(json).c_str(), stdout);
  } else {
    std::printf("%u of %zu chunks stored: %s tokens, %s\n", result.chunks, asked,
                FormatCount(result.tokens).c_str(), FormatBytes(result.bytes).c_str());
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunHint(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const std::string joined, JoinKeys(invocation.keys.keys));
  ChunkHints hints;
  if (invocation.keep > absl::ZeroDuration()) hints.keep = invocation.keep;
  if (invocation.next_use > absl::ZeroDuration()) hints.next_use = invocation.next_use;
  if (invocation.ttl != absl::InfiniteDuration()) hints.ttl = invocation.ttl;
  hints.no_next_use = invocation.no_next_use;
  hints.session_end = invocation.session_end;
  hints.pin = invocation.pin;
  if (invocation.priority == "low") hints.priority = HintPriority::kLow;
  if (invocation.priority == "normal") hints.priority = HintPriority::kNormal;
  if (invocation.priority == "high") hints.priority = HintPriority::kHigh;
  if (hints.empty()) return absl::InvalidArgumentError("no hint is given; \"hint --help\"");
  ASSIGN_OR_RETURN(Store store, OpenStore(invocation));
  const size_t asked = invocation.keys.keys.size();
  const absl::StatusOr<HintAnswers> answers =
      store.space.Hint(KeySpan(Bytes(joined).data(), joined.size() / asked, asked), hints);
  RETURN_IF_ERROR(FromClient(*store.client, answers.status()));
  if (invocation.json) {
    std::fputs(ToText({{"asked", asked},
                       {"found", answers->found},
                       {"accepted", answers->accepted},
                       {"clipped", answers->clipped},
                       {"refused", answers->refused}})
                   .c_str(),
               stdout);
  } else {
    std::printf("%u of %zu chunks found: %u accepted, %u clipped, %u refused\n", answers->found,
                asked, answers->accepted, answers->clipped, answers->refused);
  }
  return answers->found == asked && answers->refused == 0 ? ExitCode::kOk : ExitCode::kFailed;
}

absl::StatusOr<ExitCode> RunPut(const Invocation& invocation) {
  ASSIGN_OR_RETURN(Store store, OpenStore(invocation));
  const Manifest& manifest = store.space.manifest();
  const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
  ASSIGN_OR_RETURN(PayloadReader reader,
                   PayloadReader::Open(invocation.file, chunk_bytes, invocation.keys.keys.size()));
  ASSIGN_OR_RETURN(const MemoryMapping buffer, MemoryMapping::MapAnonymous(chunk_bytes));
  PutResult total;
  const absl::Status status =
      PutAll(invocation, store, reader, buffer.bytes().first(chunk_bytes), &total);
  if (invocation.json) {
    const Json json = {{"space_id", ToString(store.space.id())},
                       {"stored", total.stored},
                       {"already_stored", total.already_stored},
                       {"bytes", total.bytes}};
    std::fputs(ToText(json).c_str(), stdout);
  } else if (status.ok() || total.stored + total.already_stored > 0) {
    std::printf("stored %u, already there %u, %s in space %s\n", total.stored, total.already_stored,
                FormatBytes(total.bytes).c_str(), ToString(store.space.id()).c_str());
  }
  RETURN_IF_ERROR(status);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunGet(const Invocation& invocation) {
  const bool to_stdout = invocation.file == "-";
  if (to_stdout && isatty(STDOUT_FILENO) == 1) {
    return absl::InvalidArgumentError("a payload is not for a terminal: -o FILE, or a pipe");
  }
  if (to_stdout && invocation.json) {
    return absl::InvalidArgumentError("standard output can't take both the payload and JSON");
  }
  ASSIGN_OR_RETURN(Store store, OpenStore(invocation));
  std::string key;
  if (invocation.keys.keys.empty()) {
    ASSIGN_OR_RETURN(key, FindKey(invocation, store.space.id()));
  } else {
    key = invocation.keys.keys.front();
  }
  const Manifest& manifest = store.space.manifest();
  const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
  ASSIGN_OR_RETURN(const MemoryMapping buffer, MemoryMapping::MapAnonymous(chunk_bytes));
  RETURN_IF_ERROR(FetchChunk(store, key, buffer.bytes().first(chunk_bytes)));
  RETURN_IF_ERROR(WritePayload(invocation.file, buffer.bytes().first(chunk_bytes)));
  if (invocation.json) {
    const Json json = {{"space_id", ToString(store.space.id())},
                       {"key", absl::BytesToHexString(key)},
                       {"bytes", chunk_bytes},
                       {"file", invocation.file}};
    std::fputs(ToText(json).c_str(), stdout);
  } else if (!to_stdout) {
    std::printf("%s, verified, in %s\n", FormatBytes(chunk_bytes).c_str(), invocation.file.c_str());
  }
  return ExitCode::kOk;
}

}  // namespace larder

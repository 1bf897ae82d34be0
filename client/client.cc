#include "client/client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client_core.h"
#include "client/keys_message.h"
#include "client/private_daemon.h"

namespace larder {
namespace {

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.async_threads < 0 || options.async_threads > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("async_threads is ", options.async_threads, ", allowed are 0 to 64"));
  }
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeout must be positive: no call may wait forever");
  }
  return absl::OkStatus();
}

// One operation over all keys, in as many frames as needed; the sum of what the daemon counted.
absl::StatusOr<uint32_t> CountKeys(ClientCore& core, SpaceState& space, Opcode opcode,
                                   const KeySpan& keys, const CallOptions& options) {
  RETURN_IF_ERROR(CheckKeys(keys));
  const MonotonicTime deadline = core.DeadlineOf(options);
  ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, core.Live());
  ASSIGN_OR_RETURN(const uint32_t handle, core.HandleOf(space, *connection, deadline));
  MessageWriter writer;
  Frame reply;
  uint32_t total = 0;
  for (size_t first = 0; first < keys.size(); first += kMessageKeysMax) {
    const size_t count = std::min<size_t>(kMessageKeysMax, keys.size() - first);
    WriteKeysRequest(keys.Subspan(first, count), {.space = handle}, &writer);
    RETURN_IF_ERROR(connection->Call(opcode, writer.payload(), deadline, &reply));
    MessageReader reader(reply.payload);
    const auto counted = reader.Read<CountReply>();
    RETURN_IF_ERROR(reader.Finish("reply with a count"));
    total += counted.count;
  }
  return total;
}

// Milliseconds for the wire, where 0 says nothing.
// What an answer takes at most on its way from the daemon.
constexpr absl::Duration kAnswerTime = absl::Milliseconds(20);

absl::StatusOr<uint64_t> HintMilliseconds(absl::string_view name,
                                          const std::optional<absl::Duration>& duration) {
  if (!duration) return uint64_t{0};
  if (*duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("hint ", name, ": must be positive"));
  }
  return static_cast<uint64_t>(std::max<int64_t>(1, absl::ToInt64Milliseconds(*duration)));
}

absl::StatusOr<HintRequest> ToRequest(const ChunkHints& hints) {
  HintRequest request{};
  ASSIGN_OR_RETURN(request.keep_ms, HintMilliseconds("keep", hints.keep));
  ASSIGN_OR_RETURN(request.next_use_ms, HintMilliseconds("next_use", hints.next_use));
  ASSIGN_OR_RETURN(request.ttl_ms, HintMilliseconds("ttl", hints.ttl));
  if (hints.no_next_use) request.flags |= kHintNoNextUse;
  if (hints.session_end) request.flags |= kHintSessionEnd;
  if (hints.pin) request.flags |= kHintPin;
  if (hints.priority) {
    request.flags |= kHintHasPriority;
    request.flags |= static_cast<uint32_t>(*hints.priority) << kHintPriorityShift;
  }
  return request;
}

}  // namespace

absl::Status CheckKeys(const KeySpan& keys) {
  if (!keys.empty() && (keys.key_bytes() < 1 || keys.key_bytes() > kContainerKeyBytesMax)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "keys have ", keys.key_bytes(), " bytes, allowed are 1 to ", kContainerKeyBytesMax));
  }
  return absl::OkStatus();
}

void WriteKeysRequest(const KeySpan& keys, KeysRequest request, MessageWriter* writer) {
  request.key_count = static_cast<uint32_t>(keys.size());
  writer->Clear();
  writer->Write(request);
  writer->WriteArray<KeyHash>(keys.size(), [&](size_t i) { return HashKey(keys[i]); });
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  auto core = std::make_shared<ClientCore>(options);
  core->Start();
  return std::unique_ptr<Client>(new Client(std::move(core), nullptr));
}

absl::StatusOr<std::unique_ptr<Client>> Client::StartPrivate(
    const PrivateDaemonOptions& daemon_options, ClientOptions client_options) {
  RETURN_IF_ERROR(CheckOptions(client_options));
  ASSIGN_OR_RETURN(std::unique_ptr<PrivateDaemon> daemon, PrivateDaemon::Start(daemon_options));
  client_options.socket_path = daemon->socket_path();
  auto core = std::make_shared<ClientCore>(client_options);
  core->Start();
  RETURN_IF_ERROR(core->Live().status());
  return std::unique_ptr<Client>(new Client(std::move(core), std::move(daemon)));
}

Client::Client(std::shared_ptr<ClientCore> core, std::unique_ptr<PrivateDaemon> daemon)
    : daemon_(std::move(daemon)), core_(std::move(core)) {}

Client::~Client() { core_->Stop(); }

absl::StatusOr<ClientSpace> Client::Open(const Manifest& manifest, absl::string_view tenant,
                                         absl::string_view salt,
                                         std::shared_ptr<const LarderProfile> profile) {
  RETURN_IF_ERROR(manifest.Validate());
  if (tenant.empty() || tenant.size() > kTenantBytesMax || salt.size() > kSaltBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a tenant has 1 to ", kTenantBytesMax,
                                                   " bytes, a salt at most ", kSaltBytesMax));
  }
  auto state = std::make_shared<SpaceState>();
  state->tenant = std::string(tenant);
  state->salt = std::string(salt);
  state->manifest = manifest;
  state->manifest_id = manifest.Id();
  state->id = ComputeSpaceId(tenant, state->manifest_id, salt);
  state->codecs = std::make_shared<const ContainerCodecs>(std::move(profile));
  RETURN_IF_ERROR(Annotate(CheckCodec(*state->codecs, manifest.codec, manifest), "manifest"));
  if (const auto connection = core_->Live(); connection.ok()) {
    const absl::Status opened =
        core_->HandleOf(*state, **connection, core_->DeadlineOf({})).status();
    // Trouble on the way is mended later; a daemon that understood and refused is final.
    if (!opened.ok() && !absl::IsUnavailable(opened) && !absl::IsDeadlineExceeded(opened)) {
      return opened;
    }
  }
  return ClientSpace(core_, std::move(state));
}

absl::StatusOr<StoreStats> Client::Stats(const CallOptions& options) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, core_->Live());
  Frame reply;
  RETURN_IF_ERROR(connection->Call(Opcode::kStats, {}, core_->DeadlineOf(options), &reply));
  MessageReader reader(reply.payload);
  const auto stats = reader.Read<StatsReply>();
  RETURN_IF_ERROR(reader.Finish("reply with statistics"));
  return StoreStats{.data_bytes = stats.data_bytes,
                    .used_bytes = stats.used_bytes,
                    .pinned_bytes = stats.pinned_bytes,
                    .reserved_bytes = stats.reserved_bytes,
                    .chunks = stats.chunks,
                    .sessions = stats.sessions,
                    .leases = stats.leases,
                    .reservations = stats.reservations,
                    .evicted_chunks = stats.evicted_chunks,
                    .corrupt_chunks = stats.corrupt_chunks,
                    .disk_chunks = stats.disk_chunks,
                    .disk_demoting_bytes = stats.disk_demoting_bytes,
                    .disk_payload_bytes_written = stats.disk_payload_bytes_written,
                    .disk_device_bytes_written = stats.disk_device_bytes_written,
                    .disk_loads = stats.disk_loads,
                    .disk_demotions = stats.disk_demotions};
}

bool Client::connected() const {
  const auto connection = core_->Live();
  return connection.ok() && !(*connection)->suspect();
}

const std::string& Client::socket_path() const { return core_->options().socket_path; }

int Client::private_daemon_pid() const { return daemon_ == nullptr ? -1 : daemon_->process(); }

const Manifest& ClientSpace::manifest() const { return state_->manifest; }

const SpaceId& ClientSpace::id() const { return state_->id; }

std::string ClientSpace::note() const {
  std::lock_guard lock(state_->mutex);
  return state_->note;
}

absl::StatusOr<uint32_t> ClientSpace::Touch(KeySpan keys, const CallOptions& options) {
  return CountKeys(*core_, *state_, Opcode::kTouch, keys, options);
}

absl::StatusOr<uint32_t> ClientSpace::Pin(KeySpan keys, const CallOptions& options) {
  return CountKeys(*core_, *state_, Opcode::kPin, keys, options);
}

absl::StatusOr<uint32_t> ClientSpace::Unpin(KeySpan keys, const CallOptions& options) {
  return CountKeys(*core_, *state_, Opcode::kUnpin, keys, options);
}

absl::StatusOr<uint32_t> ClientSpace::Remove(KeySpan keys, const CallOptions& options) {
  return CountKeys(*core_, *state_, Opcode::kRemove, keys, options);
}

absl::StatusOr<HintAnswers> ClientSpace::Hint(KeySpan keys, const ChunkHints& hints,
                                              const CallOptions& options) {
  RETURN_IF_ERROR(CheckKeys(keys));
  ASSIGN_OR_RETURN(HintRequest request, ToRequest(hints));
  const MonotonicTime deadline = core_->DeadlineOf(options);
  ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, core_->Live());
  ASSIGN_OR_RETURN(request.space, core_->HandleOf(*state_, *connection, deadline));
  MessageWriter writer;
  Frame reply;
  HintAnswers answers;
  for (size_t first = 0; first < keys.size(); first += kMessageKeysMax) {
    const size_t count = std::min<size_t>(kMessageKeysMax, keys.size() - first);
    request.key_count = static_cast<uint32_t>(count);
    writer.Clear();
    writer.Write(request);
    for (size_t i = first; i < first + count; ++i) writer.Write(HashKey(keys[i]));
    RETURN_IF_ERROR(connection->Call(Opcode::kHint, writer.payload(), deadline, &reply));
    MessageReader reader(reply.payload);
    const auto answered = reader.Read<HintReply>();
    RETURN_IF_ERROR(reader.Finish("reply to hint"));
    answers.found += answered.found;
    answers.accepted += answered.accepted;
    answers.clipped += answered.clipped;
    answers.refused += answered.refused;
  }
  return answers;
}

absl::StatusOr<CopyResult> ClientSpace::Copy(KeySpan keys, const CopyOptions& options) {
  RETURN_IF_ERROR(CheckKeys(keys));
  ReplicateRequest request{};
  if (options.node.size() > sizeof(request.node) || (options.copies == 0) == options.node.empty()) {
    return absl::InvalidArgumentError("copies: either their number or one node's name is wanted");
  }
  request.copies = options.copies;
  request.node_bytes = static_cast<uint32_t>(options.node.size());
  std::copy_n(options.node.data(), options.node.size(), request.node);
  const MonotonicTime deadline = core_->DeadlineOf(options);
  ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, core_->Live());
  ASSIGN_OR_RETURN(request.space, core_->HandleOf(*state_, *connection, deadline));
  MessageWriter writer;
  Frame reply;
  CopyResult result;
  for (size_t first = 0; first < keys.size(); first += kMessageKeysMax) {
    const size_t count = std::min<size_t>(kMessageKeysMax, keys.size() - first);
    request.key_count = static_cast<uint32_t>(count);
    // The daemon's answer has to be here by the deadline, whatever it says.
    const absl::Duration left = deadline - SystemClock::Get().Now() - kAnswerTime;
    request.wait_ms =
        options.wait ? static_cast<uint32_t>(std::max<int64_t>(1, absl::ToInt64Milliseconds(left)))
                     : 0;
    writer.Clear();
    writer.Write(request);
    for (size_t i = first; i < first + count; ++i) writer.Write(HashKey(keys[i]));
    RETURN_IF_ERROR(connection->Call(Opcode::kReplicate, writer.payload(), deadline, &reply));
    MessageReader reader(reply.payload);
    const auto answered = reader.Read<ReplicateReply>();
    RETURN_IF_ERROR(reader.Finish("reply to replicate"));
    result.accepted += answered.accepted;
    result.copied += answered.copied;
  }
  return result;
}

}  // namespace larder

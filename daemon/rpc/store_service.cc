#include "daemon/rpc/store_service.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/node/log.h"
#include "daemon/rpc/messages.h"
#include "daemon/rpc/put_stream.h"
#include "daemon/rpc/rpc_status.h"

namespace larder {
namespace {

// What all streams together may hold of payload on its way.
constexpr uint64_t kBufferedBytesMax = uint64_t{1} << 30;
// Between two looks whether a chunk has come from disk.
constexpr auto kDiskPollPause = std::chrono::milliseconds(1);

static_assert(v1::CHUNK_TIER_MEMORY == static_cast<int>(ChunkPlace::Tier::kMemory) + 1);
static_assert(v1::CHUNK_TIER_PEER_DISK == static_cast<int>(ChunkPlace::Tier::kPeerDisk) + 1);

// `cluster` is null for a node that is alone, and knows of no peers.
void FillPlace(const ChunkPlace& place, ClusterNode* cluster, v1::ChunkPlace* message) {
  message->set_tier(static_cast<v1::ChunkTier>(static_cast<int>(place.tier) + 1));
  if (place.tier == ChunkPlace::Tier::kPeerMemory || place.tier == ChunkPlace::Tier::kPeerDisk) {
    message->set_node(cluster->core().NameOf(place.node));
  }
  message->set_predicted_us(
      static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Microseconds(place.predicted))));
}

// False when the caller has gone.
bool SendChunk(uint32_t index, const ChunkIdentity& identity, const Part& part, Payload* payload,
               grpc::ServerWriter<v1::FetchResponse>* writer) {
  v1::FetchResponse response;
  v1::FetchHeader& header = *response.mutable_header();
  header.set_index(index);
  header.set_key(std::string(identity.key.begin(), identity.key.end()));
  header.set_parent_hash(HashOrNothing(identity.parent));
  header.set_depth(identity.depth);
  header.set_token_count(identity.token_count);
  header.set_levels(payload->levels());
  FillPart(part, header.mutable_part());
  header.set_payload_bytes(payload->bytes());
  if (!writer->Write(response)) return false;
  for (std::string& piece : payload->pieces()) {
    response.set_data(std::move(piece));
    if (!writer->Write(response)) return false;
  }
  return true;
}

}  // namespace

StoreService::StoreService(CoreAccess* access, std::span<const ProfilePointer> profiles)
    : access_(access), codecs_(/*profile=*/nullptr, profiles), budget_(kBufferedBytesMax) {}

grpc::Status StoreService::OpenSpace(grpc::ServerContext* context,
                                     const v1::OpenSpaceRequest* request,
                                     v1::OpenSpaceResponse* response) {
  const absl::StatusOr<SpaceDescription> description =
      ParseSpaceDescription(request->description());
  if (!description.ok()) return ToGrpcStatus(description.status());
  const Manifest& manifest = description->manifest;
  if (const absl::Status can = CheckCodec(codecs_, manifest.codec, manifest); !can.ok()) {
    return ToGrpcStatus(Annotate(can, "description.manifest.codec"));
  }
  const absl::StatusOr<SpaceInfo> space = access_->OpenSpace(*context, *description);
  if (!space.ok()) return ToGrpcStatus(space.status());
  response->set_space_id(ToString(space->id));
  response->set_manifest_id(ToString(manifest.Id()));
  response->set_chunk_payload_bytes(space->whole_payload_bytes);
  return grpc::Status::OK;
}

grpc::Status StoreService::Match(grpc::ServerContext* context, const v1::MatchRequest* request,
                                 v1::MatchResponse* response) {
  const absl::StatusOr<SpaceId> id = ParseSpaceId("space_id", request->space_id());
  if (!id.ok()) return ToGrpcStatus(id.status());
  const absl::StatusOr<std::vector<KeyHash>> keys = ParseKeys(request->keys());
  if (!keys.ok()) return ToGrpcStatus(keys.status());
  const auto look = [&](Core& core, bool may_wait, MonotonicTime now) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, *id));
    const LookupOptions options{
        .touch = request->touch(), .local_only = request->local_only(), .may_wait = may_wait};
    ASSIGN_OR_RETURN(const PrefixMatch found, core.Match(space->handle, *keys, options, now));
    response->set_chunks(found.chunks);
    response->set_tokens(found.tokens);
    response->set_bytes(found.bytes);
    if (found.locating || !request->places()) return found.locating;
    const auto asked = std::span<const KeyHash>(*keys).first(found.chunks);
    for (const ChunkPlace& place : core.Places(space->handle, asked, now)) {
      FillPlace(place, access_->node().cluster(), response->add_places());
    }
    return false;
  };
  return ToGrpcStatus(access_->RunUntilLocated(*context, look));
}

grpc::Status StoreService::Put(grpc::ServerContext* context,
                               grpc::ServerReader<v1::PutRequest>* reader,
                               v1::PutResponse* response) {
  PutStream stream(*context, access_, codecs_, &budget_, response);
  v1::PutRequest request;
  while (reader->Read(&request)) {
    const absl::Status status = stream.Receive(std::move(request));
    if (!status.ok()) return ToGrpcStatus(status);
  }
  // The reader ends in the same way when the caller has gone.
  if (context->IsCancelled()) return ToGrpcStatus(absl::CancelledError("the caller has gone"));
  return ToGrpcStatus(stream.Finish());
}

grpc::Status StoreService::Hint(grpc::ServerContext* context, const v1::HintRequest* request,
                                v1::HintResponse* response) {
  const absl::StatusOr<SpaceId> id = ParseSpaceId("space_id", request->space_id());
  if (!id.ok()) return ToGrpcStatus(id.status());
  const absl::StatusOr<std::vector<KeyHash>> keys = ParseKeys(request->keys());
  if (!keys.ok()) return ToGrpcStatus(keys.status());
  const auto duration = [](uint64_t milliseconds) -> std::optional<absl::Duration> {
    if (milliseconds == 0) return std::nullopt;
    const auto kMax = static_cast<uint64_t>(kTtlMax / absl::Milliseconds(1));
    return absl::Milliseconds(std::min(milliseconds, kMax));
  };
  Hints hints{.keep = duration(request->keep_ms()),
              .next_use = duration(request->next_use_ms()),
              .no_next_use = request->no_next_use(),
              .session_end = request->session_end(),
              .ttl = duration(request->ttl_ms()),
              .priority = std::nullopt,
              .pin = request->pin()};
  if (!v1::Priority_IsValid(request->priority())) {
    return ToGrpcStatus(absl::InvalidArgumentError("priority: is unknown"));
  }
  if (request->priority() != v1::PRIORITY_UNSPECIFIED) {
    hints.priority = static_cast<ChunkPriority>(request->priority() - v1::PRIORITY_LOW);
  }
  return ToGrpcStatus(
      access_->Run(*context, [&](Core& core, SessionId, MonotonicTime now) -> absl::Status {
        ASSIGN_OR_RETURN(const Space* space, SpaceById(core, *id));
        ASSIGN_OR_RETURN(const HintReport report, core.Hint(space->handle, *keys, hints, now));
        response->set_found(report.found);
        response->set_accepted(report.accepted);
        response->set_clipped(report.clipped);
        response->set_refused(report.refused);
        return absl::OkStatus();
      }));
}

grpc::Status StoreService::Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                                 grpc::ServerWriter<v1::FetchResponse>* writer) {
  return ToGrpcStatus(FetchChunks(*context, *request, writer));
}

absl::Status StoreService::FetchChunks(const grpc::ServerContext& context,
                                       const v1::FetchRequest& request, FetchWriter* writer) {
  ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", request.space_id()));
  RETURN_IF_ERROR(ParseKeys(request.keys()).status());
  ASSIGN_OR_RETURN(const SpaceInfo space, access_->FindSpace(context, id));
  ASSIGN_OR_RETURN(const Part part, ParsePart(request.has_part() ? &request.part() : nullptr,
                                              space.description.manifest));
  for (int i = 0; i < request.keys_size(); ++i) {
    Payload payload(&budget_);
    ChunkIdentity identity;
    const WantedChunk wanted{.key = BytesOf(request.keys(i)),
                             .part = part,
                             .levels = request.levels(),
                             .local_only = request.local_only()};
    const absl::StatusOr<bool> found = ReadChunk(context, space, wanted, &payload, &identity);
    if (!found.ok()) return Annotate(found.status(), absl::StrCat("keys[", i, "]"));
    if (!*found) return absl::OkStatus();
    if (!SendChunk(static_cast<uint32_t>(i), identity, part, &payload, writer)) {
      return absl::CancelledError("the caller has gone");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> StoreService::ReadChunk(const grpc::ServerContext& context,
                                             const SpaceInfo& space, const WantedChunk& wanted,
                                             Payload* payload, ChunkIdentity* identity) {
  const KeyHash hash = HashKey(wanted.key);
  ScopedLease lease(access_);
  std::vector<BlockExtent> extents;
  // Of a chunk that has to come from disk the call's own deadline says how long this may take.
  for (bool coming = true; coming && extents.empty();) {
    RETURN_IF_ERROR(access_->Run(
        context, [&](Core& core, SessionId session, MonotonicTime now) -> absl::Status {
          ASSIGN_OR_RETURN(
              AcquireResult acquired,
              core.Acquire(session, space.handle, std::span(&hash, 1), wanted.part, now));
          lease.Hold(acquired.lease);
          extents = std::move(acquired.extents);
          coming = extents.empty() &&
                   core.Load(space.handle, std::span(&hash, 1), wanted.local_only, now).coming > 0;
          return absl::OkStatus();
        }));
    if (coming) {
      if (context.IsCancelled()) return absl::CancelledError("the caller has gone");
      std::this_thread::sleep_for(kDiskPollPause);
    }
  }
  if (extents.empty()) return false;
  const absl::Status read = ReadPayload(access_->arena_data(), codecs_, space.description, space.id,
                                        wanted, extents, payload, identity);
  if (absl::IsDataLoss(read)) {
    LogError("fetch met a corrupt chunk",
             {{"key", ToString(hash)}, {"why", std::string(read.message())}});
    (void)access_->Run(context, [&](Core&, SessionId, MonotonicTime) {
      access_->node().VerifySoon(space.handle, std::span(&hash, 1));
      return absl::OkStatus();
    });
  }
  RETURN_IF_ERROR(read);
  return true;
}

}  // namespace larder

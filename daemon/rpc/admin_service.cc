#include "daemon/rpc/admin_service.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/node/log.h"
#include "daemon/rpc/chunk_listing.h"
#include "daemon/rpc/cluster_messages.h"
#include "daemon/rpc/explanation.h"
#include "daemon/rpc/insight_messages.h"
#include "daemon/rpc/messages.h"
#include "daemon/rpc/page_token.h"
#include "daemon/rpc/rpc_status.h"
#include "daemon/rpc/verify_walk.h"

namespace larder {
namespace {

void FillArena(Node& node, const CoreStats& stats, v1::ArenaStatus* arena) {
  arena->set_directory(node.arena_directory());
  arena->set_huge_pages(node.arena().on_huge_pages());
  arena->set_capacity_bytes(stats.data_bytes);
  arena->set_backed_bytes(stats.backed_bytes);
  arena->set_used_bytes(stats.used_bytes);
  arena->set_reserved_bytes(stats.reserved_bytes);
  arena->set_pinned_bytes(stats.pinned_bytes);
  arena->set_free_bytes(stats.free_bytes);
  arena->set_largest_free_bytes(stats.largest_free_bytes);
}

void FillCore(const Core& core, const CoreStats& stats, v1::StatusResponse* response) {
  response->set_draining(core.draining());
  response->set_chunks(stats.chunks);
  response->set_spaces(core.spaces().size());
  response->set_sessions(stats.sessions);
  response->set_leases(stats.leases);
  response->set_reservations(stats.reservations);
  response->set_void_reservations(stats.void_reservations);
  response->set_reserve_no_space(stats.reserve_no_space);
  response->set_expired_reservations(stats.expired_reservations);
  response->set_reserve_refused(stats.reserve_refused);
  response->set_reserve_over_quota(stats.reserve_over_quota);
  response->set_hints_accepted(stats.hints_accepted);
  response->set_hints_clipped(stats.hints_clipped);
  response->set_hints_refused(stats.hints_refused);
  response->set_shortened_chunks(stats.shortened_chunks);
  response->set_shortened_bytes(stats.shortened_bytes);
  response->set_moved_bytes(stats.moved_bytes);
  for (const CoreStats::Group& group : stats.groups) {
    v1::TenantStatus* tenant = response->add_tenants();
    tenant->set_tenant(group.tenant);
    tenant->set_memory_bytes(group.memory_bytes);
    tenant->set_memory_guaranteed_bytes(group.memory_guaranteed);
    tenant->set_memory_ceiling_bytes(group.memory_ceiling);
    tenant->set_disk_bytes(group.disk_bytes);
    tenant->set_kept_bytes(group.kept_bytes);
    tenant->set_learned_order(group.policy.learned_order);
    tenant->set_trust_suspensions(group.policy.trust_suspensions);
  }
  FillRemovals(stats.removed_chunks, response->mutable_removed());
}

void FillLocalServer(const LocalServerStats& stats, v1::LocalServerStatus* server) {
  server->set_accepted(stats.accepted);
  server->set_refused(stats.refused);
  server->set_revoked(stats.revoked);
  server->set_malformed(stats.malformed);
  server->set_frames(stats.frames);
}

void FillDisk(const DiskTier& tier, const DiskDevices& devices, const CoreStats& core,
              v1::DiskStatus* disk) {
  const DiskTierStats stats = tier.Stats();
  disk->set_capacity_bytes(stats.capacity_bytes);
  disk->set_live_bytes(stats.live_bytes);
  disk->set_chunks(stats.chunks);
  disk->set_loads(core.disk_loads);
  disk->set_failed_loads(core.disk_loads_failed);
  disk->set_demotions(core.demotions);
  disk->set_dropped_before_demotion(core.dropped_before_demotion);
  disk->set_payload_bytes_written(stats.written_bytes);
  disk->set_device_bytes_written(stats.device_bytes);
  disk->set_reclaimed_segments(stats.reclaimed_segments);
  disk->set_corrupt_records(stats.corrupt_records);
  disk->set_refused_by_budget(stats.refused_budget);
  disk->set_loading_bytes(core.loading_bytes);
  disk->set_demoting_bytes(core.demoting_bytes);
  disk->set_free_segments(stats.free_segments);
  for (const DiskDeviceStatus& device : devices.Status()) {
    const auto number = static_cast<uint32_t>(disk->devices_size());
    v1::DiskDeviceStatus* status = disk->add_devices();
    status->set_path(device.path);
    status->set_engine(device.engine);
    status->set_capacity_bytes(device.capacity_bytes);
    status->set_reads(device.stats.reads);
    status->set_writes(device.stats.writes);
    status->set_failed(device.stats.failed);
    status->set_corrupt(device.stats.corrupt);
    status->set_bytes_read(device.stats.read_bytes);
    status->set_bytes_written(device.stats.written_bytes);
    status->set_metadata_bytes(device.stats.metadata_bytes);
    status->set_out_of_service(device.stats.out_of_service);
    status->set_retired(tier.IsRetired(number));
  }
}

void FillSpace(const Space& space, v1::SpaceStatus* status) {
  const SpaceStats& stats = space.stats;
  status->set_space_id(ToString(space.id));
  status->set_manifest_id(ToString(space.description.manifest.Id()));
  FillSpaceDescription(space.description, status->mutable_description());
  status->set_chunk_payload_bytes(space.whole_payload_bytes);
  status->set_lookups(stats.lookups);
  status->set_hit_chunks(stats.hit_chunks);
  status->set_miss_chunks(stats.miss_chunks);
  status->set_hit_tokens(stats.hit_tokens);
  status->set_miss_tokens(stats.miss_tokens);
  status->set_hit_bytes(stats.hit_bytes);
  status->set_miss_bytes(stats.miss_bytes);
  status->set_fetched_chunks(stats.fetched_chunks);
  status->set_fetched_bytes(stats.fetched_bytes);
  status->set_stored_chunks(stats.stored_chunks);
  status->set_stored_bytes(stats.stored_bytes);
  status->set_resident_chunks(stats.resident_chunks);
  status->set_resident_bytes(stats.resident_bytes);
  FillRemovals(stats.removed_chunks, status->mutable_removed());
}

absl::StatusOr<std::vector<KeyHash>> ParseNames(const v1::KeysRequest& request) {
  const int64_t count = int64_t{request.keys_size()} + request.key_hashes_size();
  if (count < 1 || count > kRpcKeysMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("keys and key_hashes: 1 to ", kRpcKeysMax, " together, not ", count));
  }
  std::vector<KeyHash> hashes;
  if (request.keys_size() > 0) {
    ASSIGN_OR_RETURN(hashes, ParseKeys(request.keys()));
  }
  for (int i = 0; i < request.key_hashes_size(); ++i) {
    ASSIGN_OR_RETURN(const KeyHash hash,
                     ParseKeyHash(absl::StrCat("key_hashes[", i, "]"), request.key_hashes(i)));
    hashes.push_back(hash);
  }
  return hashes;
}

}  // namespace

grpc::Status AdminService::Status(grpc::ServerContext* context, const v1::StatusRequest*,
                                  v1::StatusResponse* response) {
  Node& node = access_->node();
  return ToGrpcStatus(access_->Run(*context, [&](Core& core, SessionId, MonotonicTime now) {
    const CoreStats stats = core.Stats();
    response->set_version(LARDER_VERSION);
    response->set_epoch(node.epoch());
    response->set_uptime_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(now - node.started())));
    FillArena(node, stats, response->mutable_arena());
    FillCore(core, stats, response);
    FillLocalServer(node.local_stats(), response->mutable_local_server());
    if (core.disk() != nullptr && node.disk() != nullptr) {
      FillDisk(*core.disk(), *node.disk(), stats, response->mutable_disk());
    }
    response->mutable_recovery()->set_chunks(node.recovery().chunks);
    response->mutable_recovery()->set_bytes(node.recovery().bytes);
    response->mutable_recovery()->set_discarded_blocks(node.recovery().discarded_blocks);
    return absl::OkStatus();
  }));
}

grpc::Status AdminService::Spaces(grpc::ServerContext* context, const v1::SpacesRequest* request,
                                  v1::SpacesResponse* response) {
  return ToGrpcStatus(ListSpaces(*context, *request, response));
}

absl::Status AdminService::ListSpaces(const grpc::ServerContext& context,
                                      const v1::SpacesRequest& request,
                                      v1::SpacesResponse* response) {
  constexpr absl::string_view kFilter = "spaces";
  const uint64_t epoch = access_->node().epoch();
  ASSIGN_OR_RETURN(const uint32_t page_size, ParsePageSize(request.page_size()));
  ASSIGN_OR_RETURN(const uint32_t begin, ParsePageToken(request.page_token(), kFilter, epoch));
  return access_->Run(context, [&](Core& core, SessionId, MonotonicTime) {
    const size_t count = core.spaces().size();
    const size_t end = std::min(count, size_t{begin} + page_size);
    for (size_t i = begin; i < end; ++i) FillSpace(*core.spaces()[i], response->add_spaces());
    if (end < count) {
      response->set_next_page_token(MakePageToken(kFilter, epoch, static_cast<uint32_t>(end)));
    }
    return absl::OkStatus();
  });
}

grpc::Status AdminService::Chunks(grpc::ServerContext* context, const v1::ChunksRequest* request,
                                  v1::ChunksResponse* response) {
  return ToGrpcStatus(ListChunks(*context, access_, *request, response));
}

grpc::Status AdminService::Inspect(grpc::ServerContext* context, const v1::InspectRequest* request,
                                   v1::InspectResponse* response) {
  return ToGrpcStatus(InspectChunk(*context, access_, *request, response));
}

absl::Status AdminService::WithKeys(const grpc::ServerContext& context,
                                    const v1::KeysRequest& request, v1::KeysResponse* response,
                                    KeysAction action) {
  ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", request.space_id()));
  ASSIGN_OR_RETURN(const std::vector<KeyHash> keys, ParseNames(request));
  return access_->Run(context, [&](Core& core, SessionId, MonotonicTime) -> absl::Status {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, id));
    ASSIGN_OR_RETURN(const uint32_t found, action(core, space->handle, keys));
    response->set_found(found);
    return absl::OkStatus();
  });
}

grpc::Status AdminService::Explain(grpc::ServerContext* context, const v1::KeysRequest* request,
                                   v1::ExplainResponse* response) {
  return ToGrpcStatus(ExplainKeys(*context, *request, response));
}

absl::Status AdminService::ExplainKeys(const grpc::ServerContext& context,
                                       const v1::KeysRequest& request,
                                       v1::ExplainResponse* response) {
  ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", request.space_id()));
  ASSIGN_OR_RETURN(const std::vector<KeyHash> keys, ParseNames(request));
  return access_->Run(context, [&](Core& core, SessionId, MonotonicTime now) -> absl::Status {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, id));
    ASSIGN_OR_RETURN(const std::vector<Explanation> explanations,
                     core.Explain(space->handle, keys, now));
    for (const Explanation& explanation : explanations) {
      FillExplanation(core, *space, explanation, now, response->add_explanations());
    }
    return absl::OkStatus();
  });
}

grpc::Status AdminService::Pin(grpc::ServerContext* context, const v1::KeysRequest* request,
                               v1::KeysResponse* response) {
  return ToGrpcStatus(WithKeys(*context, *request, response,
                               [](Core& core, SpaceHandle space, std::span<const KeyHash> keys) {
                                 return core.SetPinned(space, keys, true);
                               }));
}

grpc::Status AdminService::Unpin(grpc::ServerContext* context, const v1::KeysRequest* request,
                                 v1::KeysResponse* response) {
  return ToGrpcStatus(WithKeys(*context, *request, response,
                               [](Core& core, SpaceHandle space, std::span<const KeyHash> keys) {
                                 return core.SetPinned(space, keys, false);
                               }));
}

grpc::Status AdminService::Remove(grpc::ServerContext* context, const v1::KeysRequest* request,
                                  v1::KeysResponse* response) {
  return ToGrpcStatus(WithKeys(*context, *request, response,
                               [](Core& core, SpaceHandle space, std::span<const KeyHash> keys) {
                                 return core.Remove(space, keys, RemovalCause::kRemoved);
                               }));
}

grpc::Status AdminService::Clear(grpc::ServerContext* context, const v1::ClearRequest* request,
                                 v1::ClearResponse* response) {
  uint64_t removed = 0;
  const absl::Status status = ClearAll(*context, *request, &removed);
  response->set_removed(removed);
  return ToGrpcStatus(status);
}

absl::Status AdminService::ClearAll(const grpc::ServerContext& context,
                                    const v1::ClearRequest& request, uint64_t* removed) {
  if (request.space_id().empty() != request.all_spaces()) {
    return absl::InvalidArgumentError("space_id: give either a space or all_spaces");
  }
  std::optional<SpaceHandle> handle;
  if (!request.all_spaces()) {
    ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", request.space_id()));
    ASSIGN_OR_RETURN(const SpaceInfo space, access_->FindSpace(context, id));
    handle = space.handle;
  }
  std::optional<ChunkIndex> cursor = 0;
  while (cursor) {
    RETURN_IF_ERROR(access_->Run(context, [&](Core& core, SessionId, MonotonicTime) {
      cursor = core.ClearStep(handle, *cursor, removed);
      return absl::OkStatus();
    }));
  }
  LogInfo("cleared", {{"space", request.all_spaces() ? "all" : request.space_id()},
                      {"chunks", absl::StrCat(*removed)}});
  return absl::OkStatus();
}

grpc::Status AdminService::Verify(grpc::ServerContext* context, const v1::VerifyRequest* request,
                                  grpc::ServerWriter<v1::VerifyResponse>* writer) {
  std::optional<SpaceId> space;
  if (!request->space_id().empty()) {
    const absl::StatusOr<SpaceId> id = ParseSpaceId("space_id", request->space_id());
    if (!id.ok()) return ToGrpcStatus(id.status());
    space = *id;
  }
  return ToGrpcStatus(VerifyWalk(*context, access_, writer).Run(space));
}

grpc::Status AdminService::RetireDisk(grpc::ServerContext* context,
                                      const v1::RetireDiskRequest* request,
                                      v1::RetireDiskResponse*) {
  return ToGrpcStatus(
      access_->Run(*context, [&](Core& core, SessionId, MonotonicTime) -> absl::Status {
        const DiskDevices* disk = access_->node().disk();
        const std::optional<uint32_t> device =
            disk == nullptr ? std::nullopt : disk->Find(request->path());
        if (!device) {
          return absl::NotFoundError(
              absl::StrCat("path: no device of the disk tier is '", request->path(), "'"));
        }
        core.RetireDevice(*device);
        LogInfo("disk retired", {{"path", request->path()}});
        return absl::OkStatus();
      }));
}

grpc::Status AdminService::Insight(grpc::ServerContext* context, const v1::InsightRequest*,
                                   v1::InsightResponse* response) {
  InsightReport report;
  const absl::Status status = access_->Run(*context, [&](Core& core, SessionId, MonotonicTime now) {
    report = core.insight().Report(now);
    return absl::OkStatus();
  });
  if (status.ok()) FillInsight(report, response);
  return ToGrpcStatus(status);
}

absl::StatusOr<ClusterNode*> AdminService::NodeOfCluster() const {
  ClusterNode* const cluster = access_->node().cluster();
  if (cluster != nullptr) return cluster;
  return absl::FailedPreconditionError("this node belongs to no cluster (cluster.name is not set)");
}

grpc::Status AdminService::Cluster(grpc::ServerContext* context, const v1::ClusterRequest*,
                                   v1::ClusterResponse* response) {
  const absl::StatusOr<ClusterNode*> cluster = NodeOfCluster();
  if (!cluster.ok()) return ToGrpcStatus(cluster.status());
  return ToGrpcStatus(access_->Run(*context, [&](Core&, SessionId, MonotonicTime now) {
    FillCluster(**cluster, now, response);
    return absl::OkStatus();
  }));
}

grpc::Status AdminService::Where(grpc::ServerContext* context, const v1::KeysRequest* request,
                                 v1::WhereResponse* response) {
  return ToGrpcStatus(FindHolders(*context, *request, response));
}

absl::Status AdminService::FindHolders(const grpc::ServerContext& context,
                                       const v1::KeysRequest& request,
                                       v1::WhereResponse* response) {
  ASSIGN_OR_RETURN(ClusterNode* const cluster, NodeOfCluster());
  ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", request.space_id()));
  ASSIGN_OR_RETURN(const std::vector<KeyHash> keys, ParseNames(request));
  const auto look = [&](Core& core, bool may_wait, MonotonicTime now) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, id));
    if (may_wait && cluster->core().Locate(space->handle, keys, now)) return true;
    FillHolders(*cluster, core, *space, keys, now, response);
    return false;
  };
  return access_->RunUntilLocated(context, look);
}

grpc::Status AdminService::Drain(grpc::ServerContext* context, const v1::DrainRequest*,
                                 v1::DrainResponse*) {
  LogInfo("drain asked for", {{"peer", context->peer()}});
  access_->node().Drain();
  return grpc::Status::OK;
}

}  // namespace larder

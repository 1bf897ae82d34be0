#include "daemon/rpc/chunk_listing.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/node/utf8.h"
#include "daemon/node/verifier.h"
#include "daemon/rpc/messages.h"
#include "daemon/rpc/page_token.h"
#include "kernels/format/container_format.h"

namespace larder {
namespace {

// How many of the catalog's entries one task looks at, and how many tasks one page takes at most.
constexpr uint32_t kEntriesPerTaskMax = 1024;
constexpr int kTasksPerPageMax = 64;

struct ChunkFilter {
  std::optional<SpaceId> space;
  bool visible_only = false;
  bool pinned_only = false;
  uint32_t min_depth = 0;
  std::string key_hash_prefix;

  bool Passes(const ChunkInfo& chunk) const {
    return (!visible_only || chunk.visible) && (!pinned_only || chunk.pinned) &&
           chunk.depth >= min_depth &&
           (key_hash_prefix.empty() || absl::StartsWith(ToString(chunk.key), key_hash_prefix));
  }
  // For page tokens.
  std::string Text() const {
    return absl::StrCat("chunks ", space ? ToString(*space) : "", " ", visible_only, pinned_only,
                        " ", min_depth, " ", key_hash_prefix);
  }
};

absl::StatusOr<ChunkFilter> ParseFilter(const v1::ChunksRequest& request) {
  ChunkFilter filter{.space = std::nullopt,
                     .visible_only = request.visible_only(),
                     .pinned_only = request.pinned_only(),
                     .min_depth = request.min_depth(),
                     .key_hash_prefix = absl::AsciiStrToLower(request.key_hash_prefix())};
  if (!request.space_id().empty()) {
    ASSIGN_OR_RETURN(filter.space, ParseSpaceId("space_id", request.space_id()));
  }
  const std::string& prefix = filter.key_hash_prefix;
  if (prefix.size() > 32 || !std::all_of(prefix.begin(), prefix.end(), absl::ascii_isxdigit)) {
    return absl::InvalidArgumentError("key_hash_prefix: not up to 32 hexadecimal digits");
  }
  return filter;
}

// Goes on with a page from `cursor`; runs on the event loop.
absl::Status ListSome(const Core& core, const ChunkFilter& filter, size_t page_size,
                      MonotonicTime now, std::optional<ChunkIndex>* cursor,
                      v1::ChunksResponse* response) {
  std::optional<SpaceHandle> handle;
  if (filter.space) {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, *filter.space));
    handle = space->handle;
  }
  const ChunkIndex stop = **cursor + std::min(kEntriesPerTaskMax, kNoChunk - **cursor);
  std::vector<ChunkInfo> found;
  while (*cursor && **cursor < stop && static_cast<size_t>(response->chunks_size()) < page_size) {
    found.clear();
    // One at a time: the cursor after it is then where the next page begins.
    *cursor = core.ListStep(handle, **cursor, 1, &found);
    if (found.empty() || !filter.Passes(found.front())) continue;
    FillChunk(*core.FindSpace(found.front().space), found.front(), now, response->add_chunks());
  }
  return absl::OkStatus();
}

void FillHeader(std::span<const uint8_t> container, const ChunkIdentity& identity,
                v1::ContainerHeader* message) {
  ContainerHeader header;
  std::memcpy(&header, container.data(), sizeof header);
  message->set_version(header.version);
  message->set_header_bytes(header.header_bytes);
  message->set_codec(header.codec);
  message->set_level_count(header.level_count);
  message->set_flags(header.flags);
  message->set_space_id(ToString(identity.space));
  message->set_manifest_id(ToString(identity.manifest));
  message->set_key(std::string(identity.key.begin(), identity.key.end()));
  message->set_parent_hash(HashOrNothing(identity.parent));
  message->set_depth(identity.depth);
  message->set_token_count(identity.token_count);
  message->set_toc_entry_count(header.toc_entry_count);
  message->set_planes_per_layer(header.planes_per_layer);
  message->set_toc_offset(header.toc_offset);
  message->set_body_offset(header.body_offset);
  message->set_body_bytes(header.body_bytes);
  message->set_total_bytes(header.total_bytes);
  message->set_toc_crc32c(header.toc_crc32c);
  message->set_header_crc32c(header.header_crc32c);
}

// The chunk that an Inspect is about, held by `lease`.
struct InspectedChunk {
  explicit InspectedChunk(CoreAccess* access) : lease(access) {}
  SpaceInfo space;
  KeyHash key;
  std::vector<BlockExtent> extents;
  ScopedLease lease;
};

absl::StatusOr<KeyHash> ParseName(const v1::InspectRequest& request) {
  switch (request.name_case()) {
    case v1::InspectRequest::kKey: {
      ASSIGN_OR_RETURN(const ChunkKey key, ParseKey("key", request.key()));
      return HashKey(key);
    }
    case v1::InspectRequest::kKeyHash:
      return ParseKeyHash("key_hash", request.key_hash());
    case v1::InspectRequest::NAME_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("name: neither key nor key_hash");
}

absl::Status LeaseInspected(const grpc::ServerContext& context, CoreAccess* access,
                            const SpaceId& space_id, InspectedChunk* inspected,
                            v1::ChunkStatus* status) {
  return access->Run(
      context, [&](Core& core, SessionId session, MonotonicTime now) -> absl::Status {
        ASSIGN_OR_RETURN(const Space* space, SpaceById(core, space_id));
        const std::optional<ChunkInfo> chunk = core.Inspect(space->handle, inspected->key);
        if (!chunk) {
          return absl::NotFoundError(absl::StrCat("no chunk ", ToString(inspected->key),
                                                  " in space ", ToString(space_id)));
        }
        ASSIGN_OR_RETURN(AcquireResult acquired,
                         core.AcquireUncounted(session, space->handle, inspected->key));
        inspected->lease.Hold(acquired.lease);
        inspected->extents = std::move(acquired.extents);
        inspected->space = InfoOf(*space);
        FillChunk(*space, *chunk, now, status);
        return absl::OkStatus();
      });
}

// Reads the container's header and, with `verify`, all of it. DATA_LOSS also goes into the message.
absl::Status ReadContainer(std::span<const uint8_t> arena_data, const InspectedChunk& chunk,
                           const BlockExtent& extent, bool verify, v1::ContainerStatus* message) {
  message->set_arena_offset(extent.offset);
  message->set_bytes(extent.bytes);
  FillPart(extent.part, message->mutable_part());
  const std::span<const uint8_t> bytes = arena_data.subspan(extent.offset, extent.bytes);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
  absl::Status status = view.status();
  if (view.ok()) FillHeader(bytes, view->identity(), message->mutable_header());
  if (view.ok() && verify) {
    status = CheckStoredChunk(arena_data, chunk.space.description.manifest, chunk.space.id,
                              chunk.key, std::span(&extent, 1));
    message->set_verified(status.ok());
  }
  if (!status.ok()) message->set_error(std::string(status.message()));
  return status;
}

}  // namespace

void FillChunk(const Space& space, const ChunkInfo& chunk, MonotonicTime now,
               v1::ChunkStatus* status) {
  const auto milliseconds = [](absl::Duration duration) {
    return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Milliseconds(duration)));
  };
  status->set_space_id(ToString(space.id));
  status->set_key_hash(ToString(chunk.key));
  status->set_depth(chunk.depth);
  status->set_children(chunk.children);
  status->set_leases(chunk.leases);
  status->set_visible(chunk.visible);
  status->set_pinned(chunk.pinned);
  status->set_bytes(chunk.bytes);
  if (chunk.in_memory) {
    const PolicyTicks idle = ToTicks(now) - chunk.last_use;
    status->set_idle_ms(milliseconds(absl::Seconds(idle / kTicksPerSecond)));
  }
  if (chunk.expiry) status->set_expires_in_ms(milliseconds(*chunk.expiry - now));
  status->set_parts(static_cast<uint32_t>(chunk.extents.size()));
  status->set_in_memory(chunk.in_memory);
  status->set_on_disk(chunk.on_disk);
  status->set_dropped_levels(chunk.dropped_levels);
}

absl::Status ListChunks(const grpc::ServerContext& context, CoreAccess* access,
                        const v1::ChunksRequest& request, v1::ChunksResponse* response) {
  ASSIGN_OR_RETURN(const ChunkFilter filter, ParseFilter(request));
  ASSIGN_OR_RETURN(const uint32_t page_size, ParsePageSize(request.page_size()));
  const uint64_t epoch = access->node().epoch();
  ASSIGN_OR_RETURN(const uint32_t begin,
                   ParsePageToken(request.page_token(), filter.Text(), epoch));
  std::optional<ChunkIndex> cursor = begin;
  for (int task = 0; task < kTasksPerPageMax && cursor &&
                     static_cast<uint32_t>(response->chunks_size()) < page_size;
       ++task) {
    RETURN_IF_ERROR(access->Run(context, [&](Core& core, SessionId, MonotonicTime now) {
      return ListSome(core, filter, page_size, now, &cursor, response);
    }));
  }
  if (cursor) response->set_next_page_token(MakePageToken(filter.Text(), epoch, *cursor));
  return absl::OkStatus();
}

absl::Status InspectChunk(const grpc::ServerContext& context, CoreAccess* access,
                          const v1::InspectRequest& request, v1::InspectResponse* response) {
  ASSIGN_OR_RETURN(const SpaceId space_id, ParseSpaceId("space_id", request.space_id()));
  InspectedChunk chunk(access);
  ASSIGN_OR_RETURN(chunk.key, ParseName(request));
  RETURN_IF_ERROR(LeaseInspected(context, access, space_id, &chunk, response->mutable_chunk()));
  const SpaceDescription& description = chunk.space.description;
  response->set_manifest_id(ToString(description.manifest.Id()));
  response->set_tenant(ToUtf8(description.tenant));
  response->set_model(ToUtf8(description.manifest.model));
  bool sound = true;
  for (const BlockExtent& extent : chunk.extents) {
    v1::ContainerStatus& container = *response->add_containers();
    sound &= ReadContainer(access->arena_data(), chunk, extent, request.verify(), &container).ok();
    if (container.has_header()) response->set_key(container.header().key());
  }
  if (sound) return absl::OkStatus();
  return access->Run(context, [&](Core&, SessionId, MonotonicTime) {
    access->node().VerifySoon(chunk.space.handle, std::span(&chunk.key, 1));
    return absl::OkStatus();
  });
}

}  // namespace larder

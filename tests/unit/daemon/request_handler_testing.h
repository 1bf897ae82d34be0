// A request handler with a small core and arena, and the payloads that clients send to it.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "daemon/session/request_handler.h"
#include "kernels/format/container.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {

using Bytes = std::vector<uint8_t>;

struct TestReply {
  bool wanted = true;
  absl::StatusCode status = absl::StatusCode::kOk;
  Bytes payload;

  // The error's text; of a reply with a status other than OK.
  std::string text() const { return {payload.begin(), payload.end()}; }
  template <typename T>
  T Read(size_t offset = 0) const {
    MessageReader reader(payload);
    reader.ReadBytes(offset);
    return reader.Read<T>();
  }
};

// Not thread-safe.
class HandlerHarness {
 public:
  explicit HandlerHarness(uint64_t granules = 64)
      : core_(granules),
        arena_(granules * kTestGranuleBytes),
        handler_(
            &core_.core(), arena_,
            {.open_space =
                 [this](const SpaceDescription& space) { return core_.core().OpenSpace(space); },
             .report_corrupt =
                 [this](SpaceHandle, std::vector<KeyHash> keys) {
                   reported_.insert(reported_.end(), keys.begin(), keys.end());
                 }}) {}

  CoreHarness& harness() { return core_; }
  Core& core() { return core_.core(); }
  std::vector<uint8_t>& arena() { return arena_; }
  RequestHandler& handler() { return handler_; }
  const std::vector<KeyHash>& reported() const { return reported_; }

  TestReply Send(SessionId session, uint16_t opcode, Bytes payload, uint32_t status = 0) {
    Frame frame;
    frame.header = MakeFrameHeader({.opcode = opcode, .request_id = 77}, payload.size());
    frame.header.status = status;
    frame.payload = std::move(payload);
    const RequestHandler::Reply reply = handler_.Handle(session, frame, core_.now);
    return {.wanted = reply.wanted,
            .status = reply.label.status,
            .payload = {reply.payload.begin(), reply.payload.end()}};
  }
  TestReply Send(SessionId session, Opcode opcode, const Bytes& payload) {
    return Send(session, static_cast<uint16_t>(opcode), payload);
  }

 private:
  CoreHarness core_;
  std::vector<uint8_t> arena_;
  std::vector<KeyHash> reported_;
  RequestHandler handler_;
};

template <typename Request, typename Item = uint8_t>
Bytes MakePayload(const Request& request, const std::vector<Item>& items = {}) {
  MessageWriter writer;
  writer.Write(request);
  for (const Item& item : items) writer.Write(item);
  return {writer.payload().begin(), writer.payload().end()};
}

inline Bytes OpenSpacePayload(const SpaceDescription& space) {
  const Bytes manifest = space.manifest.Serialize();
  const SpaceId id = ComputeSpaceId(space.tenant, space.manifest.Id(), space.salt);
  MessageWriter writer;
  writer.Write(OpenSpaceRequest{.tenant_bytes = static_cast<uint32_t>(space.tenant.size()),
                                .salt_bytes = static_cast<uint32_t>(space.salt.size()),
                                .manifest_bytes = static_cast<uint32_t>(manifest.size()),
                                .reserved = 0,
                                .space_id_low = id.low,
                                .space_id_high = id.high});
  writer.WriteText(space.tenant);
  writer.WriteText(space.salt);
  writer.WriteBytes(manifest);
  return {writer.payload().begin(), writer.payload().end()};
}

inline Bytes KeysPayload(SpaceHandle space, const std::vector<KeyHash>& keys, const Part& part = {},
                         uint32_t flags = 0) {
  return MakePayload(KeysRequest{.space = space,
                                 .key_count = static_cast<uint32_t>(keys.size()),
                                 .flags = flags,
                                 .part = std::bit_cast<PartMessage>(part)},
                     keys);
}

inline Bytes ReservePayload(SpaceHandle space, const std::vector<ReserveItem>& items,
                            uint32_t flags = 0) {
  std::vector<ReserveItemMessage> messages;
  for (const ReserveItem& item : items) {
    messages.push_back({.key = std::bit_cast<KeyHashMessage>(item.key),
                        .parent = std::bit_cast<KeyHashMessage>(item.parent),
                        .bytes = item.bytes,
                        .part = std::bit_cast<PartMessage>(item.part),
                        .depth = item.depth,
                        .reserved = 0});
  }
  return MakePayload(ReserveRequest{.space = space,
                                    .item_count = static_cast<uint32_t>(items.size()),
                                    .flags = flags,
                                    .reserved = 0,
                                    .deadline_ms = 0,
                                    .ttl_ms = 0},
                     messages);
}

inline Bytes IdsPayload(const std::vector<uint64_t>& ids) {
  return MakePayload(ReservationsRequest{.count = static_cast<uint32_t>(ids.size()), .reserved = 0},
                     ids);
}

// A chunk as an engine knows it: the identity of one part of it and what to reserve for that.
struct TestChunk {
  ChunkIdentity identity;
  ReserveItem item;
  Bytes container;
};

inline Bytes WriteContainer(const Manifest& manifest, const ChunkIdentity& identity) {
  Bytes container(RawContainerBytes(manifest, identity.part));
  const Bytes payload(manifest.PayloadBytes(identity.part), identity.key.front());
  const ConstSegment segment{payload.data(), payload.size()};
  // A failure shows at the commit: nothing valid is there then.
  (void)WriteRawContainer(container, manifest, identity, {&segment, 1});
  return container;
}

inline TestChunk MakeChunk(const SpaceDescription& space, uint8_t number, const Part& part,
                           const KeyHash& parent = {}, uint32_t depth = 0) {
  TestChunk chunk;
  chunk.identity.manifest = space.manifest.Id();
  chunk.identity.space = ComputeSpaceId(space.tenant, chunk.identity.manifest, space.salt);
  chunk.identity.key.assign(32, number);
  chunk.identity.parent = parent;
  chunk.identity.depth = depth;
  chunk.identity.token_count = space.manifest.tokens_per_chunk;
  chunk.identity.part = part;
  chunk.container = WriteContainer(space.manifest, chunk.identity);
  chunk.item = {.key = HashKey(chunk.identity.key),
                .parent = parent,
                .depth = depth,
                .part = part,
                .bytes = chunk.container.size()};
  return chunk;
}

}  // namespace larder

#include "tests/e2e/raw_session.h"

#include <bit>
#include <utility>

#include "absl/time/clock.h"
#include "client/keys_message.h"
#include "common/clock.h"
#include "common/hash.h"
#include "kernels/format/container.h"

namespace larder {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

MonotonicTime Deadline() { return SystemClock::Get().Now() + kTimeout; }

}  // namespace

absl::StatusOr<RawSession> RawSession::Connect(const std::string& socket_path, bool wants_rings) {
  const ConnectOptions options{.client_name = "raw",
                               .wants_rings = wants_rings,
                               .channel = {.spin_limit = absl::ZeroDuration()}};
  ASSIGN_OR_RETURN(ClientHandshake handshake, ConnectLocal(socket_path, options, Deadline()));
  ASSIGN_OR_RETURN(MemoryMapping arena,
                   MemoryMapping::MapShared(handshake.arena, handshake.welcome.arena_data_bytes,
                                            /*writable=*/true));
  return RawSession(std::move(handshake), std::move(arena));
}

absl::Status RawSession::Post(Opcode opcode, std::span<const uint8_t> payload) {
  const MonotonicTime deadline = Deadline();
  const FrameLabel label{.opcode = static_cast<uint16_t>(opcode), .request_id = next_request_id_++};
  for (;;) {
    absl::Status sent = channel().Send(label, payload);
    if (!absl::IsResourceExhausted(sent)) return sent;
    if (SystemClock::Get().Now() >= deadline) return sent;
    absl::SleepFor(absl::Microseconds(100));
  }
}

absl::StatusOr<std::vector<uint8_t>> RawSession::Call(Opcode opcode,
                                                      std::span<const uint8_t> payload) {
  RETURN_IF_ERROR(Post(opcode, payload));
  const uint64_t request_id = next_request_id_ - 1;
  const MonotonicTime deadline = Deadline();
  for (;;) {
    Frame frame;
    ASSIGN_OR_RETURN(const bool received, channel().TryReceive(&frame));
    if (!received) {
      RETURN_IF_ERROR(channel().WaitReadable(deadline));
      continue;
    }
    if (frame.header.request_id != request_id) continue;
    if (frame.header.status == 0) return std::move(frame.payload);
    return absl::Status(static_cast<absl::StatusCode>(frame.header.status),
                        absl::string_view(reinterpret_cast<const char*>(frame.payload.data()),
                                          frame.payload.size()));
  }
}

absl::Status RawSession::OpenSpace(const Manifest& manifest) {
  manifest_ = manifest;
  const std::vector<uint8_t> bytes = manifest.Serialize();
  const SpaceId id = ComputeSpaceId("default", manifest.Id(), "");
  MessageWriter writer;
  writer.Write(OpenSpaceRequest{.tenant_bytes = 7,
                                .salt_bytes = 0,
                                .manifest_bytes = static_cast<uint32_t>(bytes.size()),
                                .reserved = 0,
                                .space_id_low = id.low,
                                .space_id_high = id.high});
  writer.WriteText("default");
  writer.WriteBytes(bytes);
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kOpenSpace, writer.payload()));
  space_ = MessageReader(reply).Read<OpenSpaceReply>().space;
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> RawSession::Match(KeySpan keys) {
  MessageWriter writer;
  WriteKeysRequest(keys, {.space = space_}, &writer);
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kMatch, writer.payload()));
  return MessageReader(reply).Read<MatchReply>().chunks;
}

absl::StatusOr<RawSession::Lease> RawSession::Acquire(KeySpan keys) {
  MessageWriter writer;
  WriteKeysRequest(
      keys, {.space = space_, .part = std::bit_cast<PartMessage>(manifest_.WholePart())}, &writer);
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kAcquire, writer.payload()));
  MessageReader reader(reply);
  const auto header = reader.Read<AcquireReply>();
  reader.ReadArray<LeasedChunkMessage>(header.chunk_count, kMessageKeysMax);
  Lease lease{.id = header.lease, .chunks = header.chunk_count, .extents = {}};
  lease.extents = reader.ReadArray<ExtentMessage>(header.extent_count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("reply to acquire"));
  return lease;
}

absl::Status RawSession::Release(uint64_t lease) {
  MessageWriter writer;
  writer.Write(ReleaseRequest{.lease = lease});
  return Post(Opcode::kRelease, writer.payload());
}

absl::StatusOr<std::vector<ReserveOutcomeMessage>> RawSession::Reserve(KeySpan keys) {
  MessageWriter writer;
  writer.Write(ReserveRequest{.space = space_,
                              .item_count = static_cast<uint32_t>(keys.size()),
                              .flags = 0,
                              .reserved = 0,
                              .deadline_ms = 0,
                              .ttl_ms = 0});
  for (size_t i = 0; i < keys.size(); ++i) {
    writer.Write(ReserveItemMessage{.key = std::bit_cast<KeyHashMessage>(HashKey(keys[i])),
                                    .parent = {},
                                    .bytes = container_bytes(),
                                    .part = std::bit_cast<PartMessage>(manifest_.WholePart()),
                                    .depth = 0,
                                    .reserved = 0});
  }
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kReserve, writer.payload()));
  MessageReader reader(reply);
  auto outcomes = reader.ReadArray<ReserveOutcomeMessage>(keys.size(), kMessageItemsMax);
  RETURN_IF_ERROR(reader.Finish("reply to reserve"));
  return outcomes;
}

absl::Status RawSession::Fill(const ReserveOutcomeMessage& outcome, std::span<const uint8_t> key,
                              std::span<const uint8_t> payload) {
  const ChunkIdentity identity{.space = ComputeSpaceId("default", manifest_.Id(), ""),
                               .manifest = manifest_.Id(),
                               .key = ChunkKey(key.begin(), key.end()),
                               .parent = {},
                               .depth = 0,
                               .token_count = manifest_.tokens_per_chunk,
                               .part = manifest_.WholePart()};
  const ConstSegment segment{payload.data(), payload.size()};
  return WriteRawContainer(arena().subspan(outcome.offset, container_bytes()), manifest_, identity,
                           std::span(&segment, 1));
}

absl::StatusOr<std::vector<uint32_t>> RawSession::Commit(std::span<const uint64_t> reservations) {
  MessageWriter writer;
  writer.Write(
      ReservationsRequest{.count = static_cast<uint32_t>(reservations.size()), .reserved = 0});
  for (uint64_t reservation : reservations) writer.Write(reservation);
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kCommit, writer.payload()));
  MessageReader reader(reply);
  auto codes = reader.ReadArray<uint32_t>(reservations.size(), kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("reply to commit"));
  return codes;
}

absl::StatusOr<StatsReply> RawSession::Stats() {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> reply, Call(Opcode::kStats, {}));
  return MessageReader(reply).Read<StatsReply>();
}

uint64_t RawSession::container_bytes() const {
  return RawContainerBytes(manifest_, manifest_.WholePart());
}

}  // namespace larder

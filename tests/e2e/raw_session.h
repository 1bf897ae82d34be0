// A session without the client library: one frame at a time, and no heartbeat unless asked for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/keys.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "kernels/format/manifest.h"
#include "transport/local/handshake.h"
#include "transport/local/message_codec.h"
#include "transport/local/message_format.h"

namespace larder {

// Speaks the protocol as it is written, for tests that need to break off anywhere. Not thread-safe.
class RawSession {
 public:
  struct Lease {
    uint64_t id = 0;
    uint32_t chunks = 0;
    std::vector<ExtentMessage> extents;
  };

  static absl::StatusOr<RawSession> Connect(const std::string& socket_path,
                                            bool wants_rings = true);

  // The reply's payload, or its error.
  absl::StatusOr<std::vector<uint8_t>> Call(Opcode opcode, std::span<const uint8_t> payload);
  absl::Status Post(Opcode opcode, std::span<const uint8_t> payload);

  absl::Status OpenSpace(const Manifest& manifest);
  absl::StatusOr<uint32_t> Match(KeySpan keys);
  absl::StatusOr<Lease> Acquire(KeySpan keys);
  absl::Status Release(uint64_t lease);
  // One outcome a key, for whole chunks without parents.
  absl::StatusOr<std::vector<ReserveOutcomeMessage>> Reserve(KeySpan keys);
  // Writes the whole chunk, as a client would, into the extent of one outcome.
  absl::Status Fill(const ReserveOutcomeMessage& outcome, std::span<const uint8_t> key,
                    std::span<const uint8_t> payload);
  // The status code of each.
  absl::StatusOr<std::vector<uint32_t>> Commit(std::span<const uint64_t> reservations);
  absl::StatusOr<StatsReply> Stats();

  uint64_t container_bytes() const;
  std::span<uint8_t> arena() const { return arena_.bytes(); }
  Channel& channel() { return *handshake_.channel; }
  RingChannel* rings() { return handshake_.rings; }
  const Welcome& welcome() const { return handshake_.welcome; }

 private:
  RawSession(ClientHandshake handshake, MemoryMapping arena)
      : handshake_(std::move(handshake)), arena_(std::move(arena)) {}

  ClientHandshake handshake_;
  MemoryMapping arena_;
  Manifest manifest_;
  uint32_t space_ = 0;
  uint64_t next_request_id_ = 1;
};

}  // namespace larder

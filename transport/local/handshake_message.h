// What the two sides of the local transport say when they meet, as values and as bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "transport/local/frame.h"

namespace larder {

// Versions of the operations and of the rings that this code speaks.
inline constexpr uint16_t kProtocolVersionMin = 1;
inline constexpr uint16_t kProtocolVersionMax = 1;

inline constexpr size_t kClientNameBytesMax = 64;
inline constexpr size_t kRefusalBytesMax = 512;

// Client to daemon, the first packet of a connection.
struct Hello {
  uint16_t version_min = kProtocolVersionMin;
  uint16_t version_max = kProtocolVersionMax;
  bool wants_rings = true;
  // How long the client polls for a reply before it sleeps; the daemon may poll as long for the
  // next request.
  uint32_t spin_limit_us = 0;
  // For logs and status pages; printable ASCII, at most kClientNameBytesMax.
  std::string client_name = {};

  friend bool operator==(const Hello&, const Hello&) = default;
};

// Daemon to client, the answer. With it come descriptors: the arena's file, then, if there are
// rings, the ring file and the daemon's eventfd.
struct Welcome {
  uint16_t version = kProtocolVersionMax;
  uint32_t heartbeat_interval_ms = 0;
  uint64_t daemon_epoch = 0;  // changes whenever the daemon starts
  SessionId session;
  std::array<uint8_t, 16> arena_uuid = {};
  uint64_t arena_data_bytes = 0;
  uint32_t arena_granule_bytes = 0;
  uint32_t request_ring_bytes = 0;  // both 0: plain frames on the socket
  uint32_t reply_ring_bytes = 0;

  bool has_rings() const { return request_ring_bytes != 0; }
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

// Payloads of the frames. Decoders accept what the encoders write and nothing else; the error is
// INVALID_ARGUMENT and names the field.
absl::StatusOr<std::vector<uint8_t>> EncodeHello(const Hello& hello);
absl::StatusOr<Hello> DecodeHello(std::span<const uint8_t> payload);

std::vector<uint8_t> EncodeWelcome(const Welcome& welcome);
absl::StatusOr<Welcome> DecodeWelcome(std::span<const uint8_t> payload);

// A refusal is the status in the frame's header and its message, cut to kRefusalBytesMax, as
// payload. Decoding gives back that status, never OK.
std::vector<uint8_t> EncodeRefusal(const absl::Status& why);
absl::Status DecodeRefusal(const Frame& frame);

}  // namespace larder

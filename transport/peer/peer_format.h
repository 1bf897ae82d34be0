// The bytes of the protocol between nodes: one header for all frames, and what the two sides say
// when they meet. docs/formats/peer_protocol.md describes them; everything is little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport/peer/peer_transport.h"

namespace larder {

inline constexpr uint32_t kPeerFrameMagic = 0x4e52444c;  // "LDRN"

// Versions of everything behind the handshake, whose own layout never changes.
inline constexpr uint16_t kPeerVersionMin = 1;
inline constexpr uint16_t kPeerVersionMax = 1;

enum class PeerFrameKind : uint16_t {
  // Handshake, in this order; the payloads are below.
  kHello = 1,      // dialler
  kChallenge = 2,  // acceptor
  kProof = 3,      // dialler
  kWelcome = 4,    // acceptor
  kRefused = 5,    // either side, instead of any of the above
  // Traffic.
  kMessage = 16,     // window, position: as of SendAfter, or 0
  kWrite = 17,       // payload to position of window
  kRead = 18,        // payload: PeerReadRequest
  kReadFailed = 19,  // window: the reply window; no payload
  kPing = 20,        // position: comes back in the pong
  kPong = 21,
  kTaken = 22,  // position: how many kWrite frames with kPeerFlagWantsTaken came on this connection
};

// The payload has no sum of its own here; payload_crc is 0. Only in kWrite.
inline constexpr uint16_t kPeerFlagContentSum = 1;
// The receiver answers with kTaken. Only in kWrite.
inline constexpr uint16_t kPeerFlagWantsTaken = 2;

struct PeerFrameHeader {
  uint32_t magic;
  uint16_t kind;
  uint16_t flags;
  uint32_t payload_bytes;
  uint32_t payload_crc;  // CRC32C
  uint64_t window;
  uint64_t position;
  uint32_t reserved;    // zero
  uint32_t header_crc;  // CRC32C of the 36 bytes before it
};
static_assert(sizeof(PeerFrameHeader) == 40);
static_assert(offsetof(PeerFrameHeader, kind) == 4);
static_assert(offsetof(PeerFrameHeader, flags) == 6);
static_assert(offsetof(PeerFrameHeader, payload_bytes) == 8);
static_assert(offsetof(PeerFrameHeader, payload_crc) == 12);
static_assert(offsetof(PeerFrameHeader, window) == 16);
static_assert(offsetof(PeerFrameHeader, position) == 24);
static_assert(offsetof(PeerFrameHeader, reserved) == 32);
static_assert(offsetof(PeerFrameHeader, header_crc) == 36);

// Payloads by kind: a write's piece is bounded so that a message need not wait long behind it.
inline constexpr uint32_t kPeerPieceBytesMax = 1 << 20;
inline constexpr uint32_t kPeerHandshakeBytesMax = 512;
inline constexpr size_t kPeerRefusalTextMax = 256;

struct PeerReadRequest {
  uint64_t reply_window;  // above kWindowMax; the bytes come as writes to it
  uint64_t bytes;
  uint32_t sum;          // 1: by the transport, 0: by the content
  uint32_t deadline_ms;  // from now
};
static_assert(sizeof(PeerReadRequest) == 24);
// Ranges are of the address space.
inline constexpr uint64_t kPeerReadBytesMax = uint64_t{1} << 47;

inline constexpr size_t kPeerNonceBytes = 32;
inline constexpr size_t kPeerProofBytes = 32;  // HMAC-SHA256

}  // namespace larder

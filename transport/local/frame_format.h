// The bytes of the local transport: frames, and the control page in front of the two shared rings.
// docs/formats/local_protocol.md describes them byte by byte; everything is little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

namespace larder {

inline constexpr uint32_t kFrameMagic = 0x4652444c;    // "LDRF"
inline constexpr uint32_t kPaddingMagic = 0x5052444c;  // "LDRP"
inline constexpr uint32_t kRingMagic = 0x5252444c;     // "LDRR"

// The layout of the header below. What the operations mean is a version of its own, agreed on in
// the handshake.
inline constexpr uint16_t kFrameVersion = 1;
inline constexpr uint16_t kRingVersion = 1;

// Header and payload together. Holds a batch of several thousand 16-byte hashes.
inline constexpr uint32_t kFrameBytesMax = 256 * 1024;

struct FrameHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t opcode;
  uint32_t frame_bytes;  // header and payload, without the padding to kFrameAlignmentBytes
  uint32_t status;       // an absl::StatusCode in replies, 0 in requests
  uint64_t request_id;
  uint64_t reserved;  // zero
};
static_assert(sizeof(FrameHeader) == 32);
static_assert(offsetof(FrameHeader, opcode) == 6);
static_assert(offsetof(FrameHeader, frame_bytes) == 8);
static_assert(offsetof(FrameHeader, status) == 12);
static_assert(offsetof(FrameHeader, request_id) == 16);
static_assert(offsetof(FrameHeader, reserved) == 24);

inline constexpr uint32_t kFramePayloadBytesMax = kFrameBytesMax - sizeof(FrameHeader);

// Opcodes of the handshake; those of the operations begin at kFirstOperationOpcode.
inline constexpr uint16_t kOpcodeHello = 1;
inline constexpr uint16_t kOpcodeWelcome = 2;
inline constexpr uint16_t kOpcodeRefused = 3;
inline constexpr uint16_t kFirstOperationOpcode = 16;

// The highest absl::StatusCode; a higher number in a frame is malformed.
inline constexpr uint32_t kStatusCodeMax = 16;

// Frames in a ring start at multiples of this and never cross the ring's end.
inline constexpr uint32_t kFrameAlignmentBytes = 8;

// Fills a ring from a position to its end when the next frame goes to the beginning.
struct PaddingHeader {
  uint32_t magic;
  uint32_t padding_bytes;  // this header included
};
static_assert(sizeof(PaddingHeader) == kFrameAlignmentBytes);

// A ring has a power of two of bytes. The least size is two frames of the greatest size, so that
// any frame fits into an empty ring wherever its position stands.
inline constexpr uint32_t kRingBytesMin = 2 * kFrameBytesMax;
inline constexpr uint32_t kRingBytesMax = 64 * kFrameBytesMax;
inline constexpr uint32_t kRingBytesDefault = kRingBytesMin;

inline constexpr size_t kCacheLineBytes = 64;

// The shared state of one ring. A position counts the bytes ever produced or consumed; the byte is
// at position modulo ring size. Each field has one writer in good times and its own cache line.
struct RingPositions {
  alignas(kCacheLineBytes) uint64_t producer_position;
  alignas(kCacheLineBytes) uint64_t consumer_position;
  // 1 while the consumer sleeps or is about to; whoever sets it back to 0 owes the wake-up. In the
  // reply ring this is the futex word.
  alignas(kCacheLineBytes) uint32_t consumer_waiting;
};
static_assert(sizeof(RingPositions) == 3 * kCacheLineBytes);

struct RingControl {
  uint32_t magic;
  uint16_t version;
  uint16_t reserved;  // zero
  uint32_t request_ring_bytes;
  uint32_t reply_ring_bytes;
  RingPositions request;  // client to daemon
  RingPositions reply;    // daemon to client
  alignas(kCacheLineBytes) uint64_t client_heartbeat;
  alignas(kCacheLineBytes) uint64_t server_heartbeat;
  // 1 once the daemon has ended the session: its leases and views are void.
  alignas(kCacheLineBytes) uint32_t revoked;
};
static_assert(offsetof(RingControl, request_ring_bytes) == 8);
static_assert(offsetof(RingControl, request) == 64);
static_assert(offsetof(RingControl, reply) == 256);
static_assert(offsetof(RingControl, client_heartbeat) == 448);
static_assert(offsetof(RingControl, server_heartbeat) == 512);
static_assert(offsetof(RingControl, revoked) == 576);
static_assert(sizeof(RingControl) == 640);

// The shared file: the control page, the request ring, the reply ring.
inline constexpr uint32_t kRingControlBytes = 4096;
static_assert(sizeof(RingControl) <= kRingControlBytes);

}  // namespace larder

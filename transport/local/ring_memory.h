// The shared file behind a session's two rings.
#pragma once

#include <cstdint>
#include <span>

#include "common/file_descriptor.h"
#include "common/status.h"
#include "transport/local/frame_format.h"

namespace larder {

// Owns one mapping of the file: control page, request ring, reply ring. Movable; the bytes are
// shared with the peer. The daemon creates the file and seals its size, so that no client can
// truncate it under the daemon; pages come into being as they are touched.
class RingMemory {
 public:
  // The daemon's side. INVALID_ARGUMENT unless both sizes are powers of two within
  // [kRingBytesMin, kRingBytesMax].
  static absl::StatusOr<RingMemory> Create(uint32_t request_ring_bytes, uint32_t reply_ring_bytes);

  // The client's side: maps a received file after checking its seals, its size and its control
  // page against the sizes that the handshake announced.
  static absl::StatusOr<RingMemory> Open(FileDescriptor file, uint32_t request_ring_bytes,
                                         uint32_t reply_ring_bytes);

  RingControl* control() const { return reinterpret_cast<RingControl*>(mapping_.data()); }
  std::span<uint8_t> request_ring() const {
    return mapping_.bytes().subspan(kRingControlBytes, request_ring_bytes_);
  }
  std::span<uint8_t> reply_ring() const {
    return mapping_.bytes().subspan(kRingControlBytes + request_ring_bytes_);
  }

  // The file, to be sent to the client; REQUIRES: Create made this. A session needs it no longer
  // once it is sent.
  const FileDescriptor& file() const { return file_; }
  void CloseFile() { file_.Reset(); }

 private:
  RingMemory(FileDescriptor file, MemoryMapping mapping, uint32_t request_ring_bytes)
      : file_(std::move(file)),
        mapping_(std::move(mapping)),
        request_ring_bytes_(request_ring_bytes) {}

  FileDescriptor file_;
  MemoryMapping mapping_;
  uint32_t request_ring_bytes_;
};

}  // namespace larder

// Stored chunks in place: reading them without a copy.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "client/keys.h"
#include "common/clock.h"
#include "common/status.h"
#include "kernels/format/container.h"
#include "kernels/format/manifest.h"

namespace larder {

class Connection;
struct SpaceState;

// The longest stored prefix of the keys that were asked for, held by a lease: its bytes stay where
// they are while the view lives and `intact()` is true. Movable; const methods are thread-safe.
// The bytes are shared with the daemon and this tenant's other processes: treat them as read-only.
class ChunkView {
 public:
  // One stored container of a chunk, unparsed.
  struct Extent {
    std::span<const uint8_t> bytes;
    Part part;
  };

  ChunkView() = default;
  ChunkView(ChunkView&& other) noexcept { *this = std::move(other); }
  ChunkView& operator=(ChunkView&& other) noexcept;
  ~ChunkView() { Release(); }

  size_t chunks() const { return first_extent_.empty() ? 0 : first_extent_.size() - 1; }

  // False once the daemon has died or ended the session: what was read in place since may be wrong.
  bool intact() const;

  // How many chunks after these are on their way from disk.
  uint32_t coming() const { return coming_; }

  // The containers of a chunk that overlap the wanted part; one, unless ranks wrote it in slices.
  std::span<const Extent> extents(size_t chunk) const {
    return std::span(extents_).subspan(first_extent_[chunk],
                                       first_extent_[chunk + 1] - first_extent_[chunk]);
  }

  // Checks the metadata of one container and gives access to its planes. DATA_LOSS when it is not
  // the chunk that was asked for. The planes' bytes are checked by ContainerView::VerifyBodies.
  absl::StatusOr<ContainerView> Open(size_t chunk, size_t container = 0) const;

 private:
  friend absl::StatusOr<ChunkView> AcquireView(std::shared_ptr<Connection> connection,
                                               std::shared_ptr<SpaceState> space, uint32_t handle,
                                               const KeySpan& keys, const Part& part,
                                               MonotonicTime deadline, bool wait_for_all,
                                               bool local_only);

  void Release();

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<SpaceState> space_;
  uint64_t lease_ = 0;
  uint32_t coming_ = 0;
  std::vector<uint8_t> key_bytes_;
  KeySpan keys_;  // into key_bytes_
  std::vector<Extent> extents_;
  std::vector<uint32_t> first_extent_;  // of each chunk, and the end
};

// At most kMessageKeysMax keys. The reply is checked: extents lie in the arena, none is missing.
// Chunks on disk are brought into memory; this waits a little for the first of them, or for all,
// and the view tells how many are still on their way.
absl::StatusOr<ChunkView> AcquireView(std::shared_ptr<Connection> connection,
                                      std::shared_ptr<SpaceState> space, uint32_t handle,
                                      const KeySpan& keys, const Part& part, MonotonicTime deadline,
                                      bool wait_for_all, bool local_only);

// Whether there is time for another AcquireView. One that ends without an answer would make the
// daemon pass for dead, where only its disk is slow.
bool CanAskAgain(MonotonicTime deadline);

}  // namespace larder

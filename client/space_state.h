// What a client knows of one space, whatever daemon it is connected to.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "common/ids.h"
#include "kernels/format/coded_container.h"
#include "kernels/format/manifest.h"

namespace larder {

// Shared by all handles of the space. Thread-safe: the description never changes.
struct SpaceState {
  std::string tenant;
  std::string salt;
  Manifest manifest;
  SpaceId id;
  ManifestId manifest_id;
  std::shared_ptr<const ContainerCodecs> codecs;

  // The daemon's handle in the low half, the generation of the connection it belongs to in the high
  // one; 0: not open anywhere.
  std::atomic<uint64_t> handle{0};

  std::mutex mutex;
  std::string note;  // guarded by mutex
};

}  // namespace larder

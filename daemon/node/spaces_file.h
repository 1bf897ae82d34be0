// Remembers over restarts which spaces exist, so that recovered blocks can be understood.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/status.h"
#include "daemon/core/core_types.h"

namespace larder {

std::vector<uint8_t> EncodeSpaces(std::span<const SpaceDescription> spaces);

// DATA_LOSS naming what is wrong; never a part of the list.
absl::StatusOr<std::vector<SpaceDescription>> DecodeSpaces(std::span<const uint8_t> bytes);

// Replaces the file in one step: whoever is killed midway leaves the old one or the new one.
absl::Status WriteSpacesFile(const std::string& path, std::span<const SpaceDescription> spaces);

// Empty when there is no such file.
absl::StatusOr<std::vector<SpaceDescription>> ReadSpacesFile(const std::string& path);

// Keeps a spaces file on a disk, which may take long to answer or never do: a thread of its own
// writes it, so that power losses leave the old one or the new one too. Thread-safe.
class SpacesFileKeeper {
 public:
  explicit SpacesFileKeeper(std::string path);
  // Waits for what is being written, and writes what is not yet.
  ~SpacesFileKeeper();

  // Returns at once. Of several lists that wait the last one is written. What goes wrong is logged.
  void Write(std::span<const SpaceDescription> spaces);

 private:
  void Run();

  const std::string path_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::vector<uint8_t>> waiting_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace larder

// What the tests of the arena share.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include "gtest/gtest.h"

namespace larder {

// An empty directory on the memory file system (or the temporary directory where there is none),
// removed with all that is in it at the end.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const bool in_memory = access("/dev/shm", W_OK) == 0;
    path_ = (in_memory ? std::string("/dev/shm") : ::testing::TempDir()) +
            "/larder-storage-test-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
    EXPECT_FALSE(path_.empty()) << "no scratch directory";
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Polls until `condition` holds; false when it does not within 30 seconds.
template <typename Condition>
bool WaitUntil(Condition condition) {
  for (int tries = 0; tries < 30000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace larder

// A directory for the files of one benchmark.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace larder {

// A new directory below another, removed with all that is in it at the end. Movable.
class BenchDirectory {
 public:
  static absl::StatusOr<BenchDirectory> Create(const std::string& parent) {
    std::string pattern = std::filesystem::path(parent) / "larder-bench-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) {
      return ErrnoStatus(errno, absl::StrCat("making a directory in ", parent));
    }
    return BenchDirectory(std::move(pattern));
  }
  BenchDirectory(BenchDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  BenchDirectory& operator=(BenchDirectory&&) = delete;
  ~BenchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  explicit BenchDirectory(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace larder

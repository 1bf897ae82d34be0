// A growing array whose elements never move: growth adds a page and copies nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace larder {

// Owns its elements. Not thread-safe. Growth costs one allocation per page, never a pause to copy.
template <typename T, size_t kPageElements = 4096>
class PagedVector {
  static_assert((kPageElements & (kPageElements - 1)) == 0, "indexing uses a shift and a mask");

 public:
  T& operator[](size_t index) { return pages_[index / kPageElements][index % kPageElements]; }
  const T& operator[](size_t index) const {
    return pages_[index / kPageElements][index % kPageElements];
  }

  // Makes elements [size, new_size) exist, value-initialised.
  void GrowTo(size_t new_size) {
    while (pages_.size() * kPageElements < new_size) {
      pages_.push_back(std::make_unique<T[]>(kPageElements));
    }
    if (new_size > size_) size_ = new_size;
  }

  size_t size() const { return size_; }

 private:
  std::vector<std::unique_ptr<T[]>> pages_;
  size_t size_ = 0;
};

}  // namespace larder

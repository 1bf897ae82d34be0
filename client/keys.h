// A list of engine keys without copies: engines keep their block hashes side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/hash.h"
#include "common/ids.h"

namespace larder {

// `count` keys of `key_bytes` (1 to 64) each, back to back, shallowest first; key i is the parent
// of key i + 1. Does not own the bytes. Thread-safe while nobody writes them.
class KeySpan {
 public:
  KeySpan() = default;
  KeySpan(const uint8_t* data, size_t key_bytes, size_t count)
      : data_(data), key_bytes_(key_bytes), count_(count) {}
  KeySpan(const std::vector<Sha256Digest>& digests)  // NOLINT: a natural conversion
      : KeySpan(digests.empty() ? nullptr : digests.front().data(), sizeof(Sha256Digest),
                digests.size()) {}

  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  size_t key_bytes() const { return key_bytes_; }
  std::span<const uint8_t> operator[](size_t index) const {
    return {data_ + index * key_bytes_, key_bytes_};
  }
  KeySpan Subspan(size_t first, size_t count) const {
    return {data_ + first * key_bytes_, key_bytes_, count};
  }

 private:
  const uint8_t* data_ = nullptr;
  size_t key_bytes_ = 0;
  size_t count_ = 0;
};

}  // namespace larder

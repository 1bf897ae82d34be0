// Memory that a codec works in, kept between calls so that none of them allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

namespace larder {

// Not thread-safe: one for each thread. Contents do not survive the next Take.
class CodecScratch {
 public:
  // `bytes` of memory, aligned to a cache line, valid until the next call. Grows, never shrinks.
  std::span<uint8_t> Take(size_t bytes) {
    if (bytes > capacity_) {
      memory_.reset(static_cast<uint8_t*>(::operator new(bytes, kAlignment)));
      capacity_ = bytes;
    }
    return {memory_.get(), bytes};
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(uint8_t* memory) const { ::operator delete(memory, kAlignment); }
  };

  std::unique_ptr<uint8_t, Delete> memory_;
  size_t capacity_ = 0;
};

}  // namespace larder

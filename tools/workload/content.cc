#include "tools/workload/content.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "common/byte_order.h"

namespace larder {
namespace {

constexpr size_t kWordBytes = 8;
constexpr size_t kCacheLineBytes = 64;
// What CheckContent compares at a time: small enough that the expected bytes stay in the cache.
constexpr size_t kCheckBlockBytes = 1024;
// How far ahead of the comparison memory is asked for. Without it the check of bytes that are not
// in the cache runs at a third of the memory's rate, as the generator fills the processor's window.
constexpr size_t kPrefetchDistanceBytes = 2048;

// The sequence as 64-bit little-endian words, each computable on its own. This is wyrand (Wang Yi,
// wyhash) used as a function of a counter: one wide multiplication a word. Start and mask both come
// from the key, which is a hash, so that no key's sequence is another's shifted.
class WordSequence {
 public:
  WordSequence(KeyHash key, uint64_t first_word)
      : counter_(key.low + first_word * kStep), mask_(key.high ^ kMask) {}

  uint64_t Next() {
    const auto product = static_cast<unsigned __int128>(counter_) * (counter_ ^ mask_);
    counter_ += kStep;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

 private:
  static constexpr uint64_t kStep = 0xa0761d6478bd642fu;
  static constexpr uint64_t kMask = 0xe7037ed1a0b428dbu;

  uint64_t counter_;
  const uint64_t mask_;
};

// Writes the bytes of one word from `byte_offset` on; `out` does not reach into the next word.
void FillInsideWord(KeyHash key, uint64_t byte_offset, std::span<uint8_t> out) {
  std::array<uint8_t, kWordBytes> word;
  StoreLittleEndian(word.data(), WordSequence(key, byte_offset / kWordBytes).Next());
  std::copy_n(word.begin() + byte_offset % kWordBytes, out.size(), out.begin());
}

}  // namespace

void FillContent(KeyHash key, uint64_t byte_offset, std::span<uint8_t> out) {
  const uint64_t to_boundary = (kWordBytes - byte_offset % kWordBytes) % kWordBytes;
  const size_t head = std::min<size_t>(to_boundary, out.size());
  FillInsideWord(key, byte_offset, out.first(head));
  const size_t tail = (out.size() - head) % kWordBytes;
  const size_t words_end = out.size() - tail;
  WordSequence words(key, (byte_offset + head) / kWordBytes);
  for (size_t at = head; at < words_end; at += kWordBytes) {
    StoreLittleEndian(out.data() + at, words.Next());
  }
  FillInsideWord(key, byte_offset + words_end, out.last(tail));
}

size_t CheckContent(KeyHash key, uint64_t byte_offset, std::span<const uint8_t> bytes) {
  std::array<uint8_t, kCheckBlockBytes> expected;
  for (size_t begin = 0; begin < bytes.size(); begin += kCheckBlockBytes) {
    const auto block = bytes.subspan(begin, std::min(kCheckBlockBytes, bytes.size() - begin));
    if (bytes.size() - begin > kPrefetchDistanceBytes + kCheckBlockBytes) {
      for (size_t line = 0; line < kCheckBlockBytes; line += kCacheLineBytes) {
        __builtin_prefetch(block.data() + kPrefetchDistanceBytes + line);
      }
    }
    FillContent(key, byte_offset + begin, std::span<uint8_t>(expected).first(block.size()));
    if (std::memcmp(block.data(), expected.data(), block.size()) != 0) {
      const auto wrong = std::mismatch(block.begin(), block.end(), expected.begin()).first;
      return begin + static_cast<size_t>(wrong - block.begin());
    }
  }
  return bytes.size();
}

Sha256Digest KeyBytes(absl::string_view name_space, uint64_t block_id) {
  std::vector<uint8_t> input(name_space.size() + sizeof block_id);
  std::copy(name_space.begin(), name_space.end(), input.begin());
  StoreLittleEndian(input.data() + name_space.size(), block_id);
  return Sha256(input);
}

}  // namespace larder

#include "common/crc32c.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "common/crc32c_portable.h"
#include "common/file_descriptor.h"
#include "common/random.h"

namespace larder {
namespace {

using Bytes = std::vector<uint8_t>;

// One bit at a time, straight from the definition.
uint32_t BitwiseCrc32c(std::span<const uint8_t> bytes, uint32_t crc) {
  crc = ~crc;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

uint32_t PortableSum(std::span<const uint8_t> bytes, uint32_t crc) {
  return ~AdvanceCrcPortable(bytes, ~crc);
}
uint32_t PortableCopy(uint8_t* destination, std::span<const uint8_t> source, uint32_t crc) {
  return ~CopyAndAdvanceCrcPortable(destination, source, ~crc);
}

uint32_t Copy(uint8_t* destination, std::span<const uint8_t> source, uint32_t crc) {
  return CopyAndCrc32c(destination, source, crc);
}
uint32_t CopyPart(uint8_t* destination, std::span<const uint8_t> source, uint32_t crc) {
  return CopyAndCrc32c(destination, source, crc, /*whole_bytes=*/uint64_t{64} << 20);
}

struct Implementation {
  const char* name;
  uint32_t (*sum)(std::span<const uint8_t>, uint32_t);
  uint32_t (*copy)(uint8_t*, std::span<const uint8_t>, uint32_t);
};

Bytes RandomBytes(size_t size, uint64_t seed) {
  SeededRandom random(seed);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

class Crc32cTest : public testing::TestWithParam<Implementation> {
 protected:
  uint32_t Sum(std::span<const uint8_t> bytes, uint32_t crc = 0) {
    return GetParam().sum(bytes, crc);
  }

  // Copies `source` to `offset` bytes past a cache line and checks the copy and its surroundings.
  uint32_t CheckedCopy(std::span<const uint8_t> source, size_t offset, uint32_t crc) {
    constexpr uint8_t kGuard = 0xa5;
    constexpr size_t kGuardBytes = 128;
    buffer_.assign(kGuardBytes + 64 + offset + source.size() + kGuardBytes, kGuard);
    const size_t past_line = reinterpret_cast<uintptr_t>(buffer_.data()) % 64;
    const size_t begin = kGuardBytes + (64 - past_line) % 64 + offset;
    const uint32_t result = GetParam().copy(buffer_.data() + begin, source, crc);
    const auto copy = std::span(buffer_).subspan(begin, source.size());
    EXPECT_TRUE(std::equal(copy.begin(), copy.end(), source.begin()));
    const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
    EXPECT_TRUE(std::all_of(buffer_.begin(), buffer_.begin() + begin, is_guard));
    EXPECT_TRUE(std::all_of(buffer_.begin() + begin + source.size(), buffer_.end(), is_guard));
    return result;
  }

 private:
  Bytes buffer_;
};

INSTANTIATE_TEST_SUITE_P(All, Crc32cTest,
                         testing::Values(Implementation{"Dispatched", Crc32c, Copy},
                                         Implementation{"PartOfLarge", Crc32c, CopyPart},
                                         Implementation{"Portable", PortableSum, PortableCopy}),
                         [](const auto& param_info) { return param_info.param.name; });

TEST_P(Crc32cTest, VectorsOfRfc3720) {
  const Bytes zeros(32, 0x00), ones(32, 0xff);
  Bytes rising(32);
  std::iota(rising.begin(), rising.end(), 0);
  const Bytes falling(rising.rbegin(), rising.rend());
  const Bytes read_command = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                              0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                              0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  ASSERT_EQ(read_command.size(), 48u);
  EXPECT_EQ(Sum(zeros), 0x8a9136aau);
  EXPECT_EQ(Sum(ones), 0x62a8ab43u);
  EXPECT_EQ(Sum(rising), 0x46dd794eu);
  EXPECT_EQ(Sum(falling), 0x113fdb5cu);
  EXPECT_EQ(Sum(read_command), 0xd9963a56u);
}

TEST_P(Crc32cTest, NothingLeavesTheSumAsItWas) {
  EXPECT_EQ(Sum({}), 0u);
  EXPECT_EQ(Sum({}, 0x12345678u), 0x12345678u);
  EXPECT_EQ(CheckedCopy({}, 3, 0x12345678u), 0x12345678u);
  EXPECT_EQ(GetParam().copy(nullptr, {}, 7), 7u);
}

TEST_P(Crc32cTest, EveryShortLength) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const Bytes bytes = RandomBytes(2200, kSeed);
  SeededRandom random(kSeed + 1);
  for (size_t size = 0; size <= 2000; ++size) {
    const size_t from = random.Below(130), to = random.Below(64);
    SCOPED_TRACE(testing::Message() << "size " << size << " from " << from << " to " << to);
    const uint32_t crc = static_cast<uint32_t>(random.Next());
    const auto source = std::span(bytes).subspan(from, size);
    const uint32_t expected = BitwiseCrc32c(source, crc);
    ASSERT_EQ(Sum(source, crc), expected);
    ASSERT_EQ(CheckedCopy(source, to, crc), expected);
  }
}

TEST_P(Crc32cTest, EveryAlignmentOfSourceAndDestination) {
  const Bytes bytes = RandomBytes(2200, 21);
  for (const size_t size : {63, 64, 511, 512, 577, 1600, 2111}) {
    for (size_t from = 0; from < 64; ++from) {
      const auto source = std::span(bytes).subspan(from, size);
      const uint32_t expected = BitwiseCrc32c(source, 5);
      ASSERT_EQ(Sum(source, 5), expected) << size << " from " << from;
      for (size_t to = 0; to < 64; ++to) {
        ASSERT_EQ(CheckedCopy(source, to, 5), expected) << size << " from " << from << " to " << to;
      }
    }
  }
}

// Large enough for the stores that bypass the cache, and for more than one tile.
TEST_P(Crc32cTest, LargeCopies) {
  const Bytes bytes = RandomBytes((size_t{4} << 20) + 4096, 31);
  for (const size_t extra : {0, 1, 64, 700}) {
    for (const size_t to : {0, 1, 63}) {
      const auto source = std::span(bytes).subspan(to + 7, (size_t{4} << 20) + extra);
      const uint32_t expected = BitwiseCrc32c(source, 9);
      ASSERT_EQ(Sum(source, 9), expected) << extra << " to " << to;
      ASSERT_EQ(CheckedCopy(source, to, 9), expected) << extra << " to " << to;
    }
  }
}

TEST_P(Crc32cTest, PiecesCarryTheSumOfTheWhole) {
  constexpr uint64_t kSeed = 41;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const Bytes bytes = RandomBytes(100'000, kSeed);
  const uint32_t expected = BitwiseCrc32c(bytes, 0);
  SeededRandom random(kSeed + 1);
  for (int round = 0; round < 20; ++round) {
    uint32_t summed = 0, copied = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(bytes.size() - at, random.Below(9000));
      const auto piece = std::span(bytes).subspan(at, size);
      summed = Sum(piece, summed);
      copied = CheckedCopy(piece, random.Below(64), copied);
      at += size;
    }
    ASSERT_EQ(summed, expected);
    ASSERT_EQ(copied, expected);
  }
}

TEST_P(Crc32cTest, EverySingleBitMatters) {
  Bytes bytes = RandomBytes(1500, 51);
  const uint32_t original = Sum(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= 1u << (bit % 8);
    ASSERT_NE(Sum(bytes), original) << "bit " << bit;
    bytes[bit / 8] ^= 1u << (bit % 8);
  }
}

// The writer is a process of its own, as a client that scribbles over its memory would be.
class ScribblingProcess {
 public:
  explicit ScribblingProcess(std::span<uint8_t> shared) {
    child_ = fork();
    if (child_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint64_t value = 1;; ++value) {
      for (size_t at = 0; at < shared.size(); at += sizeof value) {
        std::atomic_ref(*reinterpret_cast<uint64_t*>(&shared[at])).store(value);
      }
    }
  }
  ~ScribblingProcess() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  ScribblingProcess(const ScribblingProcess&) = delete;
  ScribblingProcess& operator=(const ScribblingProcess&) = delete;

  bool started() const { return child_ > 0; }

 private:
  pid_t child_ = -1;
};

TEST_P(Crc32cTest, SumsWhatItStoredWhileAnotherProcessWrites) {
  constexpr size_t kBytes = size_t{64} << 10;
  constexpr int kCopiesMax = 1'000'000;
  constexpr int kChangedCopiesWanted = 200;
  const FileDescriptor fd(memfd_create("crc32c_test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(fd.get(), kBytes), 0);
  const auto mapping = MemoryMapping::MapShared(fd, kBytes, /*writable=*/true);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const ScribblingProcess writer(mapping->bytes());
  ASSERT_TRUE(writer.started());
  const auto source = mapping->bytes().first(kBytes - 37);
  Bytes copy(kBytes), previous(kBytes);
  int changed_copies = 0;
  for (int i = 0; i < kCopiesMax && changed_copies < kChangedCopiesWanted; ++i) {
    const uint32_t crc = GetParam().copy(copy.data(), source, 0);
    ASSERT_EQ(crc, Sum(std::span(copy).first(source.size())));
    if (copy != previous) ++changed_copies;
    previous = copy;
  }
  EXPECT_EQ(changed_copies, kChangedCopiesWanted);
}

}  // namespace
}  // namespace larder

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/arena/extent_allocator.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kGranule = 4096;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

TEST(ExtentAllocatorTest, StartsAsOneFreeRange) {
  const ExtentAllocator allocator(16 * kGranule + 5, kGranule);
  EXPECT_EQ(allocator.capacity_bytes(), 16 * kGranule);
  EXPECT_EQ(allocator.free_bytes(), 16 * kGranule);
  EXPECT_EQ(allocator.largest_free_bytes(), 16 * kGranule);
  EXPECT_EQ(allocator.free_range_count(), 1u);
}

TEST(ExtentAllocatorTest, EmptySpaceHasNothing) {
  ExtentAllocator allocator(0, kGranule);
  EXPECT_EQ(allocator.Allocate(1), std::nullopt);
  EXPECT_EQ(allocator.largest_free_bytes(), 0u);
  EXPECT_EQ(allocator.free_range_count(), 0u);
}

TEST(ExtentAllocatorTest, RefusesZeroAndWhatCannotFit) {
  ExtentAllocator allocator(16 * kGranule, kGranule);
  EXPECT_EQ(allocator.Allocate(0), std::nullopt);
  EXPECT_EQ(allocator.Allocate(16 * kGranule + 1), std::nullopt);
  EXPECT_EQ(allocator.Allocate(UINT64_MAX), std::nullopt);
  EXPECT_EQ(allocator.free_bytes(), 16 * kGranule);
}

TEST(ExtentAllocatorTest, TakesTheSmallestRangeThatFitsAndTheLowestAmongEquals) {
  ExtentAllocator allocator(32 * kGranule, kGranule);
  // Free ranges of 4, 2, 3 and 2 granules, kept apart by taken ones.
  for (const auto& [begin, end] : {std::pair{0, 1}, {5, 6}, {8, 9}, {12, 13}, {15, 32}}) {
    ASSERT_TRUE(allocator.Claim(begin * kGranule, (end - begin) * kGranule).ok());
  }
  EXPECT_EQ(allocator.Allocate(2 * kGranule), 6 * kGranule);
  EXPECT_EQ(allocator.Allocate(kGranule + 1), 13 * kGranule);
  EXPECT_EQ(allocator.Allocate(2 * kGranule), 9 * kGranule);
  EXPECT_EQ(allocator.Allocate(5 * kGranule), std::nullopt);
  EXPECT_EQ(allocator.Allocate(4 * kGranule), 1 * kGranule);
  EXPECT_EQ(allocator.Allocate(1), 11 * kGranule);
  EXPECT_EQ(allocator.free_bytes(), 0u);
}

TEST(ExtentAllocatorTest, FreedNeighboursJoinAtOnce) {
  ExtentAllocator allocator(3 * kGranule, kGranule);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(allocator.Allocate(kGranule).has_value());
  allocator.Free(0, kGranule);
  allocator.Free(2 * kGranule, 1);
  EXPECT_EQ(allocator.free_range_count(), 2u);
  allocator.Free(kGranule, kGranule);
  EXPECT_EQ(allocator.free_range_count(), 1u);
  EXPECT_EQ(allocator.largest_free_bytes(), 3 * kGranule);
}

TEST(ExtentAllocatorTest, ClaimNamesWhatIsWrong) {
  ExtentAllocator allocator(16 * kGranule, kGranule);
  ASSERT_TRUE(allocator.Claim(4 * kGranule, 2 * kGranule).ok());
  const absl::Status overlap = allocator.Claim(3 * kGranule, 8 * kGranule);
  EXPECT_EQ(overlap.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(overlap.message(), HasSubstr("overlaps bytes [16384, 24576) that are taken"));
  const absl::Status inside = allocator.Claim(5 * kGranule, 1);
  EXPECT_EQ(inside.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(inside.message(), HasSubstr("overlaps bytes [20480, 24576)"));
  EXPECT_EQ(allocator.Claim(kGranule / 2, kGranule).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator.Claim(0, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator.Claim(15 * kGranule, 2 * kGranule).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator.Claim(UINT64_MAX - kGranule + 1, kGranule).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator.Claim(0, UINT64_MAX).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator.free_bytes(), 14 * kGranule);
}

TEST(ExtentAllocatorTest, GrowsIntoUsableMemory) {
  ExtentAllocator allocator(4 * kGranule, kGranule);
  EXPECT_EQ(allocator.Allocate(6 * kGranule), std::nullopt);
  allocator.Grow(8 * kGranule + 1);
  EXPECT_EQ(allocator.capacity_bytes(), 8 * kGranule);
  EXPECT_EQ(allocator.free_range_count(), 1u);
  EXPECT_EQ(allocator.Allocate(6 * kGranule), 0u);
  allocator.Grow(8 * kGranule);
  EXPECT_EQ(allocator.free_bytes(), 2 * kGranule);
}

TEST(ExtentAllocatorDeathTest, FreeingWhatIsNotAllocatedAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ExtentAllocator allocator(16 * kGranule, kGranule);
  ASSERT_EQ(allocator.Allocate(4 * kGranule), 0u);
  EXPECT_DEATH(allocator.Free(8 * kGranule, kGranule), "check failed");      // never allocated
  EXPECT_DEATH(allocator.Free(2 * kGranule, 4 * kGranule), "check failed");  // reaches beyond
  EXPECT_DEATH(allocator.Free(0, 0), "check failed");
  EXPECT_DEATH(allocator.Free(100, kGranule), "check failed");            // misaligned
  EXPECT_DEATH(allocator.Free(16 * kGranule, kGranule), "check failed");  // out of range
  EXPECT_DEATH(allocator.Free(0, UINT64_MAX), "check failed");
  allocator.Free(0, 4 * kGranule);
  EXPECT_DEATH(allocator.Free(0, 4 * kGranule), "check failed");  // twice
}

// One byte for each granule, and the definition of best fit, word for word.
class ModelAllocator {
 public:
  explicit ModelAllocator(size_t granules) : taken_(granules, false) {}

  struct Range {
    size_t begin, size;
  };
  std::vector<Range> FreeRanges() const {
    std::vector<Range> ranges;
    for (size_t i = 0; i < taken_.size(); ++i) {
      if (taken_[i]) continue;
      if (i == 0 || taken_[i - 1]) ranges.push_back({i, 0});
      ++ranges.back().size;
    }
    return ranges;
  }
  std::optional<size_t> BestFit(size_t granules) const {
    std::optional<Range> best;
    for (const Range& range : FreeRanges()) {
      if (range.size >= granules && (!best || range.size < best->size)) best = range;
    }
    if (!best) return std::nullopt;
    return best->begin;
  }
  bool AllFree(size_t begin, size_t granules) const {
    for (size_t i = begin; i < begin + granules; ++i) {
      if (i >= taken_.size() || taken_[i]) return false;
    }
    return true;
  }
  void Set(size_t begin, size_t granules, bool taken) {
    std::fill_n(taken_.begin() + begin, granules, taken);
  }
  void Grow(size_t granules) { taken_.resize(granules, false); }
  size_t size() const { return taken_.size(); }

 private:
  std::vector<bool> taken_;
};

void ExpectSame(const ExtentAllocator& allocator, const ModelAllocator& model) {
  size_t free = 0, largest = 0;
  const std::vector<ModelAllocator::Range> ranges = model.FreeRanges();
  for (const auto& range : ranges) {
    free += range.size;
    largest = std::max(largest, range.size);
  }
  ASSERT_EQ(allocator.free_bytes(), free * kGranule);
  ASSERT_EQ(allocator.largest_free_bytes(), largest * kGranule);
  ASSERT_EQ(allocator.free_range_count(), ranges.size());
}

TEST(ExtentAllocatorTest, RandomOperationsAgreeWithAByteMap) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    ModelAllocator model(64 + random.Below(200));
    ExtentAllocator allocator(model.size() * kGranule, kGranule);
    struct Extent {
      size_t begin, granules;
    };
    std::vector<Extent> held;
    for (int step = 0; step < 1500; ++step) {
      const uint64_t choice = random.Below(20);
      const size_t granules = 1 + random.Below(random.Below(4) == 0 ? 40 : 6);
      const uint64_t bytes = granules * kGranule - random.Below(kGranule);
      if (choice < 9) {
        const std::optional<size_t> expected = model.BestFit(granules);
        const std::optional<uint64_t> offset = allocator.Allocate(bytes);
        ASSERT_EQ(offset.has_value(), expected.has_value());
        if (!offset) continue;
        ASSERT_EQ(*offset, *expected * kGranule);
        held.push_back({*expected, granules});
        model.Set(*expected, granules, true);
      } else if (choice < 17 && !held.empty()) {
        std::swap(held[random.Below(held.size())], held.back());
        allocator.Free(held.back().begin * kGranule, held.back().granules * kGranule);
        model.Set(held.back().begin, held.back().granules, false);
        held.pop_back();
      } else if (choice < 19) {
        const size_t begin = random.Below(model.size() + 4);
        const bool expected = model.AllFree(begin, granules);
        ASSERT_EQ(allocator.Claim(begin * kGranule, bytes).ok(), expected);
        if (!expected) continue;
        held.push_back({begin, granules});
        model.Set(begin, granules, true);
      } else if (model.size() < 400) {
        model.Grow(model.size() + random.Below(3));
        allocator.Grow(model.size() * kGranule);
      }
      ExpectSame(allocator, model);
    }
  }
}

// The workload behind the choice of best fit. Sizes are drawn from a distribution. Twelve times the
// arena's size is allocated while blocks picked at random are freed to stay at an occupancy: by
// then the layout has long forgotten its beginning. Then blocks are allocated without any frees
// until the first failure: `first_failure` is the share of the arena that is in use at that moment,
// counted in bytes asked for. Then four times the arena's size is allocated as a full cache does
// it, freeing blocks at random only when there is no room: `full` is the mean share in use.
//
// Random order of frees is the hardest case: least-recently-used order leaves larger holes.
struct Utilisation {
  double first_failure = 1;  // the worst over all seeds
  double full = 1;           // the same
  size_t free_ranges = 0;    // the most at the end of the churn
};

using DrawSize = std::function<uint64_t(Random&)>;

class Workload {
 public:
  Workload(uint64_t capacity_bytes, const DrawSize& draw, uint64_t seed)
      : allocator_(capacity_bytes, kGranule), draw_(draw), random_(seed) {}

  void Churn(double occupancy) {
    const double used_max = occupancy * allocator_.capacity_bytes();
    for (uint64_t turned_over = 0; turned_over < 12 * allocator_.capacity_bytes();) {
      const uint64_t bytes = draw_(random_);
      while (used_bytes_ + bytes > used_max) FreeOne();
      while (!TryAllocate(bytes)) FreeOne();
      turned_over += bytes;
    }
  }
  double FillUntilFirstFailure() {
    while (TryAllocate(draw_(random_))) {
    }
    return Share();
  }
  double RunFull() {
    double sum = 0;
    int count = 0;
    for (uint64_t turned_over = 0; turned_over < 4 * allocator_.capacity_bytes();) {
      const uint64_t bytes = draw_(random_);
      while (!TryAllocate(bytes)) FreeOne();
      turned_over += bytes;
      sum += Share();
      ++count;
    }
    return sum / count;
  }
  size_t free_ranges() const { return allocator_.free_range_count(); }

 private:
  struct Extent {
    uint64_t offset, bytes;
  };
  bool TryAllocate(uint64_t bytes) {
    const std::optional<uint64_t> offset = allocator_.Allocate(bytes);
    if (!offset) return false;
    held_.push_back({*offset, bytes});
    used_bytes_ += bytes;
    return true;
  }
  void FreeOne() {
    std::swap(held_[random_.Below(held_.size())], held_.back());
    allocator_.Free(held_.back().offset, held_.back().bytes);
    used_bytes_ -= held_.back().bytes;
    held_.pop_back();
  }
  double Share() const { return static_cast<double>(used_bytes_) / allocator_.capacity_bytes(); }

  ExtentAllocator allocator_;
  const DrawSize& draw_;
  SeededRandom random_;
  std::vector<Extent> held_;
  uint64_t used_bytes_ = 0;
};

Utilisation Measure(const std::string& name, uint64_t capacity_bytes, double occupancy,
                    const DrawSize& draw) {
  constexpr uint64_t kSeeds = 2;
  Utilisation worst;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Workload workload(capacity_bytes, draw, seed);
    workload.Churn(occupancy);
    worst.free_ranges = std::max(worst.free_ranges, workload.free_ranges());
    worst.first_failure = std::min(worst.first_failure, workload.FillUntilFirstFailure());
    worst.full = std::min(worst.full, workload.RunFull());
  }
  std::printf("%-36s churn at %.2f: worst at first failure %.4f, when full %.4f, %zu free ranges\n",
              name.c_str(), occupancy, worst.first_failure, worst.full, worst.free_ranges);
  return worst;
}

// Any size from 64 KiB to 8 MiB, each octave equally likely.
uint64_t LogUniformSize(Random& random) {
  return static_cast<uint64_t>(std::exp2(16 + 7 * random.Unit()));
}

// Chunks of 16 models and chunk lengths in one arena, 0.3 to 80 MiB.
uint64_t ModelChunkSize(Random& random) {
  constexpr uint64_t kSizesKiB[] = {320,  512,   1024,  1280,  2048,  2560,  4096,  5120,
                                    8192, 10240, 16384, 20480, 32768, 40960, 65536, 81920};
  return kSizesKiB[random.Below(std::size(kSizesKiB))] * 1024;
}

TEST(ExtentAllocatorUtilisationTest, LogUniformSizesIn8GiB) {
  EXPECT_GE(
      Measure("64 KiB..8 MiB log-uniform, 8 GiB", 8 * kGiB, 0.90, LogUniformSize).first_failure,
      0.95);
  EXPECT_GE(
      Measure("64 KiB..8 MiB log-uniform, 8 GiB", 8 * kGiB, 0.92, LogUniformSize).first_failure,
      0.95);
}

TEST(ExtentAllocatorUtilisationTest, LogUniformSizesIn16GiB) {
  EXPECT_GE(
      Measure("64 KiB..8 MiB log-uniform, 16 GiB", 16 * kGiB, 0.92, LogUniformSize).first_failure,
      0.95);
}

TEST(ExtentAllocatorUtilisationTest, ModelChunkSizesIn64GiB) {
  EXPECT_GE(
      Measure("16 chunk sizes 0.3..80 MiB, 64 GiB", 64 * kGiB, 0.90, ModelChunkSize).first_failure,
      0.95);
  EXPECT_GE(
      Measure("16 chunk sizes 0.3..80 MiB, 64 GiB", 64 * kGiB, 0.92, ModelChunkSize).first_failure,
      0.95);
}

// What a cache that is always full keeps in use is lower than the above: it only ever frees what
// the next block needs, and the holes that are left are those that nothing fits. It grows with the
// arena's size in blocks: 0.91 at 4 GiB, 0.93 at 8, 0.95 at 16 with sizes up to 8 MiB.
TEST(ExtentAllocatorUtilisationTest, AFullCacheStaysWellUsed) {
  EXPECT_GE(Measure("64 KiB..8 MiB log-uniform, 4 GiB", 4 * kGiB, 0.90, LogUniformSize).full, 0.90);
  EXPECT_GE(Measure("64 KiB..8 MiB log-uniform, 16 GiB", 16 * kGiB, 0.92, LogUniformSize).full,
            0.94);
  EXPECT_GE(Measure("16 chunk sizes 0.3..80 MiB, 64 GiB", 64 * kGiB, 0.95, ModelChunkSize).full,
            0.94);
}

TEST(ExtentAllocatorUtilisationTest, OneSizeNeverFragments) {
  EXPECT_GE(
      Measure("1 MiB only, 8 GiB", 8 * kGiB, 0.95, [](Random&) { return kMiB; }).first_failure,
      1.0);
}

}  // namespace
}  // namespace larder

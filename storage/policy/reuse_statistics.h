// What was learned about when chunks are used again, and what a chunk is therefore worth.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "storage/policy/reuse_age.h"

namespace larder {

// How often, at each age, chunks of one kind were used again and how often they just grew older.
// Old counts fade, so that the statistics follow the load.
struct ReuseHistogram {
  std::array<float, kAgeBuckets> reused{};
  std::array<float, kAgeBuckets> survived{};    // reached the next bucket without being used
  std::array<uint32_t, kAgeBuckets> present{};  // are in this bucket now
  uint64_t faded_at_event = 0;

  // The share of those in the bucket that are used before they leave it. Where there are few
  // observations, `prior` counts as `prior_weight` of them.
  double Hazard(size_t bucket, double prior, double prior_weight) const {
    const double seen = reused[bucket] + survived[bucket] + 0.5 * present[bucket];
    return (reused[bucket] + prior_weight * prior) / (seen + prior_weight);
  }
};

// Histograms for classes of chunks, for groups of classes and for all together. A class leans on
// its group where it has seen little, a group on all, and all on a hazard that is the same for each
// bucket, under which the least recently used chunk is worth least. Pure and not thread-safe.
class ReuseStatistics {
 public:
  ReuseStatistics(size_t classes, size_t groups);

  // Makes `class_index` a member of `group`. Call once for each class, before its first event.
  void Assign(size_t class_index, size_t group) { group_of_[class_index] = group; }

  // A chunk of the class was used and starts anew at age zero.
  void Begin(size_t class_index);
  // It was used again while in the bucket; it leaves the statistics until its next Begin.
  void Reuse(size_t class_index, uint32_t bucket);
  // It grew into the next bucket.
  void Survive(size_t class_index, uint32_t bucket);
  // It is watched no longer.
  void Forget(size_t class_index, uint32_t bucket);

  // Hits that a chunk of the class is expected to give per second of being kept, for each age: the
  // largest over all times for which one may keep it (a Gittins index; "hit density" in LHD,
  // Beckmann and others, NSDI 2018). Fades old counts first. About 1,500 steps.
  std::array<double, kAgeBuckets> Scores(size_t class_index);

  uint64_t reuses() const { return reuses_; }

 private:
  template <typename Change>
  void ForClassGroupAndAll(size_t class_index, Change change) {
    change(classes_[class_index]);
    change(groups_[group_of_[class_index]]);
    change(all_);
  }
  void Fade(ReuseHistogram& histogram) const;

  std::vector<ReuseHistogram> classes_;
  std::vector<ReuseHistogram> groups_;
  ReuseHistogram all_;
  std::vector<size_t> group_of_;
  uint64_t events_ = 0;  // calls of Begin
  uint64_t reuses_ = 0;
};

}  // namespace larder

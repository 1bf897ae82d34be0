#include "storage/policy/reuse_statistics.h"

#include <algorithm>

namespace larder {
namespace {

// Counts are worth this share of themselves after so many more uses of any chunk.
constexpr uint64_t kFadeEvents = 50'000;
constexpr float kFadeFactor = 0.7f;

// How many observations the next wider histogram counts for.
constexpr double kClassPriorWeight = 200;
constexpr double kGroupPriorWeight = 50;
constexpr double kAllPriorWeight = 100;
constexpr double kPriorHazard = 0.05;

// A chunk that is kept at all is kept for some seconds: what is reused within a burst of requests
// is no reason to push out what will be wanted in a minute.
constexpr double kKeptSecondsMin = 5;

}  // namespace

ReuseStatistics::ReuseStatistics(size_t classes, size_t groups)
    : classes_(classes), groups_(groups), group_of_(classes) {}

void ReuseStatistics::Begin(size_t class_index) {
  ++events_;
  ForClassGroupAndAll(class_index, [](ReuseHistogram& histogram) { ++histogram.present[0]; });
}

void ReuseStatistics::Reuse(size_t class_index, uint32_t bucket) {
  ++reuses_;
  ForClassGroupAndAll(class_index, [bucket](ReuseHistogram& histogram) {
    --histogram.present[bucket];
    histogram.reused[bucket] += 1;
  });
}

void ReuseStatistics::Survive(size_t class_index, uint32_t bucket) {
  ForClassGroupAndAll(class_index, [bucket](ReuseHistogram& histogram) {
    --histogram.present[bucket];
    histogram.survived[bucket] += 1;
    ++histogram.present[bucket + 1];
  });
}

void ReuseStatistics::Forget(size_t class_index, uint32_t bucket) {
  ForClassGroupAndAll(class_index,
                      [bucket](ReuseHistogram& histogram) { --histogram.present[bucket]; });
}

void ReuseStatistics::Fade(ReuseHistogram& histogram) const {
  if (events_ - histogram.faded_at_event < kFadeEvents) return;
  histogram.faded_at_event = events_;
  for (size_t bucket = 0; bucket < kAgeBuckets; ++bucket) {
    histogram.reused[bucket] *= kFadeFactor;
    histogram.survived[bucket] *= kFadeFactor;
  }
}

std::array<double, kAgeBuckets> ReuseStatistics::Scores(size_t class_index) {
  ForClassGroupAndAll(class_index, [this](ReuseHistogram& histogram) { Fade(histogram); });
  const ReuseHistogram& group = groups_[group_of_[class_index]];
  std::array<double, kAgeBuckets> hazard;
  std::array<double, kAgeBuckets> seconds;
  for (size_t bucket = 0; bucket < kAgeBuckets; ++bucket) {
    const double of_all = all_.Hazard(bucket, kPriorHazard, kAllPriorWeight);
    const double of_group = group.Hazard(bucket, of_all, kGroupPriorWeight);
    hazard[bucket] = classes_[class_index].Hazard(bucket, of_group, kClassPriorWeight);
    seconds[bucket] = (kAgeBucketStart[bucket + 1] - kAgeBucketStart[bucket]) / kTicksPerSecond;
  }
  std::array<double, kAgeBuckets> scores;
  for (size_t age = 0; age < kAgeBuckets; ++age) {
    double alive = 1, hits = 0, kept_seconds = kKeptSecondsMin, best = 0;
    for (size_t bucket = age; bucket < kAgeBuckets; ++bucket) {
      // On average a chunk is in the middle of its present bucket.
      const double duration = bucket == age ? seconds[bucket] / 2 : seconds[bucket];
      hits += alive * hazard[bucket];
      kept_seconds += alive * duration * (1 - hazard[bucket] / 2);
      alive *= 1 - hazard[bucket];
      best = std::max(best, hits / kept_seconds);
    }
    scores[age] = best;
  }
  return scores;
}

}  // namespace larder

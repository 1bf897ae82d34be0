#include "tools/bench/index.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/random.h"
#include "common/status.h"
#include "tools/bench/index_parts.h"
#include "tools/bench/process_memory.h"
#include "tools/console/latency_histogram.h"

namespace larder {
namespace {

constexpr uint64_t kSmallShare = 100;
constexpr int kWarmUps = 100;
constexpr int kMatches = 2000;
constexpr size_t kEventsPerBatch = 1000;
constexpr uint64_t kBatchesMax = 4000;
constexpr uint64_t kSeed = 4;

constexpr double kBytesGoal = 64;
constexpr double kMatchGoalUs = 250;
constexpr double kGrowthGoal = 1.5;
constexpr double kEventsGoal = 1'000'000;

absl::StatusOr<uint64_t> AnonymousBytes() {
  ASSIGN_OR_RETURN(const ProcessMemory memory, ReadProcessMemory(getpid(), ""));
  return memory.anonymous_bytes;
}

double Microseconds(const LatencyHistogram& histogram, double share) {
  return absl::ToDoubleMicroseconds(histogram.Percentile(share));
}

// An index of keys 0 to entries - 1, each held by one of the nodes.
class FilledIndex {
 public:
  static absl::StatusOr<FilledIndex> Make(uint64_t entries) {
    FilledIndex filled(entries);
    // With room for what the measured events add.
    ASSIGN_OR_RETURN(filled.index_,
                     GlobalIndex::Create({.entries_max = entries * 2, .seed = kSeed}));
    std::vector<ChunkEvent> events;
    for (uint64_t first = 0; first < entries; first += kEventsPerBatch) {
      events.clear();
      for (uint64_t i = first; i < std::min(entries, first + kEventsPerBatch); ++i) {
        events.push_back(IndexBenchEvent(i));
      }
      filled.Apply(first / kEventsPerBatch % kIndexNodes, events);
    }
    return filled;
  }

  // One Match of a prefix drawn at random.
  absl::Status MatchOne(Random& random, LatencyHistogram* histogram) {
    const uint64_t count = std::min(kIndexPrefixChunks, entries_);
    const uint64_t first = random.Below(entries_ / count) * count;
    keys_.clear();
    for (uint64_t i = 0; i < count; ++i) keys_.push_back(IndexBenchKey(first + i));
    const MonotonicTime begin = SystemClock::Get().Now();
    index_->Find(IndexBenchSpace(), keys_, /*stop_at_first_unknown=*/true, &found_);
    histogram->Record(SystemClock::Get().Now() - begin);
    if (found_.chunks.size() == count) return absl::OkStatus();
    return absl::NotFoundError("a chunk of the index benchmark is not known");
  }

  // A batch of what a busy node says: two of five chunks are stored, two removed, one moves.
  void ChurnOne(uint64_t batch, LatencyHistogram* histogram) {
    events_.clear();
    while (events_.size() < kEventsPerBatch) {
      const uint64_t at = batch * kEventsPerBatch + events_.size();
      events_.push_back(IndexBenchEvent(entries_ + at));
      events_.push_back(IndexBenchEvent(at % entries_, 0));
      events_.push_back(IndexBenchEvent((at + entries_ / 2) % entries_, kTiersAll));
      events_.push_back(IndexBenchEvent(entries_ + at + 1));
      events_.push_back(IndexBenchEvent((at + 1) % entries_, 0));
    }
    const MonotonicTime begin = SystemClock::Get().Now();
    // Removed chunks were those of this node: keys are given to nodes by the thousand.
    Apply(batch % kIndexNodes, events_);
    const absl::Duration taken = SystemClock::Get().Now() - begin;
    histogram->Record(taken);
  }

  double build_seconds() const { return absl::ToDoubleSeconds(applying_); }
  const GlobalIndex& index() const { return *index_; }
  uint64_t entries() const { return entries_; }

 private:
  explicit FilledIndex(uint64_t entries) : entries_(entries) {}

  void Apply(uint64_t node, const std::vector<ChunkEvent>& events) {
    const MonotonicTime begin = SystemClock::Get().Now();
    index_->Apply(static_cast<NodeSlot>(node), events);
    applying_ += SystemClock::Get().Now() - begin;
  }

  uint64_t entries_;
  std::unique_ptr<GlobalIndex> index_;
  absl::Duration applying_;
  std::vector<KeyHash> keys_;
  std::vector<ChunkEvent> events_;
  FoundChunks found_;
};

// In turns, so that whatever else this machine does falls upon both.
absl::Status MeasureMatches(FilledIndex& small, FilledIndex& large, MicroReport* report) {
  SeededRandom random(kSeed);
  LatencyHistogram warm_up, of_small, of_large;
  for (int i = 0; i < kWarmUps + kMatches; ++i) {
    const bool warm = i >= kWarmUps;
    RETURN_IF_ERROR(small.MatchOne(random, warm ? &of_small : &warm_up));
    RETURN_IF_ERROR(large.MatchOne(random, warm ? &of_large : &warm_up));
  }
  report->AddAtMost("match1000_p50_us", Microseconds(of_large, 0.5), kMatchGoalUs,
                    "cache misses: one or two lines for each key");
  report->AddAtMost("match_growth_ratio", Microseconds(of_large, 0.5) / Microseconds(of_small, 0.5),
                    kGrowthGoal, "memory instead of caches");
  report->AddRaw("small_entries", static_cast<double>(small.entries()));
  report->AddRaw("match1000_small_p50_us", Microseconds(of_small, 0.5));
  report->AddRaw("match1000_small_p99_us", Microseconds(of_small, 0.99));
  report->AddRaw("match1000_p99_us", Microseconds(of_large, 0.99));
  return absl::OkStatus();
}

void MeasureEvents(FilledIndex& large, MicroReport* report) {
  LatencyHistogram histogram;
  const uint64_t batches = std::min(kBatchesMax, large.entries() / kEventsPerBatch / 2 + 1);
  for (uint64_t batch = 0; batch < batches; ++batch) large.ChurnOne(batch, &histogram);
  const double events = kEventsPerBatch;
  report->AddAtLeast("events_per_s", events / absl::ToDoubleSeconds(histogram.Percentile(0.5)),
                     kEventsGoal, "cache misses, and the table's growth");
  report->AddRaw("events_per_s_mean", events / absl::ToDoubleSeconds(histogram.mean()));
  report->AddRaw("events_batch_p99_us", Microseconds(histogram, 0.99));
  report->AddRaw("events_batch_max_us", absl::ToDoubleMicroseconds(histogram.max()));
}

absl::Status MeasureInMemory(const IndexBenchOptions& options, MicroReport* report) {
  ASSIGN_OR_RETURN(FilledIndex small,
                   FilledIndex::Make(std::max(kIndexPrefixChunks, options.entries / kSmallShare)));
  ASSIGN_OR_RETURN(const uint64_t before, AnonymousBytes());
  ASSIGN_OR_RETURN(FilledIndex large, FilledIndex::Make(options.entries));
  ASSIGN_OR_RETURN(const uint64_t after, AnonymousBytes());
  const double entries = static_cast<double>(large.index().stats().entries);
  report->AddAtMost("bytes_per_entry",
                    (static_cast<double>(after) - static_cast<double>(before)) / entries,
                    kBytesGoal, "32 bytes in a table that is up to 65 % full");
  report->AddRaw("entries", entries);
  report->AddRaw("bytes_per_entry_counted",
                 static_cast<double>(large.index().stats().bytes) / entries);
  report->AddRaw("build_events_per_s", entries / large.build_seconds());
  options.on_step("match");
  RETURN_IF_ERROR(MeasureMatches(small, large, report));
  options.on_step("events");
  MeasureEvents(large, report);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MicroReport> RunIndexBench(const IndexBenchOptions& options) {
  MicroReport report;
  options.on_step("memory");
  RETURN_IF_ERROR(MeasureInMemory(options, &report));
  options.on_step("follower");
  RETURN_IF_ERROR(MeasureFollowerSync(options, &report));
  return report;
}

}  // namespace larder

// Views: how long until stored bytes can be read in place.
#include <chrono>
#include <thread>

#include "common/random.h"
#include "common/status.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"
#include "tools/console/latency_histogram.h"

namespace larder {
namespace {

constexpr uint64_t kChunks = 1024;
constexpr uint64_t kQuickChunks = 128;
constexpr size_t kBatch = 64;
constexpr int kWarmUps = 500;
constexpr int kViews = 30'000;
constexpr int kQuickViews = 1000;
constexpr int kIdleViews = 400;
constexpr int kQuickIdleViews = 20;
constexpr uint32_t kLayers = 32;
// Long enough for both sides to have stopped polling.
constexpr auto kIdlePause = std::chrono::milliseconds(5);
constexpr uint64_t kSeed = 1;

constexpr double kViewGoalUs = 10;
constexpr double kIdleGoalUs = 80;
constexpr double kTailGoalUs = 300;
constexpr double kBatchGoal = 3;

struct ViewTimes {
  LatencyHistogram view;
  LatencyHistogram open;  // of all chunks of the view
};

class ViewBenchmark {
 public:
  ViewBenchmark(ClientSpace space, uint64_t chunks)
      : space_(std::move(space)), keys_(BenchmarkKeys("view", chunks)) {}

  absl::Status PutAll() {
    const uint64_t bytes = space_.manifest().PayloadBytes(space_.manifest().WholePart());
    ASSIGN_OR_RETURN(const ChunkMemory memory, ChunkMemory::Create(1, bytes));
    for (size_t i = 0; i < keys_.size(); ++i) {
      FillChunk(keys_[i], memory.chunk(0));
      RETURN_IF_ERROR(space_.Put(KeySpan(keys_).Subspan(i, 1), memory.sources(0, 1)).status);
    }
    return absl::OkStatus();
  }

  // Until the lease is granted and the bytes' places are known. Reading the chunks' metadata comes
  // on top of that and is timed apart. The lease is given back outside the measured time; that
  // request goes ahead of the next one.
  absl::Status MeasureOne(size_t count) {
    const size_t first = random_.Below(keys_.size() - count + 1);
    const KeySpan keys = KeySpan(keys_).Subspan(first, count);
    const MonotonicTime begin = BenchmarkNow();
    ASSIGN_OR_RETURN(const ChunkView view, space_.View(keys));
    const MonotonicTime viewed = BenchmarkNow();
    for (size_t i = 0; i < view.chunks(); ++i) RETURN_IF_ERROR(view.Open(i).status());
    const MonotonicTime opened = BenchmarkNow();
    if (view.chunks() != count) {
      return absl::NotFoundError("a chunk of the view benchmark is not stored");
    }
    times_.view.Record(viewed - begin);
    times_.open.Record(opened - viewed);
    return absl::OkStatus();
  }

  absl::StatusOr<ViewTimes> Measure(size_t count, int repeats, std::chrono::milliseconds pause) {
    times_ = {};
    for (int i = 0; i < repeats; ++i) {
      if (pause.count() > 0) std::this_thread::sleep_for(pause);
      RETURN_IF_ERROR(MeasureOne(count));
    }
    return times_;
  }

 private:
  ClientSpace space_;
  const std::vector<Sha256Digest> keys_;
  SeededRandom random_{kSeed};
  ViewTimes times_;
};

double Microseconds(const LatencyHistogram& histogram, double share) {
  return absl::ToDoubleMicroseconds(histogram.Percentile(share));
}

}  // namespace

absl::Status MeasureViews(const MicroOptions& options, MicroReport* report) {
  const uint64_t chunks = options.quick ? kQuickChunks : kChunks;
  const int views = options.quick ? kQuickViews : kViews;
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                   StartWarmDaemon(options, ManifestOfLayers(kLayers), chunks));
  ASSIGN_OR_RETURN(const ClientSpace space, client->Open(ManifestOfLayers(kLayers)));
  ViewBenchmark benchmark(space, chunks);
  RETURN_IF_ERROR(benchmark.PutAll());
  constexpr std::chrono::milliseconds kNoPause{0};
  RETURN_IF_ERROR(benchmark.Measure(1, kWarmUps, kNoPause).status());
  RETURN_IF_ERROR(benchmark.Measure(kBatch, kWarmUps, kNoPause).status());
  ASSIGN_OR_RETURN(const ViewTimes one, benchmark.Measure(1, views, kNoPause));
  ASSIGN_OR_RETURN(const ViewTimes batch, benchmark.Measure(kBatch, views / 10, kNoPause));
  ASSIGN_OR_RETURN(const ViewTimes idle,
                   benchmark.Measure(1, options.quick ? kQuickIdleViews : kIdleViews, kIdlePause));
  const double one_us = Microseconds(one.view, 0.5);
  const double batch_us = Microseconds(batch.view, 0.5);
  report->AddAtMost("view_p50_us", one_us, kViewGoalUs, "one round trip through the rings");
  report->AddAtMost("view_idle_p50_us", Microseconds(idle.view, 0.5), kIdleGoalUs,
                    "waking the daemon, then waking the client");
  report->AddAtMost("view_p99_us", Microseconds(one.view, 0.99), kTailGoalUs,
                    "the scheduler: two processes that poll on two cores");
  report->AddAtMost("view64_over_view1", batch_us / one_us, kBatchGoal,
                    "64 lookups and leases against one round trip");
  report->AddRaw("view64_p50_us", batch_us);
  report->AddRaw("view64_p99_us", Microseconds(batch.view, 0.99));
  report->AddRaw("view_idle_p99_us", Microseconds(idle.view, 0.99));
  report->AddRaw("view_open_p50_us", Microseconds(one.open, 0.5));
  report->AddRaw("view64_open_p50_us", Microseconds(batch.open, 0.5));
  report->AddRaw("view_count", static_cast<double>(one.view.count()));
  return absl::OkStatus();
}

}  // namespace larder

// Match among a million stored chunks, and the memory that each of them costs.
#include <algorithm>
#include <numeric>

#include "common/random.h"
#include "common/status.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"
#include "tools/console/latency_histogram.h"

namespace larder {
namespace {

constexpr size_t kPrefixChunks = 1000;
constexpr size_t kPrefixes = 1000;
constexpr size_t kQuickPrefixes = 20;
// Chunks of one put. A prefix is stored bit by bit, in turns with all others, as it grows over a
// conversation: so its records lie scattered.
constexpr size_t kChunksPerPut = 8;
static_assert(kPrefixChunks % kChunksPerPut == 0);
constexpr int kWarmUps = 200;
constexpr int kMatches = 3000;
constexpr int kQuickMatches = 50;
constexpr uint64_t kSeed = 2;

constexpr double kMatch1000GoalUs = 150;
constexpr double kMatch1GoalUs = 10;
constexpr double kBytesPerChunkGoal = 250;

class MatchBenchmark {
 public:
  MatchBenchmark(ClientSpace space, size_t prefixes)
      : space_(std::move(space)),
        prefixes_(prefixes),
        keys_(BenchmarkKeys("match", prefixes * kPrefixChunks)) {}

  size_t chunks() const { return keys_.size(); }

  absl::Status PutAll() {
    std::vector<size_t> order(prefixes_);
    std::iota(order.begin(), order.end(), size_t{0});
    for (size_t depth = 0; depth < kPrefixChunks; depth += kChunksPerPut) {
      for (size_t i = order.size() - 1; i > 0; --i)
        std::swap(order[i], order[random_.Below(i + 1)]);
      for (const size_t prefix : order) RETURN_IF_ERROR(PutSome(prefix, depth));
    }
    return absl::OkStatus();
  }

  // One match of `count` keys: a prefix drawn at random from its beginning, or a single chunk.
  absl::Status MeasureOne(size_t count, const MatchOptions& options, LatencyHistogram* histogram) {
    const size_t first = count == kPrefixChunks ? random_.Below(prefixes_) * kPrefixChunks
                                                : random_.Below(keys_.size());
    const KeySpan keys = KeySpan(keys_).Subspan(first, count);
    const MonotonicTime begin = BenchmarkNow();
    const MatchResult matched = space_.Match(keys, options);
    histogram->Record(BenchmarkNow() - begin);
    RETURN_IF_ERROR(matched.status);
    if (matched.chunks == count) return absl::OkStatus();
    return absl::NotFoundError("a chunk of the match benchmark is not stored");
  }

  absl::StatusOr<LatencyHistogram> Measure(size_t count, int repeats, bool touch) {
    MatchOptions options;
    options.touch = touch;
    LatencyHistogram warm_up, histogram;
    for (int i = 0; i < kWarmUps; ++i) RETURN_IF_ERROR(MeasureOne(count, options, &warm_up));
    for (int i = 0; i < repeats; ++i) RETURN_IF_ERROR(MeasureOne(count, options, &histogram));
    return histogram;
  }

 private:
  absl::Status PutSome(size_t prefix, size_t depth) {
    static constexpr uint8_t kContent = 1;  // a chunk has one byte
    static constexpr ConstSegment kSource = {&kContent, 1};
    const std::vector<GatherList> sources(kChunksPerPut, GatherList(&kSource, 1));
    const size_t first = prefix * kPrefixChunks + depth;
    PutOptions options;
    options.first_depth = static_cast<uint32_t>(depth);
    if (depth > 0) options.parent = keys_[first - 1];
    const PutResult result =
        space_.Put(KeySpan(keys_).Subspan(first, kChunksPerPut), sources, options);
    if (result.status.ok() && result.stored != kChunksPerPut) {
      return absl::InternalError("a tiny chunk was there before it was put");
    }
    return result.status;
  }

  ClientSpace space_;
  const size_t prefixes_;
  const std::vector<Sha256Digest> keys_;
  SeededRandom random_{kSeed};
};

double PerChunk(uint64_t after, uint64_t before, size_t chunks) {
  return (static_cast<double>(after) - static_cast<double>(before)) / static_cast<double>(chunks);
}

double Microseconds(const LatencyHistogram& histogram, double share) {
  return absl::ToDoubleMicroseconds(histogram.Percentile(share));
}

absl::Status MeasureLookups(MatchBenchmark& benchmark, bool quick, MicroReport* report) {
  const int repeats = quick ? kQuickMatches : kMatches;
  ASSIGN_OR_RETURN(const LatencyHistogram many, benchmark.Measure(kPrefixChunks, repeats, true));
  ASSIGN_OR_RETURN(const LatencyHistogram untouched,
                   benchmark.Measure(kPrefixChunks, repeats, false));
  ASSIGN_OR_RETURN(const LatencyHistogram one, benchmark.Measure(1, repeats, true));
  report->AddAtMost("match1000_p50_us", Microseconds(many, 0.5), kMatch1000GoalUs,
                    "cache misses: the index and the order of eviction, for each key");
  report->AddAtMost("match1_p50_us", Microseconds(one, 0.5), kMatch1GoalUs,
                    "one round trip through the rings");
  report->AddRaw("match1000_p99_us", Microseconds(many, 0.99));
  report->AddRaw("match1000_no_touch_p50_us", Microseconds(untouched, 0.5));
  report->AddRaw("match1_p99_us", Microseconds(one, 0.99));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureMatches(const MicroOptions& options, MicroReport* report) {
  const size_t prefixes = options.quick ? kQuickPrefixes : kPrefixes;
  const Manifest manifest = TinyManifest();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                   StartWarmDaemon(options, manifest, prefixes * kPrefixChunks));
  ASSIGN_OR_RETURN(const ClientSpace space, client->Open(manifest));
  MatchBenchmark benchmark(space, prefixes);
  ASSIGN_OR_RETURN(const ProcessMemory before, ReadDaemonMemory(*client));
  const MonotonicTime begin = BenchmarkNow();
  RETURN_IF_ERROR(benchmark.PutAll());
  const double put_seconds = absl::ToDoubleSeconds(BenchmarkNow() - begin);
  ASSIGN_OR_RETURN(const ProcessMemory after, ReadDaemonMemory(*client));
  ASSIGN_OR_RETURN(const StoreStats stats, client->Stats());
  if (stats.chunks != benchmark.chunks()) {
    return absl::InternalError("chunks were evicted while the match benchmark stored them");
  }
  RETURN_IF_ERROR(MeasureLookups(benchmark, options.quick, report));
  const double heap = PerChunk(after.anonymous_bytes, before.anonymous_bytes, benchmark.chunks());
  const double table = PerChunk(after.other_bytes, before.other_bytes, benchmark.chunks());
  report->AddAtMost("bytes_per_chunk", heap + table, kBytesPerChunkGoal,
                    "the lasting record of a block, the index, the order of eviction");
  report->AddRaw("bytes_per_chunk_heap", heap);
  report->AddRaw("bytes_per_chunk_block_table", table);
  report->AddRaw("stored_chunks", static_cast<double>(stats.chunks));
  report->AddRaw("tiny_puts_per_s", static_cast<double>(benchmark.chunks()) / put_seconds);
  return absl::OkStatus();
}

}  // namespace larder

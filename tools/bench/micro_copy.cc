// Fetch and put against memcpy. All three walk the same chunks in the same order, one after another
// in each round, so that a change of the machine's speed meets all of them.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"

namespace larder {
namespace {

constexpr uint64_t kWorkingSetBytes = uint64_t{2} << 30;
constexpr uint64_t kQuickWorkingSetBytes = uint64_t{64} << 20;
constexpr int kRounds = 9;
constexpr int kQuickRounds = 2;
// What one call moves in the batched measurements: a prefix of some thousand tokens.
constexpr uint64_t kBatchBytes = uint64_t{64} << 20;

constexpr double kFetchGoal = 0.85;
constexpr double kPutGoal = 0.55;

class CopyBenchmark {
 public:
  static absl::StatusOr<CopyBenchmark> Create(const MicroOptions& options,
                                              const Manifest& manifest) {
    const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
    const uint64_t count = (options.quick ? kQuickWorkingSetBytes : kWorkingSetBytes) / chunk_bytes;
    ASSIGN_OR_RETURN(ChunkMemory sources, ChunkMemory::Create(count, chunk_bytes));
    ASSIGN_OR_RETURN(ChunkMemory destinations, ChunkMemory::Create(count, chunk_bytes));
    ASSIGN_OR_RETURN(std::unique_ptr<Client> client, StartWarmDaemon(options, manifest, count));
    ASSIGN_OR_RETURN(const ClientSpace space, client->Open(manifest));
    CopyBenchmark benchmark(std::move(client), space, std::move(sources), std::move(destinations),
                            chunk_bytes);
    RETURN_IF_ERROR(benchmark.WarmUp());
    return benchmark;
  }

  uint64_t batch_chunks() const { return kBatchBytes / chunk_bytes_; }

  // Seconds that each takes for all chunks.
  double Copy() {
    const MonotonicTime begin = BenchmarkNow();
    for (size_t i = 0; i < keys_.size(); ++i) {
      std::memcpy(destinations_.chunk(i).data(), sources_.chunk(i).data(), chunk_bytes_);
    }
    return absl::ToDoubleSeconds(BenchmarkNow() - begin);
  }

  absl::StatusOr<double> Fetch(size_t chunks_per_call) {
    const KeySpan keys(keys_);
    const MonotonicTime begin = BenchmarkNow();
    for (size_t first = 0; first < keys_.size(); first += chunks_per_call) {
      const FetchResult result = space_.Fetch(keys.Subspan(first, chunks_per_call),
                                              destinations_.destinations(first, chunks_per_call));
      RETURN_IF_ERROR(result.status);
    }
    return absl::ToDoubleSeconds(BenchmarkNow() - begin);
  }

  // The chunks are removed first, outside the measured time.
  absl::StatusOr<double> Put(size_t chunks_per_call) {
    RETURN_IF_ERROR(RemoveAll());
    const KeySpan keys(keys_);
    const MonotonicTime begin = BenchmarkNow();
    for (size_t first = 0; first < keys_.size(); first += chunks_per_call) {
      const PutResult result = space_.Put(keys.Subspan(first, chunks_per_call),
                                          sources_.sources(first, chunks_per_call));
      RETURN_IF_ERROR(result.status);
      if (result.stored != chunks_per_call) {
        return absl::InternalError("a chunk was there before it was put");
      }
    }
    return absl::ToDoubleSeconds(BenchmarkNow() - begin);
  }

  double GigabytesPerSecond(double seconds) const {
    return static_cast<double>(keys_.size() * chunk_bytes_) / seconds / 1e9;
  }

 private:
  CopyBenchmark(std::unique_ptr<Client> client, ClientSpace space, ChunkMemory sources,
                ChunkMemory destinations, uint64_t chunk_bytes)
      : client_(std::move(client)),
        space_(std::move(space)),
        sources_(std::move(sources)),
        destinations_(std::move(destinations)),
        chunk_bytes_(chunk_bytes),
        keys_(BenchmarkKeys("copy", sources_.chunk_count())) {}

  absl::Status WarmUp() {
    for (size_t i = 0; i < keys_.size(); ++i) FillChunk(keys_[i], sources_.chunk(i));
    RETURN_IF_ERROR(Put(batch_chunks()).status());
    RETURN_IF_ERROR(Fetch(batch_chunks()).status());
    for (size_t i = 0; i < keys_.size(); ++i) {
      RETURN_IF_ERROR(CheckChunk(keys_[i], destinations_.chunk(i)));
    }
    return absl::OkStatus();
  }

  absl::Status RemoveAll() { return space_.Remove(KeySpan(keys_)).status(); }

  std::unique_ptr<Client> client_;
  ClientSpace space_;
  ChunkMemory sources_;
  ChunkMemory destinations_;
  uint64_t chunk_bytes_;
  std::vector<Sha256Digest> keys_;
};

// The speed of one way to move the chunks, and what it is of memcpy's, over all rounds.
struct Series {
  std::vector<double> gb_per_s;
  std::vector<double> ratios;

  void Add(const CopyBenchmark& benchmark, double seconds, double copy_seconds) {
    gb_per_s.push_back(benchmark.GigabytesPerSecond(seconds));
    ratios.push_back(copy_seconds / seconds);
  }
};

struct CopySeries {
  Series copy, fetch_single, fetch_batch, put_single, put_batch;
};

absl::Status RunRound(CopyBenchmark& benchmark, CopySeries* series) {
  const double first_copy = benchmark.Copy();
  ASSIGN_OR_RETURN(const double fetch_single, benchmark.Fetch(1));
  const double second_copy = benchmark.Copy();
  ASSIGN_OR_RETURN(const double fetch_batch, benchmark.Fetch(benchmark.batch_chunks()));
  const double third_copy = benchmark.Copy();
  ASSIGN_OR_RETURN(const double put_single, benchmark.Put(1));
  const double fourth_copy = benchmark.Copy();
  ASSIGN_OR_RETURN(const double put_batch, benchmark.Put(benchmark.batch_chunks()));
  series->copy.Add(benchmark, first_copy, first_copy);
  series->fetch_single.Add(benchmark, fetch_single, (first_copy + second_copy) / 2);
  series->fetch_batch.Add(benchmark, fetch_batch, (second_copy + third_copy) / 2);
  series->put_single.Add(benchmark, put_single, (third_copy + fourth_copy) / 2);
  series->put_batch.Add(benchmark, put_batch, fourth_copy);
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureCopies(const MicroOptions& options, uint32_t layers,
                           const std::string& size_name, MicroReport* report) {
  ASSIGN_OR_RETURN(CopyBenchmark benchmark,
                   CopyBenchmark::Create(options, ManifestOfLayers(layers)));
  CopySeries series;
  const int rounds = options.quick ? kQuickRounds : kRounds;
  for (int round = 0; round < rounds; ++round) {
    RETURN_IF_ERROR(RunRound(benchmark, &series));
  }
  report->AddAtLeast(absl::StrCat("fetch_copy_", size_name, "_ratio"),
                     Median(series.fetch_batch.ratios), kFetchGoal,
                     "memory bandwidth: the copy and its CRC32C are one pass");
  report->AddAtLeast(absl::StrCat("put_", size_name, "_ratio"), Median(series.put_batch.ratios),
                     kPutGoal, "memory bandwidth, as fetch");
  const auto raw = [&](absl::string_view name, const std::vector<double>& values) {
    report->AddRaw(absl::StrCat(name, "_", size_name), Median(values));
  };
  raw("memcpy_gb_per_s", series.copy.gb_per_s);
  raw("fetch_gb_per_s", series.fetch_batch.gb_per_s);
  raw("fetch_one_per_call_gb_per_s", series.fetch_single.gb_per_s);
  raw("fetch_one_per_call_ratio", series.fetch_single.ratios);
  raw("put_gb_per_s", series.put_batch.gb_per_s);
  raw("put_one_per_call_gb_per_s", series.put_single.gb_per_s);
  raw("put_one_per_call_ratio", series.put_single.ratios);
  return absl::OkStatus();
}

}  // namespace larder

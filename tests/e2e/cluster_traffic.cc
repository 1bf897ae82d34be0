#include "tests/e2e/cluster_traffic.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "tests/e2e/known_chunks.h"

namespace larder {
namespace {

// What was put longer ago is not read again.
constexpr size_t kLatestChains = 64;
constexpr uint64_t kFirstChain = 1'000'000;
constexpr uint64_t kPutEvery = 3;
constexpr absl::Duration kPause = absl::Milliseconds(10);

bool IsInOrder(const absl::Status& status) {
  return status.ok() || absl::IsNotFound(status) || absl::IsUnavailable(status) ||
         absl::IsDeadlineExceeded(status);
}

}  // namespace

struct ClusterTraffic::Worker {
  Worker(ClientSpace client_space, uint64_t first)
      : space(std::move(client_space)), buffers(kChainChunks, space.manifest()), chain(first) {}

  ClientSpace space;
  KnownBuffers buffers;
  uint64_t chain;  // to put next
  std::thread thread;
};

ClusterTraffic::ClusterTraffic(const std::vector<ClientSpace>& spaces, uint64_t seed) {
  for (size_t i = 0; i < spaces.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(spaces[i], kFirstChain * (i + 1)));
  }
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, &worker, seed] { Run(*worker, seed + worker->chain); });
  }
}

ClusterTraffic::~ClusterTraffic() { Stop(); }

std::string ClusterTraffic::Stop() {
  stop_ = true;
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
  std::lock_guard lock(mutex_);
  return trouble_;
}

absl::Duration ClusterTraffic::slowest() const {
  std::lock_guard lock(mutex_);
  return slowest_;
}

void ClusterTraffic::Run(Worker& worker, uint64_t seed) {
  SeededRandom random(seed);
  while (!stop_) {
    const uint64_t chain = AnyChain(random.Next());
    if (chain == 0 || random.Below(kPutEvery) == 0) {
      Put(worker);
    } else {
      Read(worker, chain);
    }
    absl::SleepFor(kPause);
  }
}

void ClusterTraffic::Put(Worker& worker) {
  const auto keys = KnownKeys(worker.chain, kChainChunks);
  worker.buffers.Fill(keys);
  PutOptions options;
  options.timeout = kTimeout;
  const absl::Time began = absl::Now();
  const PutResult put = worker.space.Put(keys, worker.buffers.sources(kChainChunks), options);
  Time("put", began);
  if (!IsInOrder(put.status)) Note(absl::StrCat("put: ", put.status.ToString()));
  std::lock_guard lock(mutex_);
  if (chains_.size() < kLatestChains) chains_.push_back(0);
  chains_[next_chain_++ % kLatestChains] = worker.chain++;
}

void ClusterTraffic::Read(Worker& worker, uint64_t chain) {
  const auto keys = KnownKeys(chain, kChainChunks);
  worker.buffers.Spoil();
  FetchOptions options;
  options.timeout = kTimeout;
  const absl::Time began = absl::Now();
  const FetchResult fetch =
      worker.space.Fetch(keys, worker.buffers.destinations(kChainChunks), options);
  Time("fetch", began);
  if (!IsInOrder(fetch.status)) Note(absl::StrCat("fetch: ", fetch.status.ToString()));
  const size_t right = worker.buffers.CountRight(keys, fetch.chunks);
  read_chunks_ += right;
  if (right != fetch.chunks) Note(absl::StrCat("chunk ", right, " of ", chain, " is wrong"));
}

void ClusterTraffic::Note(const std::string& trouble) {
  std::lock_guard lock(mutex_);
  if (trouble_.empty()) trouble_ = trouble;
}

void ClusterTraffic::Time(const char* call, absl::Time began) {
  const absl::Duration took = absl::Now() - began;
  if (took > kTimeout + kLateness) {
    Note(absl::StrCat("a ", call, " took ", absl::FormatDuration(took)));
  }
  std::lock_guard lock(mutex_);
  slowest_ = std::max(slowest_, took);
}

uint64_t ClusterTraffic::AnyChain(uint64_t random) {
  std::lock_guard lock(mutex_);
  return chains_.empty() ? 0 : chains_[random % chains_.size()];
}

}  // namespace larder

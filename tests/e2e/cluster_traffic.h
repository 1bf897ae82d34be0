// Clients of all nodes at once, whose every byte and every moment is checked.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"

namespace larder {

// A thread for each space puts chains of its own and reads those that any of them has put lately.
// Misses and nodes that are away are all in order; wrong bytes, other errors and calls that outlast
// their deadlines are trouble. The destructor stops it.
class ClusterTraffic {
 public:
  static constexpr size_t kChainChunks = 8;
  static constexpr absl::Duration kTimeout = absl::Seconds(2);  // of each call
  // How much later than that a call may return on a busy machine.
  static constexpr absl::Duration kLateness = absl::Seconds(2);

  ClusterTraffic(const std::vector<ClientSpace>& spaces, uint64_t seed);
  ~ClusterTraffic();

  // The first trouble of all, or nothing.
  std::string Stop();
  // Right in every byte, so far.
  uint64_t read_chunks() const { return read_chunks_; }
  // The longest call, so far.
  absl::Duration slowest() const;

 private:
  struct Worker;
  void Run(Worker& worker, uint64_t seed);
  void Put(Worker& worker);
  void Read(Worker& worker, uint64_t chain);
  void Note(const std::string& trouble);
  // Notes how long a call took that began then.
  void Time(const char* call, absl::Time began);
  uint64_t AnyChain(uint64_t random);

  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> read_chunks_{0};
  mutable std::mutex mutex_;  // of all below
  std::vector<uint64_t> chains_;
  size_t next_chain_ = 0;
  std::string trouble_;
  absl::Duration slowest_;
};

}  // namespace larder

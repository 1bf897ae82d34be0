// larder-cluster-sim [--seed=N] [--count=N]: runs the simulation with so many seeds, from that one
// on. The first failure is run again, which gives the same, and its trace is printed.
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/sim/cluster_sim.h"

namespace larder {
namespace {

constexpr size_t kTraceLines = 400;

int Main(int argc, char** argv) {
  uint64_t seed = 1, count = 1;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    const bool known =
        (absl::ConsumePrefix(&argument, "--seed=") && absl::SimpleAtoi(argument, &seed)) ||
        (absl::ConsumePrefix(&argument, "--count=") && absl::SimpleAtoi(argument, &count));
    if (known) continue;
    std::fprintf(stderr, "usage: %s [--seed=N] [--count=N]; what is %s?\n", argv[0], argv[i]);
    return 2;
  }
  ClusterSimResult sum;
  for (uint64_t i = 0; i < count; ++i) {
    const ClusterSimResult result = ClusterSim({.seed = seed + i}).Run();
    if (!result.failure.empty()) {
      const ClusterSimResult again =
          ClusterSim({.seed = seed + i, .trace_lines = kTraceLines}).Run();
      for (const std::string& line : again.trace) std::printf("%s\n", line.c_str());
      std::printf("seed %llu failed %s\n", static_cast<unsigned long long>(seed + i),
                  result.failure.c_str());
      if (again.trace_hash != result.trace_hash) std::printf("and the second run differs\n");
      return 1;
    }
    sum.events += result.events;
    sum.faults += result.faults;
    sum.clients.requests += result.clients.requests;
    sum.clients.chunks_read += result.clients.chunks_read;
    sum.clients.chunks_put += result.clients.chunks_put;
    sum.fetched_chunks += result.fetched_chunks;
    sum.corrupt_arrivals += result.corrupt_arrivals;
    sum.hedges += result.hedges;
    sum.offers_taken += result.offers_taken;
    sum.questions += result.questions;
    sum.trace_hash = result.trace_hash;
  }
  const std::string line = absl::StrCat(
      count, " seeds from ", seed, " on are fine: ", sum.events, " events, ", sum.faults,
      " faults, ", sum.clients.requests, " requests, ", sum.clients.chunks_read, " chunks read, ",
      sum.clients.chunks_put, " put, ", sum.fetched_chunks, " fetched from other nodes, ",
      sum.corrupt_arrivals, " damaged on the way, ", sum.hedges, " asked for twice, ",
      sum.offers_taken, " offers taken, ", sum.questions,
      " questions to directory nodes, last trace ", absl::Hex(sum.trace_hash));
  std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main(argc, argv); }

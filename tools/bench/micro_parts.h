// The parts of the micro-benchmark, and what they share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "tools/bench/micro.h"
#include "tools/bench/process_memory.h"

namespace larder {

// Fetch and put against memcpy, for chunks of `layers` layers (geometry.h); `size_name` is "1mib"
// or "8mib", as in the names of the figures.
absl::Status MeasureCopies(const MicroOptions& options, uint32_t layers,
                           const std::string& size_name, MicroReport* report);
// Views of one and of 64 chunks.
absl::Status MeasureViews(const MicroOptions& options, MicroReport* report);
// Match among many tiny chunks, and what one of them costs the daemon.
absl::Status MeasureMatches(const MicroOptions& options, MicroReport* report);
// Kill and restart of a full daemon.
absl::Status MeasureRestart(const MicroOptions& options, MicroReport* report);

// A private daemon whose arena holds `chunk_count` chunks of `manifest`, all of its memory given
// to it already, so that nothing that is timed pays for first touches.
// `flags`: further ones of larderd.
absl::StatusOr<std::unique_ptr<Client>> StartWarmDaemon(const MicroOptions& options,
                                                        const Manifest& manifest,
                                                        uint64_t chunk_count,
                                                        std::vector<std::string> flags = {});

// The memory of a private daemon, its arena's data apart.
absl::StatusOr<ProcessMemory> ReadDaemonMemory(const Client& client);

// Arena bytes that hold so many chunks, with some room for the allocator.
uint64_t ArenaBytesFor(const Manifest& manifest, uint64_t chunk_count);

// The keys of chunks 0 to count - 1 of a part of the benchmark.
std::vector<Sha256Digest> BenchmarkKeys(absl::string_view part, uint64_t count);

// Fills one chunk with what follows from its key; DATA_LOSS when it is not that.
void FillChunk(const Sha256Digest& key, std::span<uint8_t> chunk);
absl::Status CheckChunk(const Sha256Digest& key, std::span<const uint8_t> chunk);

// The middle value; of an even number, the upper of the two. REQUIRES: not empty.
double Median(std::vector<double> values);

MonotonicTime BenchmarkNow();

}  // namespace larder

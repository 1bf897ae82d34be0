// What the bench measures on a GPU; only in builds with CUDA.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/bench/bench_planes.h"

namespace larder {

// GB/s count bytes of the uncompressed planes, the copy's what it copies.
struct DeviceFigures {
  std::string name;
  double larder_decode = 0;    // base and E1, many chunks a launch
  double larder_encode = 0;    // all levels, many chunks a launch
  double lossless_decode = 0;  // many chunks a launch
  double lossless_encode = 0;
  double copy = 0;             // from device to device
  double chunk_decode_us = 0;  // base and E1 of 64 planes: a chunk of Llama-3-8B
};

// The runs of each plane of the chunk, by level.
using PlaneRuns = std::vector<std::vector<std::vector<uint8_t>>>;

// False when there is no GPU, or CUDA refused something; `error` then says what, or is empty.
bool MeasureDevice(const BenchChunk& chunk, const LarderProfile& profile, const PlaneRuns& larder,
                   const PlaneRuns& lossless, DeviceFigures* figures, std::string* error);

}  // namespace larder

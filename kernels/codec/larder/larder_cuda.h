// Codec 3 on a GPU: decodes heads of many planes in one launch, into contiguous memory or an
// engine's paged blocks. Nothing here allocates or waits; all work is on the caller's stream.
//
// Bytes that lie on the device are hostile like any others: the kernels check every field before
// its use and report per head. Thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/codec/larder/warp_decode.h"
#include "kernels/codec/larder/warp_profile.h"

namespace larder {

struct LarderCudaDecode {
  // View of the profile's block (WriteWarpProfile) in device memory.
  WarpProfile profile;
  CodecElement element = CodecElement::kBfloat16;
  // In device memory. All jobs decode the same number of heads; what their pointers point to is
  // device memory as well.
  const WarpDecodeJob* jobs = nullptr;
  uint32_t job_count = 0;
  uint32_t heads_in_range = 0;
  // In device memory, job_count x heads_in_range: what was wrong with each head. Where it is not
  // kNone the head's destination is unspecified.
  HeadFault* faults = nullptr;
};

// Launches the decoding. The jobs' planes and ranges are the caller's to check before
// (CheckWarpDecodeJob); the bytes are checked by the kernel. What comes back is the launch's error.
cudaError_t LaunchLarderDecode(const LarderCudaDecode& decode, cudaStream_t stream);

}  // namespace larder

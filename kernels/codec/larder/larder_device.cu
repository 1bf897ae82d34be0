// The kernels of codec 3: a warp decodes a head. See larder_device.h.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/codec/larder/larder_device.h"

namespace larder {
namespace {

// Shared memory that one block may have on every GPU from sm_80 on.
constexpr size_t kSharedBytesMax = 163 * 1024;
// Two blocks of so many warps, with the tables and 128 channels each, fit into an SM.
constexpr uint32_t kWarpsMax = 16;

struct BlockShape {
  uint32_t warps = 0;
  size_t table_bytes = 0;
  size_t scratch_bytes = 0;  // of one warp

  size_t SharedBytes() const { return table_bytes + warps * scratch_bytes; }
};

BlockShape ShapeOf(const WarpProfile& profile) {
  BlockShape shape;
  shape.table_bytes = size_t{profile.table_count} * WarpTables::kBytesOfTable;
  shape.scratch_bytes = WarpScratch::Bytes(profile.head_dim, profile.rotation.pairs);
  const size_t room = (kSharedBytesMax - shape.table_bytes) / shape.scratch_bytes;
  shape.warps = static_cast<uint32_t>(std::min<size_t>(room, kWarpsMax));
  return shape;
}

// The tables lie in one piece in the profile's block, ranges first.
__device__ WarpTables CopyTables(const WarpProfile& profile, uint32_t* shared) {
  const uint32_t words = profile.table_count * WarpTables::kBytesOfTable / 4;
  for (uint32_t i = threadIdx.x; i < words; i += blockDim.x) shared[i] = profile.ranges[i];
  __syncthreads();
  const uint32_t ranges = profile.table_count * kSymbolsMax;
  return {reinterpret_cast<const uint8_t*>(shared + ranges), shared};
}

CodecStatus StatusOf(cudaError_t error) {
  return error == cudaSuccess ? CodecStatus{} : DeviceRefused(cudaGetErrorString(error));
}

// A warp takes one head after the other, a whole grid apart.
template <CodecElement kElement>
__global__ void __launch_bounds__(kWarpsMax* kLanes, 2)
    DecodeHeads(const WarpProfile profile, const WarpDecodeJob* jobs, uint32_t count,
                uint32_t heads, uint32_t scratch_bytes, HeadFault* faults) {
  extern __shared__ __align__(16) uint32_t shared[];
  const WarpTables tables = CopyTables(profile, shared);
  const uint32_t table_words = profile.table_count * WarpTables::kBytesOfTable / 4;
  const uint32_t warp = threadIdx.x / kLanes;
  const uint32_t warps = blockDim.x / kLanes;
  const WarpScratch scratch =
      WarpScratch::In(shared + table_words + warp * (scratch_bytes / 4), profile.head_dim);
  for (uint32_t i = blockIdx.x * warps + warp; i < count * heads; i += gridDim.x * warps) {
    const WarpDecodeJob& job = jobs[i / heads];
    WarpHeadDecoder<WarpLanes, kElement> decoder(profile, tables, job, scratch);
    const HeadFault fault = decoder.Decode(job.range.head_begin + i % heads);
    if (WarpLanes::Lane() == 0) faults[i] = fault;
    __syncwarp();
  }
}

template <CodecElement kElement>
CodecStatus Launch(const WarpProfile& profile, const WarpDecodeJob* jobs, uint32_t count,
                   uint32_t heads, HeadFault* faults, cudaStream_t stream) {
  const BlockShape shape = ShapeOf(profile);
  int device = 0;
  int processors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return StatusOf(error);
  error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return StatusOf(error);
  error = cudaFuncSetAttribute(DecodeHeads<kElement>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.SharedBytes()));
  if (error != cudaSuccess) return StatusOf(error);
  const uint32_t blocks = std::min((count * heads + shape.warps - 1) / shape.warps,
                                   2 * static_cast<uint32_t>(processors));
  DecodeHeads<kElement><<<blocks, shape.warps * kLanes, shape.SharedBytes(), stream>>>(
      profile, jobs, count, heads, static_cast<uint32_t>(shape.scratch_bytes), faults);
  return StatusOf(cudaGetLastError());
}

}  // namespace

CodecStatus LaunchLarderDecode(const WarpProfile& profile_dev, CodecElement element,
                               const WarpDecodeJob* jobs_dev, uint32_t count, uint32_t heads,
                               HeadFault* faults_dev, CUstream_st* stream) {
  using enum CodecElement;
  if (count == 0 || heads == 0) return {};
  switch (element) {
    case kBfloat16:
      return Launch<kBfloat16>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat16:
      return Launch<kFloat16>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat8E4M3:
      return Launch<kFloat8E4M3>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat8E5M2:
      return Launch<kFloat8E5M2>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
  }
  return InvalidCodecArgument("element type: not one that the codecs know");
}

}  // namespace larder

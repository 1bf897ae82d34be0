#include <algorithm>

#include "kernels/codec/larder/larder_cuda.h"

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

// A warp takes one head after the other, a whole grid apart.
template <CodecElement kElement>
__global__ void __launch_bounds__(kWarpsMax* kLanes, 2)
    DecodeKernel(const LarderCudaDecode decode, uint32_t scratch_bytes) {
  extern __shared__ __align__(16) uint32_t shared[];
  const WarpTables tables = CopyTables(decode.profile, shared);
  const uint32_t table_words = decode.profile.table_count * WarpTables::kBytesOfTable / 4;
  const uint32_t warp = threadIdx.x / kLanes;
  const uint32_t warps = blockDim.x / kLanes;
  const WarpScratch scratch =
      WarpScratch::In(shared + table_words + warp * (scratch_bytes / 4), decode.profile.head_dim);
  const uint32_t heads = decode.job_count * decode.heads_in_range;
  for (uint32_t i = blockIdx.x * warps + warp; i < heads; i += gridDim.x * warps) {
    const WarpDecodeJob& job = decode.jobs[i / decode.heads_in_range];
    WarpHeadDecoder<WarpLanes, kElement> decoder(decode.profile, tables, job, scratch);
    const HeadFault fault = decoder.Decode(job.range.head_begin + i % decode.heads_in_range);
    if (threadIdx.x % kLanes == 0) decode.faults[i] = fault;
    __syncwarp();
  }
}

template <CodecElement kElement>
cudaError_t Launch(const LarderCudaDecode& decode, cudaStream_t stream) {
  const BlockShape shape = ShapeOf(decode.profile);
  int device = 0;
  int processors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(DecodeKernel<kElement>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.SharedBytes()));
  if (error != cudaSuccess) return error;
  const uint32_t heads = decode.job_count * decode.heads_in_range;
  const uint32_t blocks =
      std::min((heads + shape.warps - 1) / shape.warps, 2 * static_cast<uint32_t>(processors));
  DecodeKernel<kElement><<<blocks, shape.warps * kLanes, shape.SharedBytes(), stream>>>(
      decode, static_cast<uint32_t>(shape.scratch_bytes));
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchLarderDecode(const LarderCudaDecode& decode, cudaStream_t stream) {
  if (decode.job_count == 0 || decode.heads_in_range == 0) return cudaSuccess;
  switch (decode.element) {
    case CodecElement::kBfloat16:
      return Launch<CodecElement::kBfloat16>(decode, stream);
    case CodecElement::kFloat16:
      return Launch<CodecElement::kFloat16>(decode, stream);
    case CodecElement::kFloat8E4M3:
      return Launch<CodecElement::kFloat8E4M3>(decode, stream);
    case CodecElement::kFloat8E5M2:
      return Launch<CodecElement::kFloat8E5M2>(decode, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace larder

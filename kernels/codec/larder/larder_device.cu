// The kernels of codec 3: a warp decodes a head. See larder_device.h.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/codec/larder/larder_device.h"

namespace larder {
namespace {

// Shared memory that one block may have on every GPU from sm_80 on.
constexpr size_t kSharedBytesMax = 163 * 1024;
// So many blocks of so many warps, with the tables and 128 channels a warp, fit into an SM.
constexpr uint32_t kDecodeWarpsMax = 16;
constexpr uint32_t kDecodeBlocksPerMultiprocessor = 2;
constexpr uint32_t kEncodeWarpsMax = 8;
constexpr uint32_t kEncodeBlocksPerMultiprocessor = 3;
constexpr uint32_t kPackWarps = 8;
// Told to the compiler, which would spill registers to have more blocks.
constexpr uint32_t kPackBlocksPerMultiprocessor = 2;

// How a block of warps uses shared memory: tables for all, scratch memory for each.
struct BlockShape {
  uint32_t warps = 0;
  size_t table_bytes = 0;
  size_t scratch_bytes = 0;  // of one warp

  BlockShape(size_t tables, size_t scratch, uint32_t warps_max)
      : table_bytes(tables), scratch_bytes(scratch) {
    const size_t room = (kSharedBytesMax - tables) / scratch;
    warps = static_cast<uint32_t>(std::min<size_t>(room, warps_max));
  }
  size_t SharedBytes() const { return table_bytes + warps * scratch_bytes; }
};

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
__global__ void __launch_bounds__(kDecodeWarpsMax* kLanes, kDecodeBlocksPerMultiprocessor)
    DecodeHeads(const WarpProfile profile, const WarpDecodeJob* jobs, uint32_t count,
                uint32_t heads, uint32_t scratch_bytes, HeadFault* faults) {
  extern __shared__ __align__(64) uint32_t shared[];
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

// As DecodeHeads; the tables of the encoder are smaller.
template <CodecElement kElement>
__global__ void __launch_bounds__(kEncodeWarpsMax* kLanes, kEncodeBlocksPerMultiprocessor)
    EncodeHeads(const WarpProfile profile, const WarpEncodeJob* jobs, uint32_t count,
                uint32_t heads, uint32_t scratch_bytes) {
  extern __shared__ __align__(64) uint32_t shared[];
  const uint32_t table_words = profile.table_count * sizeof(EncodeTable) / 4;
  const uint32_t* const source = reinterpret_cast<const uint32_t*>(profile.encode_tables);
  for (uint32_t i = threadIdx.x; i < table_words; i += blockDim.x) shared[i] = source[i];
  __syncthreads();
  const EncodeTable* const tables = reinterpret_cast<const EncodeTable*>(shared);
  const uint32_t warp = threadIdx.x / kLanes;
  const uint32_t warps = blockDim.x / kLanes;
  const WarpEncodeScratch scratch =
      WarpEncodeScratch::In(shared + table_words + warp * (scratch_bytes / 4), profile.head_dim);
  for (uint32_t i = blockIdx.x * warps + warp; i < count * heads; i += gridDim.x * warps) {
    WarpHeadEncoder<WarpLanes, kElement>(profile, tables, jobs[i / heads], scratch)
        .Encode(i % heads);
  }
}

// A warp packs a head.
template <CodecElement kElement>
__global__ void __launch_bounds__(kPackWarps* kLanes, kPackBlocksPerMultiprocessor)
    PackHeads(const WarpProfile profile, const WarpEncodeJob* jobs, uint32_t count,
              uint32_t heads) {
  const uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) / kLanes;
  if (i < count * heads) {
    WarpHeadPacker<WarpLanes, kElement>(profile, jobs[i / heads]).Pack(i % heads);
  }
}

// How many blocks take so many heads: at most what fills the GPU `times` over. Few heads are spread
// over all multiprocessors, in smaller blocks.
CodecStatus CountBlocks(uint32_t heads, uint32_t times, BlockShape& shape, uint32_t* blocks) {
  int device = 0;
  int count = 0;
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(cudaGetDevice(&device)));
  LARDER_RETURN_IF_CODEC_ERROR(
      StatusOf(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device)));
  const uint32_t processors = static_cast<uint32_t>(count);
  shape.warps = std::min(shape.warps, (heads + processors - 1) / processors);
  *blocks = std::min((heads + shape.warps - 1) / shape.warps, times * processors);
  return {};
}

template <CodecElement kElement>
CodecStatus LaunchDecode(const WarpProfile& profile, const WarpDecodeJob* jobs, uint32_t count,
                         uint32_t heads, HeadFault* faults, cudaStream_t stream) {
  BlockShape shape(size_t{profile.table_count} * WarpTables::kBytesOfTable,
                   WarpScratch::Bytes(profile.head_dim, profile.rotation.pairs), kDecodeWarpsMax);
  uint32_t blocks = 0;
  LARDER_RETURN_IF_CODEC_ERROR(
      CountBlocks(count * heads, kDecodeBlocksPerMultiprocessor, shape, &blocks));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(
      cudaFuncSetAttribute(DecodeHeads<kElement>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shape.SharedBytes()))));
  DecodeHeads<kElement><<<blocks, shape.warps * kLanes, shape.SharedBytes(), stream>>>(
      profile, jobs, count, heads, static_cast<uint32_t>(shape.scratch_bytes), faults);
  return StatusOf(cudaGetLastError());
}

template <CodecElement kElement>
CodecStatus LaunchEncode(const WarpProfile& profile, const WarpEncodeJob* jobs, uint32_t count,
                         uint32_t heads, cudaStream_t stream) {
  BlockShape shape(size_t{profile.table_count} * sizeof(EncodeTable),
                   WarpEncodeScratch::Bytes(profile.head_dim, profile.rotation.pairs),
                   kEncodeWarpsMax);
  uint32_t blocks = 0;
  LARDER_RETURN_IF_CODEC_ERROR(
      CountBlocks(count * heads, kEncodeBlocksPerMultiprocessor, shape, &blocks));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(
      cudaFuncSetAttribute(EncodeHeads<kElement>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shape.SharedBytes()))));
  EncodeHeads<kElement><<<blocks, shape.warps * kLanes, shape.SharedBytes(), stream>>>(
      profile, jobs, count, heads, static_cast<uint32_t>(shape.scratch_bytes));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(cudaGetLastError()));
  PackHeads<kElement>
      <<<(count * heads + kPackWarps - 1) / kPackWarps, kPackWarps * kLanes, 0, stream>>>(
          profile, jobs, count, heads);
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
      return LaunchDecode<kBfloat16>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat16:
      return LaunchDecode<kFloat16>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat8E4M3:
      return LaunchDecode<kFloat8E4M3>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
    case kFloat8E5M2:
      return LaunchDecode<kFloat8E5M2>(profile_dev, jobs_dev, count, heads, faults_dev, stream);
  }
  return InvalidCodecArgument("element type: not one that the codecs know");
}

CodecStatus LaunchLarderEncode(const WarpProfile& profile_dev, CodecElement element,
                               const WarpEncodeJob* jobs_dev, uint32_t count, uint32_t heads,
                               CUstream_st* stream) {
  using enum CodecElement;
  if (count == 0 || heads == 0) return {};
  switch (element) {
    case kBfloat16:
      return LaunchEncode<kBfloat16>(profile_dev, jobs_dev, count, heads, stream);
    case kFloat16:
      return LaunchEncode<kFloat16>(profile_dev, jobs_dev, count, heads, stream);
    case kFloat8E4M3:
      return LaunchEncode<kFloat8E4M3>(profile_dev, jobs_dev, count, heads, stream);
    case kFloat8E5M2:
      return LaunchEncode<kFloat8E5M2>(profile_dev, jobs_dev, count, heads, stream);
  }
  return InvalidCodecArgument("element type: not one that the codecs know");
}

}  // namespace larder

// The kernels of codec 2: a warp decodes or encodes a head. See lossless_device.h.
#include <cuda_runtime.h>

#include "kernels/codec/lossless/lossless_device.h"

namespace larder {
namespace {

constexpr uint32_t kThreadsMax = 512;
constexpr uint32_t kThreadsFew = 128;
// From here on there are warps enough to fill a GPU with large blocks, which load the tables less
// often; below, small blocks reach more multiprocessors.
constexpr uint32_t kManyHeads = 4096;
constexpr uint32_t kPackThreads = 256;
// What the encoder's registers allow; told to the compiler, which would spill some to have more.
constexpr uint32_t kEncodeBlocksPerMultiprocessor = 5;

uint32_t ThreadsFor(uint32_t heads) { return heads >= kManyHeads ? kThreadsMax : kThreadsFew; }
uint32_t BlocksFor(uint32_t heads, uint32_t threads) {
  const uint32_t warps = threads / kLanes;
  return (heads + warps - 1) / warps;
}

CodecStatus StatusOf(cudaError_t error) {
  return error == cudaSuccess ? CodecStatus{} : DeviceRefused(cudaGetErrorString(error));
}

// Copies what all warps of the block look up again and again; 16-byte parts.
__device__ void LoadShared(void* shared, const void* source, size_t bytes) {
  uint4* to = static_cast<uint4*>(shared);
  const uint4* from = static_cast<const uint4*>(source);
  for (uint32_t i = threadIdx.x; i < bytes / sizeof(uint4); i += blockDim.x) to[i] = from[i];
  __syncthreads();
}

template <CodecElement kElement>
__device__ void CopyStored(const LosslessTask& task) {
  const uint32_t dim = task.window.groups * kLanes;
  for (uint32_t token = task.window.token_begin; token < task.window.token_end; ++token) {
    uint8_t* to = task.window.At(token);
    for (uint32_t channel = WarpLanes::Lane(); channel < dim; channel += kLanes) {
      StoreElement<kElement>(
          to, channel, LoadElement<kElement>(task.head.elements, size_t{token} * dim + channel));
    }
  }
}

template <CodecElement kElement>
__global__ void __launch_bounds__(kThreadsMax)
    DecodeHeads(const LosslessTask* tasks, uint32_t count, const LosslessTables* tables,
                uint32_t* damaged) {
  extern __shared__ __align__(64) DecodeTable shared_tables[];
  LoadShared(shared_tables, tables->decode, sizeof(tables->decode));
  const uint32_t index = (blockIdx.x * blockDim.x + threadIdx.x) / kLanes;
  if (index >= count) return;
  const LosslessTask task = tasks[index];
  bool sound = true;
  if (task.window.token_begin >= task.window.token_end) {
    // The range has no filled token of this head.
  } else if (task.head.form == LosslessForm::kStored) {
    CopyStored<kElement>(task);
  } else {
    sound = DecodeLosslessHead<WarpLanes, kElement>(task.head, shared_tables, task.window);
  }
  if (WarpLanes::Lane() == 0) damaged[index] = sound ? 0 : 1;
}

template <CodecElement kElement>
__global__ void __launch_bounds__(kThreadsFew, kEncodeBlocksPerMultiprocessor)
    EncodeHeads(const LosslessHeadToEncode* tasks, uint32_t count, const LosslessTables* tables,
                uint32_t* bytes) {
  __shared__ LosslessCounts counts[kThreadsFew / kLanes];
  const uint32_t index = (blockIdx.x * blockDim.x + threadIdx.x) / kLanes;
  if (index >= count) return;
  const LosslessHeadToEncode task = tasks[index];
  const size_t written =
      LosslessHeadEncoder<WarpLanes, kElement>::Encode(task, *tables, counts[threadIdx.x / kLanes]);
  if (WarpLanes::Lane() == 0) bytes[index] = static_cast<uint32_t>(written);
}

// A block packs one head behind the heads before it and writes its entry of the directory.
__global__ void __launch_bounds__(kPackThreads)
    PackHeads(const LosslessHeadToEncode* tasks, uint32_t heads, const uint32_t* bytes,
              const LosslessRunOutput* outputs) {
  __shared__ uint32_t before;
  const uint32_t plane = blockIdx.x / heads;
  const uint32_t head = blockIdx.x % heads;
  if (threadIdx.x == 0) before = heads * sizeof(uint32_t);
  __syncthreads();
  uint32_t sum = 0;
  for (uint32_t i = threadIdx.x; i < head; i += blockDim.x) sum += bytes[plane * heads + i];
  if (sum != 0) atomicAdd(&before, sum);
  __syncthreads();

  const LosslessRunOutput output = outputs[plane];
  const uint32_t head_bytes = bytes[blockIdx.x];
  const uint32_t* from = reinterpret_cast<const uint32_t*>(tasks[blockIdx.x].to);
  uint32_t* to = reinterpret_cast<uint32_t*>(output.run_dev + before);
  for (uint32_t i = threadIdx.x; i < head_bytes / sizeof(uint32_t); i += blockDim.x) {
    to[i] = from[i];
  }
  if (threadIdx.x != 0) return;
  reinterpret_cast<uint32_t*>(output.run_dev)[head] = before + head_bytes;
  if (head + 1 == heads) *output.run_bytes_dev = before + head_bytes;
}

template <CodecElement kElement>
CodecStatus LaunchDecode(const LosslessTask* tasks, uint32_t count, const LosslessTables* tables,
                         uint32_t* damaged, cudaStream_t stream) {
  constexpr int kSharedBytes = sizeof(tables->decode);
  const cudaError_t error = cudaFuncSetAttribute(
      DecodeHeads<kElement>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return StatusOf(error);
  const uint32_t threads = ThreadsFor(count);
  DecodeHeads<kElement>
      <<<BlocksFor(count, threads), threads, kSharedBytes, stream>>>(tasks, count, tables, damaged);
  return StatusOf(cudaGetLastError());
}

template <CodecElement kElement>
CodecStatus LaunchEncode(const LosslessHeadToEncode* tasks, uint32_t count,
                         const LosslessTables* tables, uint32_t* bytes, cudaStream_t stream) {
  EncodeHeads<kElement>
      <<<BlocksFor(count, kThreadsFew), kThreadsFew, 0, stream>>>(tasks, count, tables, bytes);
  return StatusOf(cudaGetLastError());
}

}  // namespace

CodecStatus LaunchLosslessDecode(CodecElement element, const LosslessTask* tasks_dev,
                                 uint32_t count, const LosslessTables* tables_dev,
                                 uint32_t* damaged_dev, CUstream_st* stream) {
  using enum CodecElement;
  if (count == 0) return {};
  if (count > kLosslessDeviceHeadsMax) return InvalidCodecArgument("count: too many heads");
  switch (element) {
    case kBfloat16:
      return LaunchDecode<kBfloat16>(tasks_dev, count, tables_dev, damaged_dev, stream);
    case kFloat16:
      return LaunchDecode<kFloat16>(tasks_dev, count, tables_dev, damaged_dev, stream);
    case kFloat8E4M3:
      return LaunchDecode<kFloat8E4M3>(tasks_dev, count, tables_dev, damaged_dev, stream);
    case kFloat8E5M2:
      return LaunchDecode<kFloat8E5M2>(tasks_dev, count, tables_dev, damaged_dev, stream);
  }
  return InvalidCodecArgument("element type: not one that the codecs know");
}

CodecStatus LaunchLosslessEncode(const PlaneGeometry& geometry, uint32_t planes,
                                 const LosslessHeadToEncode* tasks_dev,
                                 const LosslessTables* tables_dev,
                                 const LosslessRunOutput* outputs_dev, uint32_t* bytes_dev,
                                 CUstream_st* stream) {
  using enum CodecElement;
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  if (planes == 0) return {};
  if (planes > kLosslessDeviceHeadsMax / geometry.heads) {
    return InvalidCodecArgument("planes: too many heads");
  }
  const uint32_t count = planes * geometry.heads;
  CodecStatus status;
  switch (geometry.element) {
    case kBfloat16:
      status = LaunchEncode<kBfloat16>(tasks_dev, count, tables_dev, bytes_dev, stream);
      break;
    case kFloat16:
      status = LaunchEncode<kFloat16>(tasks_dev, count, tables_dev, bytes_dev, stream);
      break;
    case kFloat8E4M3:
      status = LaunchEncode<kFloat8E4M3>(tasks_dev, count, tables_dev, bytes_dev, stream);
      break;
    case kFloat8E5M2:
      status = LaunchEncode<kFloat8E5M2>(tasks_dev, count, tables_dev, bytes_dev, stream);
      break;
  }
  LARDER_RETURN_IF_CODEC_ERROR(status);
  PackHeads<<<count, kPackThreads, 0, stream>>>(tasks_dev, geometry.heads, bytes_dev, outputs_dev);
  return StatusOf(cudaGetLastError());
}

}  // namespace larder

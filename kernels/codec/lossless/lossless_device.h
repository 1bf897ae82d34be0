// Codec 2 on a GPU. The host checks a run and makes tasks, one a head; a launch takes any number of
// them, from any number of planes and chunks. Functions without state, thread-safe; nothing here
// allocates, synchronises or owns memory. Names that end in _dev are addresses on the device.
//
// The planning functions need no CUDA; the launches are in lossless_device.cu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/geometry.h"
#include "kernels/codec/lossless/lossless_head_encoder.h"
#include "kernels/codec/lossless/lossless_paths.h"
#include "kernels/codec/lossless/lossless_tables.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace larder {

// In one launch.
inline constexpr uint32_t kLosslessDeviceHeadsMax = 1u << 24;

// Makes the tasks that decode the filled tokens of a range; tokens that are not filled are left as
// they are, an engine's blocks are not ours to clear. kCorrupt when the run is damaged: what only
// decoding can find is reported by the launch.
//   run      in host memory, checked here; the same bytes are at run_dev
//   run_dev  aligned to 4 bytes; nobody writes there until the launch is done
//   to_dev   [range's heads] where the token range.token_begin of each goes; aligned to an element
//   tasks    [range's heads] in host memory; the caller copies them to the device
CodecStatus PlanLosslessDecode(const PlaneGeometry& geometry, std::span<const uint8_t> run,
                               const uint8_t* run_dev, const PlaneRange& range,
                               std::span<const TokenDestinations> to_dev,
                               std::span<LosslessTask> tasks);

// Decodes on the caller's stream.
//   tasks_dev    [count] of one element type; at most kLosslessDeviceHeadsMax
//   tables_dev   what BuildLosslessTables made
//   damaged_dev  [count] becomes 1 for a head whose symbols or escapes do not end where they
//   should,
//                whose destination then holds no meaning, else 0
CodecStatus LaunchLosslessDecode(CodecElement element, const LosslessTask* tasks_dev,
                                 uint32_t count, const LosslessTables* tables_dev,
                                 uint32_t* damaged_dev, CUstream_st* stream);

// Bytes of device memory that encoding `planes` planes works in.
size_t LosslessEncodeWorkspaceBytes(const PlaneGeometry& geometry, uint32_t planes);

// Makes the tasks that encode whole planes.
//   from_dev       [planes][heads] aligned to an element
//   workspace_dev  LosslessEncodeWorkspaceBytes, aligned to 16 bytes
//   tasks          [planes][heads] in host memory; the caller copies them to the device
CodecStatus PlanLosslessEncode(const PlaneGeometry& geometry, uint32_t planes,
                               std::span<const TokenSources> from_dev, uint8_t* workspace_dev,
                               std::span<LosslessHeadToEncode> tasks);

// Where an encoded plane goes.
struct LosslessRunOutput {
  uint8_t* run_dev = nullptr;         // LevelBytesMax of room, aligned to 4 bytes
  uint32_t* run_bytes_dev = nullptr;  // becomes the size of the run
};

// Encodes on the caller's stream.
//   tasks_dev    [planes][heads] of one geometry; at most kLosslessDeviceHeadsMax
//   outputs_dev  [planes]
//   bytes_dev    [planes][heads] of working memory
CodecStatus LaunchLosslessEncode(const PlaneGeometry& geometry, uint32_t planes,
                                 const LosslessHeadToEncode* tasks_dev,
                                 const LosslessTables* tables_dev,
                                 const LosslessRunOutput* outputs_dev, uint32_t* bytes_dev,
                                 CUstream_st* stream);

}  // namespace larder

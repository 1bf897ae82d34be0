// Codec 3 on a GPU. A launch decodes any number of planes of any number of chunks of one model,
// into contiguous memory or an engine's paged blocks, on the caller's stream. Functions without
// state, thread-safe; nothing here allocates, synchronises or owns memory. Names that end in _dev
// are addresses on the device.
//
// Runs on the device are hostile like any other bytes: the kernel checks each field before its use
// and reports a fault per head.
//
// The planning functions need no CUDA; the launches are in larder_device.cu.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/larder/warp_decode.h"
#include "kernels/codec/larder/warp_encode.h"
#include "kernels/codec/larder/warp_pack.h"
#include "kernels/codec/larder/warp_profile.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace larder {

// Makes the job that decodes a range of a plane.
//   levels_dev   the runs of the first levels; each begins at a multiple of 4 bytes, and nobody
//                writes there until the launch is done
//   to_dev       where the token range.token_begin of the range's first head goes; aligned to an
//                element
//   head_stride  bytes from there to the same token of the next head
// The caller copies the job to the device.
CodecStatus PlanLarderDecode(const LarderProfile& profile, const PlaneGeometry& geometry,
                             const PlanePlace& place,
                             std::span<const std::span<const uint8_t>> levels_dev,
                             const PlaneRange& range, const TokenDestinations& to_dev,
                             size_t head_stride, WarpDecodeJob& job);

// Decodes on the caller's stream.
//   profile_dev  view of the profile's block in device memory (WriteWarpProfile); its head_dim is
//                that of all jobs, and the caller's to set for a profile of any head dim
//   jobs_dev     [count], all of one element type and with `heads` heads in their ranges
//   faults_dev   [count][heads] what was wrong with each head; unless that is kNone, the head's
//                destination holds no meaning
CodecStatus LaunchLarderDecode(const WarpProfile& profile_dev, CodecElement element,
                               const WarpDecodeJob* jobs_dev, uint32_t count, uint32_t heads,
                               HeadFault* faults_dev, CUstream_st* stream);

// Bytes of device memory that encoding a plane works in, a multiple of 16.
size_t LarderEncodeWorkspaceBytes(const PlaneGeometry& geometry, uint32_t split_tokens = 0);

// Makes the job that encodes a plane: the bytes are those that the CPU writes.
//   from_dev       where token 0 of the first head is; aligned to an element
//   head_stride    bytes from there to token 0 of the next head
//   levels_dev     the first levels, LevelBytesMax of room each, aligned to 4 bytes
//   run_bytes_dev  [levels_dev.size()] becomes the size of each run
//   workspace_dev  LarderEncodeWorkspaceBytes, aligned to 16 bytes
//   split_tokens   as MakeLarderCodec has it
CodecStatus PlanLarderEncode(const LarderProfile& profile, const PlaneGeometry& geometry,
                             const PlanePlace& place, const TokenSources& from_dev,
                             size_t head_stride, std::span<uint8_t* const> levels_dev,
                             uint32_t* run_bytes_dev, uint8_t* workspace_dev, WarpEncodeJob& job,
                             uint32_t split_tokens = 0);

// Encodes on the caller's stream. profile_dev, jobs_dev and heads as in LaunchLarderDecode.
CodecStatus LaunchLarderEncode(const WarpProfile& profile_dev, CodecElement element,
                               const WarpEncodeJob* jobs_dev, uint32_t count, uint32_t heads,
                               CUstream_st* stream);

}  // namespace larder

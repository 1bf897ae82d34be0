// The work on one token's row of a head, once for every CPU path. The scalar ones are the
// specification; the others give the same bytes and values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/codec/cpu_path.h"
#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/head_parameters.h"
#include "kernels/codec/larder/inline_arithmetic.h"
#include "kernels/codec/larder/rotation.h"

namespace larder {

// A row's channels in floats; padded so that vectors may write past head_dim.
struct alignas(64) FloatRow {
  std::array<float, kCodecHeadDimMax> value;
};

// The middle of the fine steps 0 to 26 within a base step: what stands where a value is not coded.
inline constexpr uint8_t kRestMiddle = kFineSteps / 2;

// The refinement levels of a head: kLanes bytes for every kDigitsInByte rows.
using DigitStreams = std::array<const uint8_t*, kDigitLevels>;

// What the spread of a head's channels is computed from; see inline_arithmetic.h.
struct ChannelSums {
  alignas(64) std::array<uint32_t, kCodecHeadDimMax> magnitude_bits = {};  // largest finite value
  alignas(64) std::array<int64_t, kCodecHeadDimMax> sum = {};
  alignas(64) std::array<uint64_t, kCodecHeadDimMax> squares = {};
};

struct RowKernels {
  void (*load)(CodecElement element, const uint8_t* elements, uint32_t head_dim, FloatRow* row);
  // Turns the row by the angles of `token`, or back.
  void (*rotate)(const RotationView& rotation, uint32_t token, bool back, FloatRow* row);
  // The largest finite magnitude of each channel so far.
  void (*see_magnitudes)(const FloatRow& row, uint32_t head_dim, ChannelSums* sums);
  // Sums of the values times `scale`, rounded; what is not below kScaledLimit counts as zero.
  void (*add_scaled)(const FloatRow& row, uint32_t head_dim, float scale, ChannelSums* sums);
  // Base symbols, and the fine steps within them; outside: a bit for each channel that its table
  // cannot express.
  void (*quantise)(const FloatRow& row, const HeadParameters& parameters, uint32_t head_dim,
                   uint8_t* base, uint8_t* rests, uint32_t* outside);
  // The digits of one refinement level: blocks x kLanes bytes, of blocks x kDigitsInByte rows of
  // rests.
  void (*pack)(const uint8_t* rests, size_t blocks, uint32_t level, uint8_t* digits);
  // The values of a token from its base symbols and the first `levels` refinement levels.
  void (*reconstruct)(const uint8_t* base, const DigitStreams& digits, uint32_t levels,
                      uint32_t token, const HeadParameters& parameters, uint32_t head_dim,
                      FloatRow* row);
  void (*store)(CodecElement element, const FloatRow& row, uint32_t head_dim, uint8_t* elements);
};

// REQUIRES: CpuHasPath(path).
const RowKernels& GetRowKernels(CpuPath path);

// The single paths, for GetRowKernels and as fallbacks of each other.
const RowKernels& ScalarRowKernels();
#if defined(__x86_64__)
const RowKernels& Avx2RowKernels();
const RowKernels& Avx512RowKernels();
#endif

}  // namespace larder

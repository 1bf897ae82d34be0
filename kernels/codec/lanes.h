// Logic of 32 lanes written once. On a GPU the lanes are the threads of a warp, each holding its
// own element of a PerLane; on a CPU one thread runs them in order, so that the very code of the
// kernels is tested on machines without a GPU.
//
// In code written against a `Lanes`, what is PerLane differs between lanes and everything else is
// the same for all of them; the lanes meet in Ballot, ForEachSet, Sum, Max and Sync.
#pragma once

#include <cstdint>

#include "kernels/codec/geometry.h"
#include "kernels/codec/host_device.h"

namespace larder {

struct CpuLanes {
  template <typename T>
  class PerLane {
   public:
    LARDER_HD T& operator[](uint32_t lane) { return values_[lane]; }
    LARDER_HD const T& operator[](uint32_t lane) const { return values_[lane]; }

   private:
    T values_[kLanes];
  };

  // body(lane) for each lane.
  template <typename Body>
  LARDER_HD static void ForEach(Body body) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) body(lane);
  }

  // Bit `lane` is predicate(lane); every lane gets the whole mask.
  template <typename Predicate>
  LARDER_HD static uint32_t Ballot(Predicate predicate) {
    uint32_t mask = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      mask |= static_cast<uint32_t>(predicate(lane)) << lane;
    }
    return mask;
  }

  // body(lane, rank) for each lane whose bit is set; rank counts the set bits below.
  template <typename Body>
  LARDER_HD static void ForEachSet(uint32_t mask, Body body) {
    for (uint32_t rank = 0; mask != 0; ++rank, mask &= mask - 1) {
      body(static_cast<uint32_t>(__builtin_ctz(mask)), rank);
    }
  }

  LARDER_HD static uint32_t CountSet(uint32_t mask) {
    return static_cast<uint32_t>(__builtin_popcount(mask));
  }

  // The sum of value(lane); every lane gets it.
  template <typename Value>
  LARDER_HD static uint32_t Sum(Value value) {
    uint32_t sum = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) sum += value(lane);
    return sum;
  }

  // The largest value(lane); every lane gets it.
  template <typename Value>
  LARDER_HD static uint32_t Max(Value value) {
    uint32_t largest = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      largest = value(lane) > largest ? value(lane) : largest;
    }
    return largest;
  }

  // What a lane wrote to memory before, the others read after.
  LARDER_HD static void Sync() {}
};

#ifdef __CUDACC__

// One-dimensional blocks of whole warps; all lanes of the warp take part in every call.
struct WarpLanes {
  template <typename T>
  class PerLane {
   public:
    __device__ T& operator[](uint32_t) { return value_; }
    __device__ const T& operator[](uint32_t) const { return value_; }

   private:
    T value_;
  };

  __device__ static uint32_t Lane() { return threadIdx.x % kLanes; }

  template <typename Body>
  __device__ static void ForEach(Body body) {
    body(Lane());
  }

  template <typename Predicate>
  __device__ static uint32_t Ballot(Predicate predicate) {
    return __ballot_sync(0xffffffffu, predicate(Lane()));
  }

  template <typename Body>
  __device__ static void ForEachSet(uint32_t mask, Body body) {
    const uint32_t bit = 1u << Lane();
    if ((mask & bit) != 0) body(Lane(), static_cast<uint32_t>(__popc(mask & (bit - 1))));
  }

  __device__ static uint32_t CountSet(uint32_t mask) { return static_cast<uint32_t>(__popc(mask)); }

  template <typename Value>
  __device__ static uint32_t Sum(Value value) {
    return __reduce_add_sync(0xffffffffu, value(Lane()));
  }

  template <typename Value>
  __device__ static uint32_t Max(Value value) {
    return __reduce_max_sync(0xffffffffu, value(Lane()));
  }

  __device__ static void Sync() { __syncwarp(); }
};

#endif

}  // namespace larder

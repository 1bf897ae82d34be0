// Marks functions that the CPU and the CUDA kernels share, and the float operations whose every bit
// both must agree on.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define LARDER_HD __host__ __device__
#else
#define LARDER_HD
#endif

namespace larder {

// One rounding each, to nearest even. The CPU side is compiled with -ffp-contract=off and the
// device side names the operation, so that neither fuses a multiplication with an addition.
LARDER_HD inline float MultiplyRounded(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

LARDER_HD inline float AddRounded(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

}  // namespace larder

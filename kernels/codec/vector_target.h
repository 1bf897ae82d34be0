// The vector intrinsics, and which instructions a function may use, chosen a function at a time and
// never a file at a time: an inline function of the standard library that was compiled with AVX-512
// could be the copy that the linker keeps for everyone. A lambda does not inherit the attribute, so
// vector code has none.
#pragma once

#if defined(__x86_64__)

// GCC 12 takes the intrinsics' deliberately undefined registers for variables that nobody set.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

// As CpuPath::kAvx2 and CpuPath::kAvx512 (codec/cpu_path.h).
#define LARDER_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,f16c")))
#define LARDER_TARGET_AVX512                                                 \
  __attribute__((                                                            \
      target("avx2,bmi,bmi2,popcnt,f16c,avx512f,avx512bw,avx512dq,avx512vl," \
             "avx512vbmi,avx512vbmi2")))

// For the parts of a hot loop. The caller has the same attribute.
#define LARDER_ALWAYS_INLINE inline __attribute__((always_inline))

#endif

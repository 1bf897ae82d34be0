#include "kernels/codec/cpu_path.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace larder {
namespace {

#if defined(__x86_64__)
// clang 14 does not know the name of this feature.
bool HasF16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

const char* CpuPathName(CpuPath path) {
  switch (path) {
    case CpuPath::kScalar:
      return "scalar";
    case CpuPath::kAvx2:
      return "avx2";
    case CpuPath::kAvx512:
      return "avx512";
  }
  return "unknown";
}

bool CpuHasPath(CpuPath path) {
  switch (path) {
    case CpuPath::kScalar:
      return true;
#if defined(__x86_64__)
    case CpuPath::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && HasF16c();
    case CpuPath::kAvx512:
      return CpuHasPath(CpuPath::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
             __builtin_cpu_supports("avx512vbmi2");
#else
    case CpuPath::kAvx2:
    case CpuPath::kAvx512:
      return false;
#endif
  }
  return false;
}

CpuPath BestCpuPath() { return AvailableCpuPaths().back(); }

std::vector<CpuPath> AvailableCpuPaths() {
  std::vector<CpuPath> paths;
  for (const CpuPath path : {CpuPath::kScalar, CpuPath::kAvx2, CpuPath::kAvx512}) {
    if (CpuHasPath(path)) {
      paths.push_back(path);
    }
  }
  return paths;
}

}  // namespace larder

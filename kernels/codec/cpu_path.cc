#include "kernels/codec/cpu_path.h"

namespace larder {

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
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
             __builtin_cpu_supports("f16c");
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

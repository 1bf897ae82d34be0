// Which instructions the CPU side of a codec uses. All paths give the same bytes and values.
#pragma once

#include <cstdint>
#include <vector>

namespace larder {

enum class CpuPath : uint8_t {
  kScalar = 0,  // the plain reference, which is the specification
  kAvx2 = 1,    // with BMI2 and F16C
  kAvx512 = 2,  // F, BW, DQ, VL, VBMI and VBMI2: Ice Lake, Zen 4 and later
};

const char* CpuPathName(CpuPath path);

// True when this processor has the instructions.
bool CpuHasPath(CpuPath path);

// The fastest that this processor has.
CpuPath BestCpuPath();

// All that this processor has, the scalar one first.
std::vector<CpuPath> AvailableCpuPaths();

}  // namespace larder

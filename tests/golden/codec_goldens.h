// The golden runs of the KV codecs in tests/golden/codec: planes as plane_TYPE.bin, what a codec
// makes of one as NAME.run, what that decodes to as NAME.decoded where it is not the plane itself,
// and damaged runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"

namespace larder {

struct CodecGolden {
  std::string name;
  std::string plane_file;
  std::string decoded_file;  // plane_file when nothing is lost
  PlaneGeometry geometry;
  PlanePlace place;
  std::function<std::unique_ptr<Codec>(CpuPath)> make;
};

// NAME.run is that of `golden` with a change that Damage makes; refused with `error`.
struct DamagedCodecGolden {
  std::string name;
  std::string golden;
  std::function<void(std::vector<uint8_t>&)> damage;
  std::string error;
};

std::vector<CodecGolden> CodecGoldens();
std::vector<DamagedCodecGolden> DamagedCodecGoldens();

}  // namespace larder

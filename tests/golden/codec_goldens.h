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

// The larder codec: NAME_level0.bin to NAME_level3.bin of plane_bfloat16.bin, and what the first
// ones decode to, NAME_decoded1.bin to NAME_decoded4.bin. With split points the base level is
// NAME_split_level0.bin, and all else is the same.
struct LarderGolden {
  std::string name;
  std::string profile_file;  // empty: the generic profile
  PlaneGeometry geometry;
  PlanePlace place;
  uint32_t split_tokens = 0;

  std::string LevelFile(uint32_t level) const {
    const char* const kind = level == 0 && split_tokens != 0 ? "_split_level" : "_level";
    return name + kind + std::to_string(level) + ".bin";
  }
};
inline constexpr const char* kLarderGoldenProfile = "larder_profile.bin";

std::vector<LarderGolden> LarderGoldens();

std::vector<CodecGolden> CodecGoldens();
std::vector<DamagedCodecGolden> DamagedCodecGoldens();

}  // namespace larder

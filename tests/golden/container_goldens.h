// What the files in tests/golden/container are: the chunk that each valid one holds, and the change
// that made each corrupt one out of valid_key_value.bin.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/format/container.h"
#include "kernels/format/manifest.h"

namespace larder {

struct ValidGolden {
  std::string file_name;
  Manifest manifest;
  ChunkIdentity identity;
  std::vector<uint8_t> payload;
};
std::vector<ValidGolden> ValidGoldens();

struct CorruptGolden {
  std::string file_name;
  std::string error;  // part of the message, whether Parse or VerifyBodies finds it
  void (*change)(std::vector<uint8_t>& container);
};
std::vector<CorruptGolden> CorruptGoldens();

// The serialised manifest of valid_key_value.bin.
inline constexpr char kManifestGolden[] = "manifest_key_value.bin";
// The same manifest with two levels of codec larder.
inline constexpr char kCodedManifestGolden[] = "manifest_coded.bin";

// A container in four levels; the same, cut at the end of the second; and cut 64 bytes before.
inline constexpr char kLevelsGolden[] = "valid_levels.bin";
inline constexpr char kCutGolden[] = "valid_levels_cut.bin";
inline constexpr char kMiscutGolden[] = "corrupt_levels_cut.bin";
// What valid_levels.bin is made of.
ValidGolden LevelsGolden();

}  // namespace larder

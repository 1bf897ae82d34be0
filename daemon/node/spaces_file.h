// Remembers over restarts which spaces exist, so that recovered blocks can be understood.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "daemon/core/core_types.h"

namespace larder {

std::vector<uint8_t> EncodeSpaces(std::span<const SpaceDescription> spaces);

// DATA_LOSS naming what is wrong; never a part of the list.
absl::StatusOr<std::vector<SpaceDescription>> DecodeSpaces(std::span<const uint8_t> bytes);

// Replaces the file in one step: whoever is killed midway leaves the old one or the new one.
absl::Status WriteSpacesFile(const std::string& path, std::span<const SpaceDescription> spaces);

// Empty when there is no such file.
absl::StatusOr<std::vector<SpaceDescription>> ReadSpacesFile(const std::string& path);

}  // namespace larder

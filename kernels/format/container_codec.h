// The codecs of containers by their names. All functions are thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/format/container_format.h"

namespace larder {

inline constexpr absl::string_view kContainerCodecNames = "raw, lossless, larder, cachegen, kivi";

// INVALID_ARGUMENT for a name that is none of these.
absl::StatusOr<ContainerCodec> ParseContainerCodec(absl::string_view name);
// "unknown" for a value that is no codec.
absl::string_view ContainerCodecName(ContainerCodec codec);

// INVALID_ARGUMENT for a value that is no codec, or for more levels than the codec has.
absl::Status CheckLevels(ContainerCodec codec, uint32_t levels);

}  // namespace larder

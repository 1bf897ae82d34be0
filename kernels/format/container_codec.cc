#include "kernels/format/container_codec.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace larder {

absl::StatusOr<ContainerCodec> ParseContainerCodec(absl::string_view name) {
  uint16_t number = 0;
  for (const absl::string_view known : absl::StrSplit(kContainerCodecNames, ", ")) {
    ++number;
    if (name == known) return static_cast<ContainerCodec>(number);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("codec \"", name, "\" is none of ", kContainerCodecNames));
}

absl::string_view ContainerCodecName(ContainerCodec codec) {
  if (LevelsMax(codec) == 0) return "unknown";
  const std::vector<absl::string_view> names = absl::StrSplit(kContainerCodecNames, ", ");
  return names[static_cast<size_t>(codec) - 1];
}

absl::Status CheckLevels(ContainerCodec codec, uint32_t levels) {
  const uint32_t levels_max = LevelsMax(codec);
  if (levels_max == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no codec has the number ", static_cast<int>(codec)));
  }
  if (levels <= levels_max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("levels is ", levels, ", codec ",
                                                 ContainerCodecName(codec), " has ", levels_max));
}

}  // namespace larder

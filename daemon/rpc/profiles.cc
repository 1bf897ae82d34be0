#include "daemon/rpc/profiles.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace larder {
namespace {

// A profile of 128 layers with 16 heads of 256 channels has 5 MiB.
constexpr uintmax_t kProfileBytesMax = uintmax_t{64} << 20;

absl::StatusOr<ProfilePointer> LoadProfile(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("opening ", path));
  if (size > kProfileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", size, " bytes, more than any profile"));
  }
  std::string bytes(size, '\0');
  if (!std::ifstream(path, std::ios::binary)
           .read(bytes.data(), static_cast<std::streamsize>(size))) {
    return ErrnoStatus(errno, absl::StrCat("reading ", path));
  }
  absl::StatusOr<ProfilePointer> profile =
      ParseProfile({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!profile.ok()) return Annotate(profile.status(), path);
  return profile;
}

}  // namespace

absl::StatusOr<std::vector<ProfilePointer>> LoadProfiles(absl::string_view paths) {
  std::vector<ProfilePointer> profiles;
  for (const absl::string_view path : absl::StrSplit(paths, ',', absl::SkipWhitespace())) {
    ASSIGN_OR_RETURN(ProfilePointer profile, LoadProfile(std::string(path)));
    profiles.push_back(std::move(profile));
  }
  return profiles;
}

}  // namespace larder

#include "tools/ctl/space_lookup.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/console/table.h"

namespace larder {
namespace {

constexpr size_t kNamedSpacesMax = 8;

// "1a2b... (tenant/model), ...", a few of them.
std::string NamesOf(const std::vector<const v1::SpaceStatus*>& spaces) {
  std::string names;
  for (size_t i = 0; i < spaces.size() && i < kNamedSpacesMax; ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ", spaces[i]->space_id().substr(0, 8), " (",
                    Printable(spaces[i]->description().tenant()), ", ",
                    Printable(spaces[i]->description().manifest().model()), ")");
  }
  if (spaces.size() > kNamedSpacesMax) absl::StrAppend(&names, ", ...");
  return names;
}

}  // namespace

absl::StatusOr<v1::SpaceStatus> SelectSpace(std::span<const v1::SpaceStatus> spaces,
                                            const std::string& id) {
  std::vector<const v1::SpaceStatus*> all, found;
  for (const v1::SpaceStatus& space : spaces) {
    all.push_back(&space);
    if (absl::StartsWith(space.space_id(), id)) found.push_back(&space);
  }
  if (found.size() == 1) return *found.front();
  if (all.empty()) return absl::NotFoundError("the daemon has no spaces yet");
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no space ", id, "; there ", all.size() == 1 ? "is " : "are ", NamesOf(all)));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      id.empty() ? "which space? --space names one of " : "several spaces begin with " + id + ": ",
      NamesOf(found)));
}

absl::StatusOr<v1::SpaceStatus> FindSpace(AdminClient& admin, const std::string& id) {
  ASSIGN_OR_RETURN(const std::vector<v1::SpaceStatus> spaces, admin.Spaces());
  return SelectSpace(spaces, id);
}

absl::StatusOr<std::string> FindSpaceIdOrAll(AdminClient& admin, const std::string& id) {
  if (id.empty()) return id;
  ASSIGN_OR_RETURN(const v1::SpaceStatus space, FindSpace(admin, id));
  return space.space_id();
}

}  // namespace larder

// From what a command line says to one of the daemon's spaces.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "proto/larder/v1/admin.pb.h"
#include "tools/ctl/admin_client.h"

namespace larder {

// The only one of `spaces` whose id begins with `id`, which may be empty. NOT_FOUND and
// INVALID_ARGUMENT (there are several) say which there are.
absl::StatusOr<v1::SpaceStatus> SelectSpace(std::span<const v1::SpaceStatus> spaces,
                                            const std::string& id);

// The same among the daemon's spaces.
absl::StatusOr<v1::SpaceStatus> FindSpace(AdminClient& admin, const std::string& id);

// The id of that space; empty, for all spaces, when `id` is.
absl::StatusOr<std::string> FindSpaceIdOrAll(AdminClient& admin, const std::string& id);

}  // namespace larder

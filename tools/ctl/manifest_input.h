// Manifests as people write them down.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/format/manifest.h"
#include "proto/larder/v1/types.pb.h"

namespace larder {

// A JSON object with the fields of larder.v1.Manifest, in the form that ToJson gives it.
// INVALID_ARGUMENT names the field that is wrong.
absl::StatusOr<Manifest> ManifestFromJson(absl::string_view text);

// Each is "FIELD=VALUE", with a field of larder.v1.Manifest.
absl::StatusOr<Manifest> ManifestFromFields(const std::vector<std::string>& fields);

// The manifest as the client library takes it; what it returns passes Validate.
absl::StatusOr<Manifest> ToManifest(const v1::Manifest& message);

}  // namespace larder

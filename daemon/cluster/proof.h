// How a node proves over gRPC that it belongs to the cluster. Stateless, thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace larder {

// 64 lower-case hexadecimal digits: HMAC-SHA256 of "larder cluster " + cluster under the secret.
// With an empty secret it proves nothing but the cluster's name.
std::string ClusterProof(absl::string_view secret, absl::string_view cluster);

// Compares in constant time.
bool ProvesCluster(absl::string_view proof, absl::string_view secret, absl::string_view cluster);

}  // namespace larder

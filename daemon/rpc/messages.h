// Between the protocol's messages and our types. What comes in is hostile: INVALID_ARGUMENT names
// the field. Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/ids.h"
#include "common/status.h"
#include "daemon/core/core_types.h"
#include "kernels/format/container.h"
#include "kernels/format/manifest.h"
#include "proto/larder/v1/types.pb.h"

namespace larder {

using RepeatedText = google::protobuf::RepeatedPtrField<std::string>;

// Keys in one request: as many as a local client may send in one frame, since the event loop looks
// at them in one go.
inline constexpr int kRpcKeysMax = 4096;

absl::StatusOr<SpaceId> ParseSpaceId(absl::string_view field, absl::string_view hex);
absl::StatusOr<KeyHash> ParseKeyHash(absl::string_view field, absl::string_view hex);
// A key of 1 to 64 bytes.
absl::StatusOr<ChunkKey> ParseKey(absl::string_view field, absl::string_view key);
// The hashes of 1 to kRpcKeysMax keys.
absl::StatusOr<std::vector<KeyHash>> ParseKeys(const RepeatedText& keys);
// `unspecified` for one that is left out.
absl::StatusOr<ContainerCodec> ParseCodec(absl::string_view field, v1::Codec codec,
                                          ContainerCodec unspecified);
absl::StatusOr<SpaceDescription> ParseSpaceDescription(const v1::SpaceDescription& message);
// The whole chunk when `message` is null.
absl::StatusOr<Part> ParsePart(const v1::Part* message, const Manifest& manifest);

void FillSpaceDescription(const SpaceDescription& description, v1::SpaceDescription* message);
void FillPart(const Part& part, v1::Part* message);
void FillRemovals(const std::array<uint64_t, kRemovalCauses>& removed,
                  google::protobuf::RepeatedPtrField<v1::RemovalCount>* counts);
// Empty for the zero hash, which means "none".
std::string HashOrNothing(const KeyHash& hash);

inline std::span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace larder

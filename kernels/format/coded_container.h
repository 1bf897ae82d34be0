// Containers of any codec: encoded once by the producer, decoded by the consumer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/larder/profile.h"
#include "kernels/format/container.h"
#include "kernels/format/container_codec.h"

namespace larder {

using ProfilePointer = std::shared_ptr<const LarderProfile>;

// The profile of a file's bytes, named by their hash as docs/formats/codec_larder.md says.
// DATA_LOSS says what is wrong with them.
absl::StatusOr<ProfilePointer> ParseProfile(std::span<const uint8_t> bytes);

// One codec of each kind, on the fastest path of this processor. Immutable, thread-safe.
class ContainerCodecs {
 public:
  // Codec larder writes with `profile`, the model's; null: the generic one. It reads what was
  // written with that, with the generic one, or with one of `others`.
  explicit ContainerCodecs(ProfilePointer profile = nullptr,
                           std::span<const ProfilePointer> others = {});

  // REQUIRES: LevelsMax(codec) > 0.
  const Codec& Get(ContainerCodec codec) const { return *codecs_[static_cast<size_t>(codec) - 1]; }
  // Codec larder with the profile of that id; null without it.
  const Codec* FindLarder(const ProfileId& profile) const;

 private:
  std::vector<std::unique_ptr<Codec>> codecs_;
  std::vector<std::pair<ProfileId, std::unique_ptr<Codec>>> larder_readers_;
};

// OK when `codec` can store the chunks of `manifest`; INVALID_ARGUMENT says what it can't.
absl::Status CheckCodec(const ContainerCodecs& codecs, ContainerCodec codec,
                        const Manifest& manifest);

// The container of `payload`, as WriteRawContainer has it, with the first `levels` levels of the
// codec (0: all). INVALID_ARGUMENT says what does not fit the manifest, or what the codec can't
// store: see kernels/codec/geometry.h for its bounds.
absl::StatusOr<std::vector<uint8_t>> EncodeContainer(const ContainerCodecs& codecs,
                                                     ContainerCodec codec, uint32_t levels,
                                                     const Manifest& manifest,
                                                     const ChunkIdentity& identity,
                                                     std::span<const ConstSegment> payload);

// As ReadRawContainer, whatever the container's codec, from its first `levels` levels (0: all that
// are there). Of a coded one each plane is copied, summed and decoded by itself; DATA_LOSS also
// says that a run is not what its codec writes, FAILED_PRECONDITION that `codecs` lack the profile
// that it was written with.
absl::Status ReadContainer(const ContainerCodecs& codecs, const ContainerView& view,
                           const Manifest& manifest, const Part& wanted, uint32_t levels,
                           std::span<const Segment> destination,
                           const LayerCallback& on_layer = nullptr);

}  // namespace larder

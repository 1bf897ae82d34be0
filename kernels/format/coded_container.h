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
  // written with that, with the generic one, or with one of `others`. `split_tokens`: as
  // MakeLarderCodec has it.
  explicit ContainerCodecs(ProfilePointer profile = nullptr,
                           std::span<const ProfilePointer> others = {}, uint32_t split_tokens = 0);

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

// Half-open and not empty.
struct TokenRange {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// Half-open, in bytes from a container's first.
struct ContainerRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Which bytes of the planes ReadContainerTokens reads, for a reader that fetches only these, and
// before them header and table of contents. It asks kNeededSteps times; before it asks for step n,
// what steps 0 to n - 1 named is at its place in view.bytes(). DATA_LOSS and INVALID_ARGUMENT as
// ReadContainerTokens.
absl::StatusOr<std::vector<ContainerRange>> FindContainerTokens(
    const ContainerCodecs& codecs, const ContainerView& view, const Manifest& manifest,
    const Part& wanted, const TokenRange& tokens, uint32_t levels, uint32_t step);

// As ReadContainer, but of some tokens alone: `destination` is in the order layer, plane, head,
// token of the range, dim. Planes are not read whole, so their checksums are not looked at: whoever
// fetched the bytes has to know that they are sound.
absl::Status ReadContainerTokens(const ContainerCodecs& codecs, const ContainerView& view,
                                 const Manifest& manifest, const Part& wanted,
                                 const TokenRange& tokens, uint32_t levels,
                                 std::span<const Segment> destination);

}  // namespace larder

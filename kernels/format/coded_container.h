// Containers of any codec: encoded once by the producer, decoded by the consumer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/larder/profile.h"
#include "kernels/format/container.h"

namespace larder {

// "raw, lossless, larder, cachegen, kivi", and the codec of a name; INVALID_ARGUMENT without one.
inline constexpr absl::string_view kContainerCodecNames = "raw, lossless, larder, cachegen, kivi";
absl::StatusOr<ContainerCodec> ParseContainerCodec(absl::string_view name);
absl::string_view ContainerCodecName(ContainerCodec codec);

// One codec of each kind, on the fastest path of this processor. Immutable, thread-safe.
class ContainerCodecs {
 public:
  // `profile` is the model's for codec larder; null: the generic one. `split_tokens`: as
  // MakeLarderCodec has it.
  explicit ContainerCodecs(std::shared_ptr<const LarderProfile> profile = nullptr,
                           uint32_t split_tokens = 0);

  // REQUIRES: LevelsMax(codec) > 0.
  const Codec& Get(ContainerCodec codec) const { return *codecs_[static_cast<size_t>(codec) - 1]; }

 private:
  std::vector<std::unique_ptr<Codec>> codecs_;
};

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
// says that a run is not what its codec writes.
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

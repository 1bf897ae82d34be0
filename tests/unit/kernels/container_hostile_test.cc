// Containers that disk, wire or a hostile process has changed: refused or harmless, never wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/format/container.h"
#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

// Three planes, so that there is padding after the table of contents and after each plane.
struct Sample {
  Manifest manifest = {.model = "m",
                       .revision = "",
                       .quantisation = "",
                       .rope = "",
                       .hash_scheme = "",
                       .kind = CacheKind::kLatent,
                       .layers = 3,
                       .heads = 2,
                       .head_dim = 5,
                       .tokens_per_chunk = 4};
  ChunkIdentity identity;
  std::vector<uint8_t> container;

  Sample() {
    SeededRandom random(5);
    identity = RandomIdentity(random, manifest, manifest.WholePart());
    container = ModelContainer(manifest, identity);
  }
};

constexpr size_t kMetadataBytes = sizeof(ContainerHeader) + 3 * sizeof(ContainerTocEntry);

// What a consumer gets: the payload, or why not.
absl::StatusOr<std::vector<uint8_t>> Consume(const Sample& sample,
                                             std::span<const uint8_t> container) {
  absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  if (!view.ok()) return view.status();
  const ChunkIdentity& wanted = sample.identity;
  absl::Status status = view->CheckIdentity(sample.manifest, wanted.space, wanted.key, wanted.part);
  if (!status.ok()) return status;
  std::vector<uint8_t> result(sample.manifest.PayloadBytes(wanted.part));
  const Segment segment = {result.data(), result.size()};
  status = ReadRawContainer(*view, sample.manifest, wanted.part, {&segment, 1});
  if (!status.ok()) return status;
  return result;
}

TEST(ContainerHostileTest, EveryTruncationIsRefused) {
  const Sample sample;
  ASSERT_TRUE(Consume(sample, sample.container).ok());
  for (size_t size = 0; size < sample.container.size(); ++size) {
    // A copy of its own, so that AddressSanitizer sees any read past the end.
    const std::vector<uint8_t> cut(sample.container.begin(), sample.container.begin() + size);
    const absl::Status status = ContainerView::Parse(cut).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
  }
  std::vector<uint8_t> longer = sample.container;
  longer.resize(longer.size() + kPlaneAlignment);
  EXPECT_THAT(ContainerView::Parse(longer).status().message(), HasSubstr("total_bytes"));
}

TEST(ContainerHostileTest, TruncationsWithRightChecksumsAreRefused) {
  const Sample sample;
  for (size_t size = 0; size < sample.container.size(); ++size) {
    std::vector<uint8_t> cut(sample.container.begin(), sample.container.begin() + size);
    ContainerHeader header;
    if (cut.size() >= sizeof header) {
      std::memcpy(&header, cut.data(), sizeof header);
      header.total_bytes = cut.size();
      header.body_bytes = cut.size() - header.body_offset;
      std::memcpy(cut.data(), &header, sizeof header);
      RepairChecksums(cut);
    }
    EXPECT_FALSE(ContainerView::Parse(cut).ok()) << size;
  }
}

TEST(ContainerHostileTest, EveryBitFlipIsFound) {
  const Sample sample;
  for (size_t i = 0; i < sample.container.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<uint8_t> flipped = sample.container;
      flipped[i] ^= static_cast<uint8_t>(1 << bit);
      const absl::StatusOr<ContainerView> view = ContainerView::Parse(flipped);
      if (i < kMetadataBytes) {
        ASSERT_EQ(view.status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
      } else if (view.ok()) {
        ASSERT_EQ(view->VerifyBodies().code(), absl::StatusCode::kDataLoss) << "byte " << i;
      }
    }
  }
}

// Whoever can write a container can also make its checksums right: then the bounds must hold.
TEST(ContainerHostileTest, ChangesWithRightChecksumsAreRefusedOrHarmless) {
  const Sample sample;
  const std::vector<uint8_t> payload = ModelPayload(sample.manifest, sample.identity.part);
  size_t harmless_count = 0;
  for (size_t i = 0; i < kMetadataBytes; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::vector<uint8_t> changed = sample.container;
      if (changed[i] == value) continue;
      changed[i] = static_cast<uint8_t>(value);
      RepairChecksums(changed);
      const absl::StatusOr<std::vector<uint8_t>> result = Consume(sample, changed);
      if (!result.ok()) continue;
      ASSERT_EQ(*result, payload) << "byte " << i << " value " << value;
      ++harmless_count;
    }
  }
  // Parent, depth and a token count in bounds are no matter of the payload; checksums are repaired.
  EXPECT_GT(harmless_count, 0u);
}

TEST(ContainerHostileTest, ExtremeFieldsWithRightChecksumsAreRefused) {
  const Sample sample;
  const std::vector<uint8_t> payload = ModelPayload(sample.manifest, sample.identity.part);
  for (size_t i = 0; i + 8 <= kMetadataBytes; i += 4) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 31, uint64_t{UINT32_MAX},
                                 uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 63}) {
      std::vector<uint8_t> changed = sample.container;
      std::memcpy(&changed[i], &value, sizeof value);
      RepairChecksums(changed);
      const absl::StatusOr<std::vector<uint8_t>> result = Consume(sample, changed);
      EXPECT_TRUE(!result.ok() || *result == payload) << "offset " << i << " value " << value;
    }
  }
}

using Toc = std::vector<ContainerTocEntry>;

// What a consumer of `manifest` says after `change` by someone who makes the checksums right.
std::string MessageAfter(const Manifest& manifest, std::vector<uint8_t> container,
                         void (*change)(ContainerHeader&, Toc&)) {
  ContainerHeader header;
  std::memcpy(&header, container.data(), sizeof header);
  Toc toc(header.toc_entry_count);
  std::memcpy(toc.data(), &container[sizeof header], toc.size() * sizeof toc[0]);
  change(header, toc);
  std::memcpy(container.data(), &header, sizeof header);
  std::memcpy(&container[sizeof header], toc.data(), toc.size() * sizeof toc[0]);
  // Whoever forges the length can hand over as many bytes.
  if (header.total_bytes < 4096) container.resize(header.total_bytes);
  RepairChecksums(container);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  const absl::Status status = view.ok() ? view->CheckManifest(manifest) : view.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  return std::string(status.message());
}

TEST(ContainerHostileTest, ErrorsNameFieldAndOffset) {
  // Two heads of four tokens of five bfloat16 are 80 bytes a plane: planes at 384, 512 and 640.
  const Sample sample;
  const std::vector<std::pair<std::string, void (*)(ContainerHeader&, Toc&)>> cases = {
      {"header field codec at offset 12 is 9, must be 1 to 5",
       [](ContainerHeader& header, Toc&) { header.codec = 9; }},
      {"key_bytes at offset 20 is 65, must be 1 to 64",
       [](ContainerHeader& header, Toc&) { header.key_bytes = 65; }},
      {"reserved bytes at offset 196",
       [](ContainerHeader& header, Toc&) { header.reserved[55] = 1; }},
      {"layer_begin at offset 144 is 3, must be 0 to 2",
       [](ContainerHeader& header, Toc&) { header.layer_begin = 3; }},
      {"total_bytes at offset 184 is 18446744073709551615, expected 768",
       [](ContainerHeader& header, Toc&) { header.total_bytes = UINT64_MAX; }},
      {"body_bytes at offset 176 is 385, must be a multiple of 64",
       [](ContainerHeader& header, Toc&) { header.body_bytes += 1, header.total_bytes += 1; }},
      {"planes end at offset 768, the container at 832",
       [](ContainerHeader& header, Toc&) { header.body_bytes += 64, header.total_bytes += 64; }},
      {"table of contents entry 1 at offset 288: plane offset is 448, expected 512",
       [](ContainerHeader&, Toc& toc) { toc[1].offset -= 64; }},
      {"entry 2 at offset 320: stored length is 18446744073709551615, must be 1 to 128",
       [](ContainerHeader&, Toc& toc) { toc[2].stored_bytes = UINT64_MAX; }},
      {"entry 1 at offset 288: raw length is 81, stored length 80",
       [](ContainerHeader&, Toc& toc) { toc[1].raw_bytes = 81; }},
      {"entry 2 at offset 320: raw length is 79, that of entry 0 is 80",
       [](ContainerHeader&, Toc& toc) { toc[2].raw_bytes = toc[2].stored_bytes = 79; }},
      {"entry 0 at offset 256: reserved", [](ContainerHeader&, Toc& toc) { toc[0].reserved = 1; }},
  };
  for (const auto& [message, change] : cases) {
    EXPECT_THAT(MessageAfter(sample.manifest, sample.container, change), HasSubstr(message));
  }
}

TEST(ContainerHostileTest, ForgedGeometryDoesNotPassForTheManifest) {
  const Sample sample;
  const auto message_after = [&sample](void (*change)(ContainerHeader&, Toc&)) {
    return MessageAfter(sample.manifest, sample.container, change);
  };
  EXPECT_THAT(message_after([](ContainerHeader&, Toc& toc) {
                for (ContainerTocEntry& entry : toc) entry.raw_bytes = entry.stored_bytes = 79;
              }),
              HasSubstr("plane length is 79, by the manifest it is 80"));
  EXPECT_THAT(message_after([](ContainerHeader& header, Toc&) { header.token_count = 5; }),
              HasSubstr("token count is 5, the manifest has 4"));
  EXPECT_THAT(message_after([](ContainerHeader& header, Toc&) {
                header.layer_begin = 1;
                header.layer_end = 4;
              }),
              HasSubstr("layer range [1, 4)"));
  EXPECT_THAT(message_after([](ContainerHeader& header, Toc&) { header.head_end = 1; }),
              HasSubstr("plane length is 80, by the manifest it is 40"));

  Manifest key_value = sample.manifest;
  key_value.kind = CacheKind::kKeyValue;
  ChunkIdentity one_layer = sample.identity;
  one_layer.manifest = key_value.Id();
  one_layer.part.layer_end = 1;
  EXPECT_THAT(MessageAfter(key_value, ModelContainer(key_value, one_layer),
                           [](ContainerHeader& header, Toc&) {
                             header.planes_per_layer = 1;
                             header.layer_end = 2;
                           }),
              HasSubstr("planes per layer is 1, the manifest has 2"));
}

TEST(ContainerHostileTest, RandomBytesAreRefused) {
  const uint64_t seed = 77;
  SCOPED_TRACE(seed);
  SeededRandom random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> bytes(random.Below(1024));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    EXPECT_EQ(ContainerView::Parse(bytes).status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace larder

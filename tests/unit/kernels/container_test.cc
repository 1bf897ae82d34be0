#include "kernels/format/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Manifest SmallManifest() {
  return {.model = "m",
          .revision = "",
          .quantisation = "",
          .rope = "",
          .hash_scheme = "",
          .layers = 3,
          .heads = 4,
          .head_dim = 2,
          .tokens_per_chunk = 3};
}

ChunkIdentity SmallIdentity(const Manifest& manifest) {
  ChunkIdentity identity;
  identity.manifest = manifest.Id();
  identity.space = ComputeSpaceId("t", identity.manifest, "s");
  identity.key = {1, 2, 3, 4};
  identity.token_count = 3;
  identity.part = manifest.WholePart();
  return identity;
}

TEST(ContainerTest, RandomRoundTripsAndSlices) {
  const uint64_t seed = 11;
  SCOPED_TRACE(seed);
  SeededRandom random(seed);
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE(round);
    const Manifest manifest = RandomManifest(random);
    const Part part = RandomPart(random, manifest.WholePart());
    const ChunkIdentity identity = RandomIdentity(random, manifest, part);
    const std::vector<uint8_t> payload = ModelPayload(manifest, part);
    ASSERT_EQ(payload.size(), manifest.PayloadBytes(part));

    // Whatever was in the memory before must not show through.
    std::vector<uint8_t> container(RawContainerBytes(manifest, part), 0xee);
    ASSERT_TRUE(
        WriteRawContainer(container, manifest, identity, RandomSegments(random, payload)).ok());
    ASSERT_EQ(container, ModelContainer(manifest, identity)) << "segments leave no trace";

    const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->identity(), identity);
    EXPECT_TRUE(view->VerifyBodies().ok());
    EXPECT_TRUE(view->CheckIdentity(manifest, identity.space, identity.key, part).ok());

    for (int slice = 0; slice < 5; ++slice) {
      const Part wanted = slice == 0 ? part : RandomPart(random, part);
      std::vector<uint8_t> result(manifest.PayloadBytes(wanted), 0xee);
      const std::vector<Segment> segments = RandomSegments(random, std::span<uint8_t>(result));
      const absl::Status status = ReadRawContainer(*view, manifest, wanted, segments);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(result, ModelPayload(manifest, wanted)) << ToString(wanted);
    }
  }
}

TEST(ContainerTest, PlanesAreAlignedAndInOrder) {
  const Manifest manifest = SmallManifest();
  const ChunkIdentity identity = SmallIdentity(manifest);
  const std::vector<uint8_t> container = ModelContainer(manifest, identity);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->planes_per_layer(), 2u);
  EXPECT_EQ(view->entries().size(), 6u);
  const uint64_t plane_bytes = 4 * 3 * 2 * 2;
  for (uint16_t layer = 0; layer < 3; ++layer) {
    const Part one_layer = {layer, static_cast<uint16_t>(layer + 1), 0, 4};
    const std::vector<uint8_t> expected = ModelPayload(manifest, one_layer);
    for (uint32_t plane = 0; plane < 2; ++plane) {
      EXPECT_EQ(view->Entry(layer, plane).offset % kPlaneAlignment, 0u);
      const std::span<const uint8_t> bytes = view->PlaneBytes(layer, plane);
      EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()),
                std::vector<uint8_t>(expected.begin() + plane * plane_bytes,
                                     expected.begin() + (plane + 1) * plane_bytes));
    }
  }
}

TEST(ContainerTest, ReportsLayersInOrderAndOnlyVerifiedOnes) {
  const Manifest manifest = SmallManifest();
  std::vector<uint8_t> container = ModelContainer(manifest, SmallIdentity(manifest));
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  ASSERT_TRUE(view.ok()) << view.status();
  const Part wanted = {1, 3, 1, 2};
  std::vector<uint8_t> result(manifest.PayloadBytes(wanted));
  const Segment segment = {result.data(), result.size()};
  std::vector<uint16_t> layers;
  const auto on_layer = [&layers](uint16_t layer) { layers.push_back(layer); };
  ASSERT_TRUE(ReadRawContainer(*view, manifest, wanted, {&segment, 1}, on_layer).ok());
  EXPECT_THAT(layers, ElementsAre(1, 2));

  // A byte of head 0, which is not wanted, but is of a plane that is touched.
  layers.clear();
  container[view->Entry(2, 1).offset] ^= 1;
  const absl::Status status = ReadRawContainer(*view, manifest, wanted, {&segment, 1}, on_layer);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("layer 2 plane 1"));
  EXPECT_THAT(layers, ElementsAre(1));
}

TEST(ContainerTest, MetadataRewrittenAfterParsingIsNotLookedAt) {
  const Manifest manifest = SmallManifest();
  const ChunkIdentity identity = SmallIdentity(manifest);
  std::vector<uint8_t> container = ModelContainer(manifest, identity);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  ASSERT_TRUE(view.ok()) << view.status();
  std::fill_n(container.begin(), view->entries()[0].offset, 0xff);

  std::vector<uint8_t> result(manifest.PayloadBytes(identity.part));
  const Segment segment = {result.data(), result.size()};
  ASSERT_TRUE(view->VerifyBodies().ok());
  ASSERT_TRUE(ReadRawContainer(*view, manifest, identity.part, {&segment, 1}).ok());
  EXPECT_EQ(result, ModelPayload(manifest, identity.part));
}

TEST(ContainerTest, CheckIdentityNamesWhatDiffers) {
  const Manifest manifest = SmallManifest();
  const ChunkIdentity identity = SmallIdentity(manifest);
  const std::vector<uint8_t> container = ModelContainer(manifest, identity);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  ASSERT_TRUE(view.ok()) << view.status();
  const auto check = [&](const Manifest& m, SpaceId space, std::vector<uint8_t> key, Part part) {
    return view->CheckIdentity(m, space, key, part);
  };
  const Part whole = manifest.WholePart();
  EXPECT_TRUE(check(manifest, identity.space, {1, 2, 3, 4}, whole).ok());

  Manifest other = manifest;
  other.rope = "other";
  std::vector<std::pair<absl::Status, std::string>> failures = {
      {check(manifest, {1, 1}, {1, 2, 3, 4}, whole), "space is"},
      {check(manifest, identity.space, {1, 2, 3, 5}, whole), "key is not"},
      {check(manifest, identity.space, {1, 2, 3}, whole), "key is not"},
      {check(manifest, identity.space, {1, 2, 3, 4, 0}, whole), "key is not"},
      {check(manifest, identity.space, {1, 2, 3, 4}, {0, 3, 0, 3}), "part is"},
      {check(other, identity.space, {1, 2, 3, 4}, whole), "manifest is"}};
  for (const auto& [status, message] : failures) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << message;
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
  EXPECT_EQ(check(manifest, identity.space, {}, whole).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(check(manifest, identity.space, {1, 2, 3, 4}, {0, 4, 0, 4}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ContainerTest, WriteRefusesWhatDoesNotFit) {
  const Manifest manifest = SmallManifest();
  const ChunkIdentity good = SmallIdentity(manifest);
  const std::vector<uint8_t> payload = ModelPayload(manifest, good.part);
  std::vector<uint8_t> container(RawContainerBytes(manifest, good.part));
  const auto write = [&](const Manifest& m, const ChunkIdentity& identity, size_t payload_bytes,
                         size_t container_bytes) {
    const ConstSegment segment = {payload.data(), payload_bytes};
    return WriteRawContainer(std::span(container).first(container_bytes), m, identity,
                             {&segment, 1});
  };
  const size_t size = container.size();
  Manifest bad_manifest = manifest;
  bad_manifest.layers = 0;
  ChunkIdentity no_key = good, long_key = good, bad_part = good, no_tokens = good,
                many_tokens = good, other_manifest = good;
  no_key.key.clear();
  long_key.key.resize(65);
  bad_part.part.head_end = 5;
  no_tokens.token_count = 0;
  many_tokens.token_count = 4;
  other_manifest.manifest.low ^= 1;
  const std::vector<std::pair<absl::Status, std::string>> failures = {
      {write(bad_manifest, good, payload.size(), size), "layers is 0"},
      {write(manifest, no_key, payload.size(), size), "key has 0 bytes"},
      {write(manifest, long_key, payload.size(), size), "key has 65 bytes"},
      {write(manifest, bad_part, payload.size(), size), "head range [0, 5)"},
      {write(manifest, no_tokens, payload.size(), size), "token count is 0"},
      {write(manifest, many_tokens, payload.size(), size), "token count is 4"},
      {write(manifest, other_manifest, payload.size(), size), "identity names manifest"},
      {write(manifest, good, payload.size() - 1, size), "hold 287 of the 288 bytes"},
      {write(manifest, good, payload.size(), size - 1), "destination has"}};
  for (const auto& [status, message] : failures) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
  EXPECT_EQ(container, std::vector<uint8_t>(size)) << "a refused write leaves no mark";

  const ConstSegment endless = {payload.data(), SIZE_MAX};
  const std::vector<ConstSegment> overflowing = {{payload.data(), 2}, endless};
  EXPECT_THAT(WriteRawContainer(container, manifest, good, overflowing).message(),
              HasSubstr("more than the 288 bytes"));
}

TEST(ContainerTest, ReadRefusesWhatDoesNotFit) {
  const Manifest manifest = SmallManifest();
  ChunkIdentity identity = SmallIdentity(manifest);
  identity.part = {1, 2, 0, 3};
  const std::vector<uint8_t> container = ModelContainer(manifest, identity);
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  ASSERT_TRUE(view.ok()) << view.status();
  std::vector<uint8_t> result(manifest.PayloadBytes(identity.part));
  const auto read = [&](const Manifest& m, const Part& wanted, size_t size) {
    const Segment segment = {result.data(), size};
    return ReadRawContainer(*view, m, wanted, {&segment, 1});
  };
  EXPECT_THAT(read(manifest, {0, 2, 0, 3}, 72).message(), HasSubstr("wanted layers [0, 2)"));
  EXPECT_THAT(read(manifest, {1, 2, 2, 4}, 72).message(), HasSubstr("x heads [2, 4)"));
  EXPECT_THAT(read(manifest, {1, 1, 0, 3}, 0).message(), HasSubstr("layer range [1, 1)"));
  EXPECT_THAT(read(manifest, identity.part, 71).message(), HasSubstr("hold 71 of the 72 bytes"));
  Manifest other = manifest;
  other.head_dim = 1;
  const absl::Status status = read(other, identity.part, 36);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("manifest is"));
  EXPECT_TRUE(read(manifest, identity.part, 72).ok());
}

}  // namespace
}  // namespace larder

// The client against a node in the same process.
#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iterator>

#include "common/crc32c.h"
#include "kernels/format/coded_container.h"
#include "tests/unit/client/client_fixture.h"

namespace larder {
namespace {

constexpr uint64_t kArenaBytes = uint64_t{64} << 20;

class ClientTest : public testing::TestWithParam<bool> {
 protected:
  ClientTest() : node_(TestNodeOptions(directory_.path(), kArenaBytes)) {
    client_ = Connect();
    space_.emplace(*client_->Open(manifest_));
  }

  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect(
        {.socket_path = directory_.path() + "/larder.sock", .use_rings = GetParam()});
    EXPECT_TRUE(client.ok()) << client.status();
    EXPECT_TRUE((*client)->connected());
    return *std::move(client);
  }

  size_t ChunkBytes() const { return manifest_.PayloadBytes(manifest_.WholePart()); }

  const Manifest manifest_ = TestManifest();
  TemporaryDirectory directory_;
  RunningNode node_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
};

INSTANTIATE_TEST_SUITE_P(Transports, ClientTest, testing::Values(true, false),
                         [](const auto& tested) { return tested.param ? "Rings" : "Socket"; });

TEST_P(ClientTest, WhatIsPutIsMatchedAndFetched) {
  const auto keys = TestKeys(1, 10);
  EXPECT_EQ(space_->Match(keys).chunks, 0u);
  ChunkBuffers sources(10, ChunkBytes());
  sources.Randomise(7);
  const PutResult put = space_->Put(keys, sources.sources());
  ASSERT_TRUE(put.status.ok()) << put.status;
  EXPECT_EQ(put.stored, 10u);

  const MatchResult match = space_->Match(keys);
  EXPECT_TRUE(match.status.ok()) << match.status;
  EXPECT_EQ(match.chunks, 10u);
  EXPECT_EQ(match.tokens, 10u * manifest_.tokens_per_chunk);
  EXPECT_EQ(match.bytes, 10u * ChunkBytes());

  ChunkBuffers destinations(10, ChunkBytes());
  const FetchResult fetch = space_->Fetch(keys, destinations.destinations());
  ASSERT_TRUE(fetch.status.ok()) << fetch.status;
  EXPECT_EQ(fetch.chunks, 10u);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(destinations[i], sources[i]) << i;
}

TEST_P(ClientTest, AFetchBeyondThePrefixIsAShorterPrefix) {
  const auto keys = TestKeys(2, 6);
  ChunkBuffers sources(6, ChunkBytes());
  sources.Randomise(8);
  ASSERT_EQ(space_->Put(KeySpan(keys).Subspan(0, 4), sources.sources().first(4)).stored, 4u);
  ChunkBuffers destinations(6, ChunkBytes());
  const FetchResult fetch = space_->Fetch(keys, destinations.destinations());
  EXPECT_EQ(fetch.chunks, 4u);
  EXPECT_TRUE(absl::IsNotFound(fetch.status)) << fetch.status;
}

TEST_P(ClientTest, AMatchThatIsTooShortIsNone) {
  const auto keys = TestKeys(4, 5);
  ChunkBuffers sources(4, ChunkBytes());
  ASSERT_EQ(space_->Put(KeySpan(keys).Subspan(0, 4), sources.sources()).stored, 4u);
  const auto hits = [&] {
    uint64_t chunks = 0;
    EXPECT_TRUE(node_
                    ->WithCore(SystemClock::Get().Now() + absl::Seconds(5),
                               [&](Core& core, MonotonicTime) {
                                 chunks = core.spaces()[0]->stats.hit_chunks;
                               })
                    .ok());
    return chunks;
  };
  MatchOptions options;
  options.min_tokens = 4 * manifest_.tokens_per_chunk + 1;
  EXPECT_EQ(space_->Match(keys, options).chunks, 0u);
  EXPECT_EQ(hits(), 0u) << "it counts as a use";
  options.min_tokens = 4 * manifest_.tokens_per_chunk;
  EXPECT_EQ(space_->Match(keys, options).chunks, 4u);
  EXPECT_EQ(hits(), 4u);
}

TEST_P(ClientTest, PuttingTwiceStoresOnce) {
  const auto keys = TestKeys(3, 3);
  ChunkBuffers sources(3, ChunkBytes());
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 3u);
  const PutResult again = space_->Put(keys, sources.sources());
  EXPECT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.stored, 0u);
  EXPECT_EQ(again.already_stored, 3u);
}

TEST_P(ClientTest, AViewKeepsItsBytesUntilItEnds) {
  const auto keys = TestKeys(4, 2);
  ChunkBuffers sources(2, ChunkBytes());
  sources.Randomise(9);
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 2u);
  {
    absl::StatusOr<ChunkView> view = space_->View(keys);
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_EQ(view->chunks(), 2u);
    ASSERT_EQ(*space_->Remove(keys), 2u);
    EXPECT_EQ(space_->Match(keys).chunks, 0u);
    EXPECT_TRUE(view->intact());
    const absl::StatusOr<ContainerView> container = view->Open(1);
    ASSERT_TRUE(container.ok()) << container.status();
    EXPECT_TRUE(container->VerifyBodies().ok());
    EXPECT_EQ(client_->Stats()->leases, 1u);
  }
  EXPECT_EQ(client_->Stats()->leases, 0u);
  EXPECT_EQ(client_->Stats()->used_bytes, 0u);
}

TEST_P(ClientTest, RanksWriteSlicesAndOthersReadThem) {
  const auto keys = TestKeys(5, 2);
  ChunkBuffers whole(2, ChunkBytes());
  whole.Randomise(10);
  const uint64_t head_bytes = manifest_.HeadBytes();
  // Two ranks, two heads each: a rank's payload takes its heads out of every plane.
  for (uint16_t rank = 0; rank < 2; ++rank) {
    std::vector<std::vector<ConstSegment>> pieces(2);
    std::vector<GatherList> sources;
    for (size_t chunk = 0; chunk < 2; ++chunk) {
      for (size_t plane = 0; plane < manifest_.layers * 2; ++plane) {
        pieces[chunk].push_back(
            {whole[chunk].data() + (plane * 4 + rank * 2) * head_bytes, 2 * head_bytes});
      }
      sources.emplace_back(pieces[chunk]);
    }
    PutOptions options;
    options.part = Part{0, 4, static_cast<uint16_t>(rank * 2), static_cast<uint16_t>(rank * 2 + 2)};
    const PutResult put = space_->Put(keys, sources, options);
    ASSERT_TRUE(put.status.ok()) << put.status;
    EXPECT_EQ(space_->Match(keys).chunks, rank == 0 ? 0u : 2u);
  }
  ChunkBuffers destinations(2, ChunkBytes());
  ASSERT_EQ(space_->Fetch(keys, destinations.destinations()).chunks, 2u);
  EXPECT_EQ(destinations[1], whole[1]);
  // Another degree of parallelism: one head, which lies in the second slice.
  ChunkBuffers one_head(2, ChunkBytes() / 4);
  FetchOptions options;
  options.part = Part{0, 4, 3, 4};
  ASSERT_EQ(space_->Fetch(keys, one_head.destinations(), options).chunks, 2u);
  EXPECT_TRUE(std::equal(one_head[0].begin(), one_head[0].begin() + head_bytes,
                         whole[0].begin() + 3 * head_bytes));
  PutOptions overlapping;
  overlapping.part = Part{0, 4, 1, 3};
  ChunkBuffers half(2, ChunkBytes() / 2);
  EXPECT_TRUE(absl::IsAlreadyExists(space_->Put(keys, half.sources(), overlapping).status));
}

TEST_P(ClientTest, ACorruptChunkIsAMissAndIsRemoved) {
  const auto keys = TestKeys(6, 3);
  ChunkBuffers sources(3, ChunkBytes());
  sources.Randomise(11);
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 3u);
  {
    absl::StatusOr<ChunkView> view = space_->View(keys);
    auto bytes = view->extents(1)[0].bytes;
    const_cast<uint8_t&>(bytes[bytes.size() - 1]) ^= 1;
  }
  ChunkBuffers destinations(3, ChunkBytes());
  const FetchResult fetch = space_->Fetch(keys, destinations.destinations());
  EXPECT_EQ(fetch.chunks, 1u);
  EXPECT_TRUE(absl::IsDataLoss(fetch.status)) << fetch.status;
  for (int i = 0; i < 500 && client_->Stats()->corrupt_chunks == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(client_->Stats()->corrupt_chunks, 1u);
  EXPECT_EQ(space_->Match(keys).chunks, 1u);
}

TEST_P(ClientTest, AFullArenaEvictsTheDeepestOfTheOldest) {
  const size_t container = RawContainerBytes(manifest_, manifest_.WholePart());
  const size_t capacity = kArenaBytes / ((container + 4095) / 4096 * 4096);
  ChunkBuffers one(100, ChunkBytes());
  const auto first = TestKeys(100, 100);
  ASSERT_EQ(space_->Put(first, one.sources()).stored, 100u);
  for (uint32_t chain = 1; chain * 100 < capacity + 50; ++chain) {
    const auto keys = TestKeys(100 + chain, 100);
    const PutResult put = space_->Put(keys, one.sources());
    ASSERT_EQ(put.stored, 100u) << put.status;
  }
  const uint32_t left = space_->Match(first).chunks;
  EXPECT_LT(left, 100u);
  EXPECT_GT(client_->Stats()->evicted_chunks, 0u);
}

TEST_P(ClientTest, PinnedChunksStayAndBadCallsAreNamed) {
  const auto keys = TestKeys(7, 4);
  ChunkBuffers sources(4, ChunkBytes());
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 4u);
  EXPECT_EQ(*space_->Pin(keys), 4u);
  EXPECT_GT(client_->Stats()->pinned_bytes, 0u);
  EXPECT_EQ(*space_->Unpin(keys), 4u);
  EXPECT_EQ(client_->Stats()->pinned_bytes, 0u);
  EXPECT_EQ(*space_->Touch(keys), 4u);

  const uint8_t byte = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Match(KeySpan(&byte, 65, 1)).status));
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Fetch(keys, {}).status));
  ChunkBuffers small(4, ChunkBytes() - 1);
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Fetch(keys, small.destinations()).status));
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Put(TestKeys(8, 4), small.sources()).status));
  EXPECT_EQ(client_->Stats()->reservations, 0u);
  EXPECT_EQ(client_->Stats()->leases, 0u);
}

TEST_P(ClientTest, CodedChunksComeBack) {
  Manifest manifest = manifest_;
  manifest.model = "coded";
  manifest.element_type = ElementType::kBfloat16;
  manifest.layers = 2;
  manifest.heads = 2;
  manifest.head_dim = 32;
  manifest.tokens_per_chunk = 16;
  auto space = client_->Open(manifest);
  ASSERT_TRUE(space.ok()) << space.status();
  const size_t bytes = manifest.PayloadBytes(manifest.WholePart());
  ChunkBuffers sources(3, bytes);
  const auto keys = TestKeys(50, 3);
  PutOptions options;
  options.codec = ContainerCodec::kLossless;
  const PutResult put = space->Put(keys, sources.sources(), options);
  ASSERT_EQ(put.stored, 3u) << put.status;
  EXPECT_GT(put.container_bytes, 0u);
  EXPECT_EQ(space->Put(keys, sources.sources(), options).already_stored, 3u);
  ChunkBuffers destinations(3, bytes);
  const FetchResult fetch = space->Fetch(keys, destinations.destinations());
  EXPECT_EQ(fetch.chunks, 3u) << fetch.status;
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(destinations[i], sources[i]) << i;

  options.codec = ContainerCodec::kLarder;
  options.levels = 2;
  const auto lossy_keys = TestKeys(51, 3);
  const PutResult lossy = space->Put(lossy_keys, sources.sources(), options);
  EXPECT_EQ(lossy.stored, 3u) << lossy.status;
  FetchOptions base;
  base.levels = 1;
  EXPECT_EQ(space->Fetch(lossy_keys, destinations.destinations(), base).chunks, 3u);

  options.levels = 5;
  const PutResult too_many = space->Put(TestKeys(52, 3), sources.sources(), options);
  EXPECT_EQ(too_many.status, absl::InvalidArgumentError("levels is 5, codec larder has 4"));
  options.levels = 2;

  // A plane of int8 is nothing that a codec takes.
  manifest.element_type = ElementType::kInt8;
  auto other = client_->Open(manifest);
  ChunkBuffers halves(1, bytes / 2);
  const PutResult refused = other->Put(TestKeys(52, 1), halves.sources(), options);
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status)) << refused.status;
  EXPECT_EQ(client_->Stats()->reservations, 0u);
}

// How many levels each of the keys is stored in; 0: it is not.
std::vector<uint32_t> LevelsOf(ClientSpace& space, const std::vector<Sha256Digest>& keys) {
  const size_t bytes = space.manifest().PayloadBytes(space.manifest().WholePart());
  ChunkBuffers destination(1, bytes);
  std::vector<uint32_t> levels;
  for (size_t i = 0; i < keys.size(); ++i) {
    levels.push_back(space.Fetch(KeySpan(keys).Subspan(i, 1), destination.destinations()).levels);
  }
  return levels;
}

TEST_P(ClientTest, TheManifestNamesTheCodecOfPutsThatNameNone) {
  Manifest manifest = TestManifest(2, 2, 64, 32);
  manifest.codec = ContainerCodec::kLarder;
  manifest.levels = 2;
  auto space = client_->Open(manifest);
  ASSERT_TRUE(space.ok()) << space.status();
  ChunkBuffers buffer(1, manifest.PayloadBytes(manifest.WholePart()));
  for (size_t at = 1; at < buffer[0].size(); at += 2) buffer[0][at] = 0x3f;
  const auto keys = TestKeys(60, 4);
  const auto put = [&](size_t key, const PutOptions& options) {
    const PutResult result = space->Put(KeySpan(keys).Subspan(key, 1), buffer.sources(), options);
    EXPECT_EQ(result.stored, 1u) << result.status;
    return result.container_bytes;
  };
  put(0, {});
  PutOptions three;
  three.levels = 3;
  put(1, three);
  PutOptions all;
  all.codec = ContainerCodec::kLarder;
  put(2, all);
  PutOptions raw;
  raw.codec = ContainerCodec::kRaw;
  EXPECT_EQ(put(3, raw), RawContainerBytes(manifest, manifest.WholePart()));
  EXPECT_EQ(LevelsOf(*space, keys), (std::vector<uint32_t>{2, 3, 4, 1}));
  PutOptions five;
  five.levels = 5;
  EXPECT_EQ(space->Put(TestKeys(61, 1), buffer.sources(), five).status,
            absl::InvalidArgumentError("levels is 5, codec larder has 4"));

  // Whoever opens the same finds the same, also after a restart of the daemon.
  node_.Stop();
  RunningNode restarted(TestNodeOptions(directory_.path(), kArenaBytes));
  const auto other = Connect();
  auto again = other->Open(manifest);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id(), space->id());
  EXPECT_EQ(LevelsOf(*again, keys), (std::vector<uint32_t>{2, 3, 4, 1}));
  bool found = false;
  (void)restarted->WithCore(
      SystemClock::Get().Now() + absl::Seconds(5), [&](Core& core, MonotonicTime) {
        const auto handle = core.FindSpace(again->id());
        found = handle.has_value() && core.FindSpace(*handle)->description.manifest == manifest;
        return absl::OkStatus();
      });
  EXPECT_TRUE(found) << "recovered before anybody opened it";
}

TEST_P(ClientTest, AnotherDefaultIsAnotherSpaceAndTheNoteSaysSo) {
  Manifest manifest = TestManifest(2, 2, 64, 32);
  manifest.model = "default of its own";
  auto raw = client_->Open(manifest);
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(raw->note(), "");
  manifest.codec = ContainerCodec::kLossless;
  auto lossless = client_->Open(manifest);
  ASSERT_TRUE(lossless.ok()) << lossless.status();
  EXPECT_NE(lossless->id(), raw->id());
  EXPECT_THAT(lossless->note(), testing::HasSubstr("differs in codec: raw and lossless"));

  // What the codec can't store, or is none, is known at once.
  manifest.element_type = ElementType::kInt8;
  const absl::Status unfit = client_->Open(manifest).status();
  EXPECT_TRUE(absl::IsInvalidArgument(unfit)) << unfit;
  EXPECT_THAT(unfit.message(), testing::HasSubstr("manifest: lossless"));
  manifest.levels = 1;
  EXPECT_THAT(client_->Open(manifest).status().message(),
              testing::HasSubstr("levels is 1, must be below the 1 of codec lossless"));
}

TEST_P(ClientTest, AChunkOfAnotherProfileIsAReasonAndNoDamage) {
  std::ifstream file(LARDER_GOLDEN_DIR "/codec/larder_profile.bin", std::ios::binary);
  const std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(file), {});
  const auto profile = ParseProfile(bytes);
  ASSERT_TRUE(profile.ok()) << profile.status();
  Manifest manifest = TestManifest(2, 2, 64, 32);
  manifest.codec = ContainerCodec::kLarder;
  auto with_profile = client_->Open(manifest, "default", "", *profile);
  auto generic = client_->Open(manifest);
  ASSERT_TRUE(with_profile.ok() && generic.ok());
  ChunkBuffers buffer(1, manifest.PayloadBytes(manifest.WholePart()));
  for (size_t at = 1; at < buffer[0].size(); at += 2) buffer[0][at] = 0x3f;
  const auto of_profile = TestKeys(70, 1), of_generic = TestKeys(71, 1);
  ASSERT_EQ(with_profile->Put(of_profile, buffer.sources()).stored, 1u);
  ASSERT_EQ(generic->Put(of_generic, buffer.sources()).stored, 1u);
  EXPECT_EQ(with_profile->Fetch(of_profile, buffer.destinations()).chunks, 1u);
  EXPECT_EQ(with_profile->Fetch(of_generic, buffer.destinations()).chunks, 1u);
  const FetchResult other = generic->Fetch(of_profile, buffer.destinations());
  EXPECT_EQ(other.chunks, 0u);
  EXPECT_TRUE(absl::IsFailedPrecondition(other.status)) << other.status;
  EXPECT_EQ(client_->Stats()->corrupt_chunks, 0u);
  EXPECT_EQ(generic->Match(of_profile).chunks, 1u);
}

TEST(ClientLevelsTest, UnderPressureChunksKeepTheirCoarserLevels) {
  constexpr uint64_t kBytes = uint64_t{16} << 20;
  constexpr size_t kGroup = 8, kGroups = 32;
  TemporaryDirectory directory;
  NodeOptions node_options = TestNodeOptions(directory.path(), kBytes);
  node_options.core.drop_levels = DropLevels::kFinestFirst;
  RunningNode node(node_options);
  auto client = Client::Connect({.socket_path = directory.path() + "/larder.sock"});
  ASSERT_TRUE(client.ok()) << client.status();
  const Manifest manifest = TestManifest(4, 4, 64, 64);
  auto space = (*client)->Open(manifest);
  ASSERT_TRUE(space.ok()) << space.status();
  const size_t bytes = manifest.PayloadBytes(manifest.WholePart());
  PutOptions put;
  put.codec = ContainerCodec::kLarder;
  FetchOptions two;
  two.levels = 2;
  ChunkBuffers buffers(kGroup, bytes), decoded(kGroup, bytes);
  // Of each chunk's values: the sums at two levels and at four.
  std::vector<std::array<uint32_t, 5>> sums(kGroup * kGroups);
  uint64_t whole_bytes = 0;
  for (size_t group = 0; group < kGroups; ++group) {
    buffers.Randomise(group);
    for (size_t i = 0; i < kGroup; ++i) {
      for (size_t at = 1; at < bytes; at += 2) buffers[i][at] = buffers[i][at] & 1 ? 0x3f : 0xbf;
    }
    const auto keys = TestKeys(static_cast<uint32_t>(group), kGroup);
    const PutResult stored = space->Put(keys, buffers.sources(), put);
    ASSERT_EQ(stored.stored, kGroup) << stored.status;
    whole_bytes += stored.container_bytes;
    EXPECT_EQ(space->Fetch(keys, decoded.destinations(), two).levels, 2u);
    for (size_t i = 0; i < kGroup; ++i) sums[group * kGroup + i][2] = Crc32c(decoded[i]);
    EXPECT_EQ(space->Fetch(keys, decoded.destinations()).levels, 4u);
    for (size_t i = 0; i < kGroup; ++i) sums[group * kGroup + i][4] = Crc32c(decoded[i]);
  }
  std::array<size_t, 5> found = {};
  for (size_t number = 0; number < sums.size(); ++number) {
    const auto keys = TestKeys(static_cast<uint32_t>(number / kGroup), kGroup);
    const FetchResult fetch =
        space->Fetch(KeySpan(keys).Subspan(number % kGroup, 1), decoded.destinations().first(1));
    if (fetch.chunks == 0) continue;
    ASSERT_TRUE(fetch.levels == 2 || fetch.levels == 4) << fetch.levels;
    EXPECT_EQ(Crc32c(decoded[0]), sums[number][fetch.levels]) << number;
    ++found[fetch.levels];
  }
  // How many fit in with all their levels.
  const size_t whole = kBytes * sums.size() / whole_bytes;
  EXPECT_GT(found[4], whole / 4);
  EXPECT_GT(found[2] + found[4], whole);
  std::printf("%zu chunks are there with two levels and %zu with four; whole ones were %zu\n",
              found[2], found[4], whole);
}

TEST_P(ClientTest, HintsAreAnswered) {
  const auto keys = TestKeys(7, 3);
  ChunkBuffers sources(3, ChunkBytes());
  PutOptions options;
  options.category = 3;
  options.hints.next_use = absl::Seconds(3);
  const PutResult put = space_->Put(keys, sources.sources(), options);
  ASSERT_EQ(put.stored, 3u) << put.status;
  EXPECT_EQ(put.hints.accepted, 3u);
  EXPECT_EQ(space_->Hint(keys, {.keep = absl::Hours(100)})->clipped, 3u);
  EXPECT_EQ(space_->Hint(TestKeys(99, 2), {.priority = HintPriority::kHigh})->found, 0u);
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Hint(keys, {.ttl = absl::ZeroDuration()}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      space_->Hint(keys, {.keep = absl::Seconds(1), .session_end = true}).status()));
  options.category = 4;
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Put(keys, sources.sources(), options).status));
  EXPECT_EQ(space_->Hint(keys, {.session_end = true})->accepted, 3u);
}

TEST_P(ClientTest, AnotherManifestIsAnotherSpaceAndSaysSo) {
  const auto keys = TestKeys(9, 1);
  ChunkBuffers sources(1, ChunkBytes());
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 1u);
  Manifest other = manifest_;
  other.element_type = ElementType::kFloat16;
  absl::StatusOr<ClientSpace> space = client_->Open(other);
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_EQ(space->Match(keys).chunks, 0u);
  EXPECT_THAT(space->note(), testing::HasSubstr("element"));
  EXPECT_EQ(client_->Open(manifest_, "another-tenant")->Match(keys).chunks, 0u);
}

TEST_P(ClientTest, AsynchronousCallsEndAndCanBeCancelled) {
  const auto keys = TestKeys(10, 8);
  ChunkBuffers sources(8, ChunkBytes());
  sources.Randomise(12);
  Operation<PutResult> put = space_->PutAsync(keys, sources.sources());
  EXPECT_EQ(put.Wait().stored, 8u);
  ChunkBuffers destinations(8, ChunkBytes());
  Operation<FetchResult> fetch = space_->FetchAsync(keys, destinations.destinations());
  EXPECT_EQ(fetch.Wait().chunks, 8u);
  EXPECT_EQ(destinations[7], sources[7]);
  FetchOptions cancelled;
  cancelled.cancel.Cancel();
  EXPECT_TRUE(
      absl::IsCancelled(space_->Fetch(keys, destinations.destinations(), cancelled).status));
  EXPECT_EQ(client_->Stats()->leases, 0u);
}

TEST_P(ClientTest, ManyThreadsShareOneClient) {
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (uint32_t round = 0; round < 20; ++round) {
        const auto keys = TestKeys(1000 + thread * 100 + round, 5);
        ChunkBuffers sources(5, ChunkBytes());
        sources.Randomise(thread * 1000 + round);
        EXPECT_EQ(space_->Put(keys, sources.sources()).stored, 5u);
        ChunkBuffers destinations(5, ChunkBytes());
        EXPECT_EQ(space_->Fetch(keys, destinations.destinations()).chunks, 5u);
        EXPECT_EQ(destinations[4], sources[4]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(ClientTest, ARestartedDaemonIsFoundAgainWithItsChunks) {
  const auto keys = TestKeys(11, 5);
  ChunkBuffers sources(5, ChunkBytes());
  sources.Randomise(13);
  ASSERT_EQ(space_->Put(keys, sources.sources()).stored, 5u);
  node_.Stop();
  EXPECT_EQ(space_->Match(keys).chunks, 0u);
  RunningNode again(TestNodeOptions(directory_.path(), kArenaBytes));
  for (int i = 0; i < 3000 && space_->Match(keys).chunks == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ChunkBuffers destinations(5, ChunkBytes());
  ASSERT_EQ(space_->Fetch(keys, destinations.destinations()).chunks, 5u);
  EXPECT_EQ(destinations[2], sources[2]);
}

TEST(ClientWithoutDaemonTest, EveryCallIsAFastMissWithAReason) {
  TemporaryDirectory directory;
  auto client = Client::Connect({.socket_path = directory.path() + "/none.sock"});
  ASSERT_TRUE(client.ok());
  EXPECT_FALSE((*client)->connected());
  auto space = (*client)->Open(TestManifest());
  ASSERT_TRUE(space.ok()) << space.status();
  const auto keys = TestKeys(1, 1);
  const MatchResult match = space->Match(keys);
  EXPECT_EQ(match.chunks, 0u);
  EXPECT_TRUE(absl::IsUnavailable(match.status)) << match.status;
  EXPECT_THAT(std::string(match.status.message()), testing::HasSubstr("none.sock"));
}

}  // namespace
}  // namespace larder

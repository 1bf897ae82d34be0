// larder.v1.Admin through a real channel.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "tests/unit/daemon/rpc_fixture.h"

namespace larder {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

class AdminRpcTest : public RpcTest {
 protected:
  AdminRpcTest() { space_ = OpenSpace(TestDescription("tenant")); }

  // `count` chunks in a chain: "k0", then "k1" with parent "k0", and so on.
  void PutChain(int count) {
    for (int i = 0; i < count; ++i) {
      v1::PutHeader header = HeaderOf(space_, absl::StrCat("k", i));
      header.set_depth(i);
      if (i > 0) header.set_parent(absl::StrCat("k", i - 1));
      v1::PutResponse response;
      ASSERT_TRUE(Put(header, RandomPayload(i, chunk_bytes_), &response).ok());
    }
  }

  grpc::Status Chunks(const v1::ChunksRequest& request, v1::ChunksResponse* response) {
    grpc::ClientContext context;
    return admin_->Chunks(&context, request, response);
  }

  // Follows the pages to the end.
  std::vector<v1::ChunkStatus> AllChunks(v1::ChunksRequest request) {
    std::vector<v1::ChunkStatus> all;
    for (int page = 0; page < 1000; ++page) {
      v1::ChunksResponse response;
      const grpc::Status status = Chunks(request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      if (!status.ok()) break;
      EXPECT_LE(response.chunks_size(), request.page_size() == 0 ? 100 : request.page_size());
      all.insert(all.end(), response.chunks().begin(), response.chunks().end());
      request.set_page_token(response.next_page_token());
      if (response.next_page_token().empty()) break;
    }
    return all;
  }

  grpc::Status Inspect(const std::string& key, bool verify, v1::InspectResponse* response) {
    grpc::ClientContext context;
    v1::InspectRequest request;
    request.set_space_id(space_);
    request.set_key(key);
    request.set_verify(verify);
    return admin_->Inspect(&context, request, response);
  }

  struct VerifyOutcome {
    v1::VerifyProgress last;
    std::vector<v1::CorruptChunk> corrupt;
    grpc::Status status;
  };
  VerifyOutcome Verify(const std::string& space_id) {
    grpc::ClientContext context;
    v1::VerifyRequest request;
    request.set_space_id(space_id);
    const auto reader = admin_->Verify(&context, request);
    VerifyOutcome outcome;
    v1::VerifyResponse response;
    while (reader->Read(&response)) {
      if (response.has_corrupt()) outcome.corrupt.push_back(response.corrupt());
      if (response.has_progress()) outcome.last = response.progress();
    }
    outcome.status = reader->Finish();
    return outcome;
  }

  std::string space_;
};

TEST_F(AdminRpcTest, StatusTellsWhatIsThere) {
  PutChain(3);
  const v1::StatusResponse status = DaemonStatus();
  EXPECT_FALSE(status.version().empty());
  EXPECT_EQ(status.epoch(), node_->epoch());
  EXPECT_LT(status.uptime_ms(), 600'000u);
  EXPECT_FALSE(status.draining());
  EXPECT_EQ(status.arena().capacity_bytes(), uint64_t{64} << 20);
  EXPECT_EQ(status.arena().directory(), directory_.path() + "/arena");
  EXPECT_GT(status.arena().used_bytes(), 3 * chunk_bytes_);
  EXPECT_EQ(status.arena().used_bytes() + status.arena().free_bytes(),
            status.arena().backed_bytes());
  EXPECT_LE(status.arena().largest_free_bytes(), status.arena().free_bytes());
  EXPECT_EQ(status.chunks(), 3u);
  EXPECT_EQ(status.spaces(), 1u);
  EXPECT_EQ(status.sessions(), 2u);     // the verifier's and the callers'
  EXPECT_EQ(status.removed_size(), 7);  // one for each cause
  EXPECT_EQ(status.recovery().chunks(), 0u);
  EXPECT_EQ(status.local_server().accepted(), 0u);
}

TEST_F(AdminRpcTest, SpacesArePagedWithTheirManifests) {
  std::set<std::string> ids{space_};
  for (int i = 0; i < 24; ++i) ids.insert(OpenSpace(TestDescription(absl::StrCat("t", i), 2)));
  ASSERT_EQ(ids.size(), 25u);
  PutChunk(*ids.begin(), "k", 1);
  std::set<std::string> seen;
  v1::SpacesRequest request;
  request.set_page_size(10);
  int pages = 0;
  do {
    grpc::ClientContext context;
    v1::SpacesResponse response;
    const grpc::Status status = admin_->Spaces(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const v1::SpaceStatus& space : response.spaces()) {
      seen.insert(space.space_id());
      EXPECT_EQ(space.description().manifest().model(), "test-model");
      EXPECT_EQ(space.description().manifest().layers(), 4u);
      EXPECT_EQ(space.description().manifest().kind(), v1::CACHE_KIND_KEY_VALUE);
      EXPECT_EQ(space.resident_chunks(), space.space_id() == *ids.begin() ? 1u : 0u);
    }
    request.set_page_token(response.next_page_token());
  } while (++pages < 10 && !request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen, ids);
}

TEST_F(AdminRpcTest, TextThatIsNoUtf8IsShownEscaped) {
  ASSERT_TRUE(node_
                  ->WithCore(SystemClock::Get().Now() + absl::Seconds(5),
                             [&](Core& core, MonotonicTime) {
                               SpaceDescription description{.tenant = "\xff",
                                                            .salt = "\xc3\xa9",
                                                            .manifest = TestManifest()};
                               EXPECT_TRUE(core.OpenSpace(description).ok());
                             })
                  .ok());
  grpc::ClientContext context;
  v1::SpacesResponse response;
  const grpc::Status status = admin_->Spaces(&context, {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.spaces(1).description().tenant(), "\\xff");
  EXPECT_EQ(response.spaces(1).description().salt(), "\xc3\xa9");
}

TEST_F(AdminRpcTest, ChunksArePagedWithoutLossOrRepetition) {
  PutChain(57);
  for (uint32_t page_size : {0u, 1u, 7u, 57u, 1000u}) {
    SCOPED_TRACE(page_size);
    v1::ChunksRequest request;
    request.set_page_size(page_size);
    const std::vector<v1::ChunkStatus> chunks = AllChunks(request);
    std::set<std::string> hashes;
    for (const v1::ChunkStatus& chunk : chunks) {
      hashes.insert(chunk.key_hash());
      EXPECT_EQ(chunk.space_id(), space_);
      EXPECT_TRUE(chunk.visible());
      EXPECT_FALSE(chunk.has_expires_in_ms());
      EXPECT_EQ(chunk.parts(), 1u);
      EXPECT_GT(chunk.bytes(), chunk_bytes_);
      EXPECT_EQ(chunk.children(), chunk.depth() == 56 ? 0u : 1u);
    }
    EXPECT_EQ(chunks.size(), 57u);
    EXPECT_EQ(hashes.size(), 57u);
  }
}

TEST_F(AdminRpcTest, ChunksAreFiltered) {
  PutChain(20);
  const std::string other = OpenSpace(TestDescription("other"));
  PutChunk(other, "k0", 1);
  v1::PutHeader half = HeaderOf(other, "half");
  half.mutable_part()->set_layer_end(4);
  half.mutable_part()->set_head_end(2);
  half.set_pin(true);
  v1::PutResponse put;
  ASSERT_TRUE(Put(half, RandomPayload(1, chunk_bytes_ / 2), &put).ok());
  v1::ChunksRequest request;
  EXPECT_EQ(AllChunks(request).size(), 22u);
  request.set_visible_only(true);
  EXPECT_EQ(AllChunks(request).size(), 21u);
  request.set_space_id(other);
  EXPECT_EQ(AllChunks(request).size(), 1u);
  request.set_visible_only(false);
  request.set_pinned_only(true);
  const auto pinned = AllChunks(request);
  ASSERT_EQ(pinned.size(), 1u);
  EXPECT_FALSE(pinned[0].visible());
  request.Clear();
  request.set_min_depth(15);
  EXPECT_EQ(AllChunks(request).size(), 5u);
  request.Clear();
  const auto all = AllChunks(request);
  const std::string prefix = all[3].key_hash().substr(0, 6);
  request.set_key_hash_prefix(prefix);
  request.set_page_size(1);
  const auto found = AllChunks(request);
  EXPECT_EQ(found.size(), static_cast<size_t>(std::count_if(
                              all.begin(), all.end(), [&](const v1::ChunkStatus& chunk) {
                                return chunk.key_hash().substr(0, 6) == prefix;
                              })));
}

TEST_F(AdminRpcTest, BadPagesAndFiltersAreRefused) {
  PutChain(3);
  v1::ChunksRequest request;
  v1::ChunksResponse response;
  request.set_page_size(1001);
  EXPECT_THAT(Chunks(request, &response).error_message(), HasSubstr("page_size"));
  request.set_page_size(1);
  ASSERT_TRUE(Chunks(request, &response).ok());
  const std::string token = response.next_page_token();
  ASSERT_FALSE(token.empty());
  request.set_min_depth(1);  // another filter
  request.set_page_token(token);
  EXPECT_EQ(Chunks(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  for (const std::string& nonsense :
       {std::string("x"), std::string(32, 'f'), std::string(999, '0')}) {
    request.set_page_token(nonsense);
    EXPECT_THAT(Chunks(request, &response).error_message(), HasSubstr("page_token"));
  }
  // A token is no secret; even one with a made-up cursor only ends the listing.
  request.Clear();
  request.set_page_token(token.substr(0, 24) + "ffffffff");
  response.Clear();
  EXPECT_TRUE(Chunks(request, &response).ok());
  EXPECT_EQ(response.chunks_size(), 0);
  request.set_page_token(token.substr(0, 23) + "1ffffffff");
  EXPECT_EQ(Chunks(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  request.Clear();
  request.set_key_hash_prefix("0x12");
  EXPECT_THAT(Chunks(request, &response).error_message(), HasSubstr("key_hash_prefix"));
  request.Clear();
  request.set_space_id(std::string(32, '1'));
  EXPECT_EQ(Chunks(request, &response).error_code(), StatusCode::NOT_FOUND);
  request.set_space_id("1");
  EXPECT_EQ(Chunks(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminRpcTest, InspectShowsTheContainers) {
  PutChain(2);
  v1::InspectResponse response;
  ASSERT_TRUE(Inspect("k1", /*verify=*/true, &response).ok());
  EXPECT_EQ(response.key(), "k1");
  EXPECT_EQ(response.tenant(), "tenant");
  EXPECT_EQ(response.model(), "test-model");
  EXPECT_EQ(response.chunk().depth(), 1u);
  EXPECT_EQ(response.chunk().leases(), 0u);
  ASSERT_EQ(response.containers_size(), 1);
  const v1::ContainerStatus& container = response.containers(0);
  EXPECT_TRUE(container.verified());
  EXPECT_EQ(container.error(), "");
  EXPECT_EQ(container.bytes(), response.chunk().bytes());
  EXPECT_EQ(container.header().version(), 1u);
  EXPECT_EQ(container.header().total_bytes(), container.bytes());
  EXPECT_EQ(container.header().toc_entry_count(), 8u);
  EXPECT_EQ(container.header().manifest_id(), response.manifest_id());
  EXPECT_EQ(container.header().parent_hash(), ToString(HashKey(std::vector<uint8_t>{'k', '0'})));

  // By its hash it is the same chunk.
  grpc::ClientContext context;
  v1::InspectRequest request;
  request.set_space_id(space_);
  request.set_key_hash(response.chunk().key_hash());
  v1::InspectResponse by_hash;
  ASSERT_TRUE(admin_->Inspect(&context, request, &by_hash).ok());
  EXPECT_EQ(by_hash.key(), "k1");
  EXPECT_FALSE(by_hash.containers(0).verified());
  EXPECT_TRUE(EverythingGivenBack());
  EXPECT_EQ(Inspect("none", false, &response).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Inspect("", false, &response).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminRpcTest, InspectFindsDamageOnlyWhenAskedToLook) {
  PutChain(1);
  Damage(space_, "k0");
  v1::InspectResponse response;
  ASSERT_TRUE(Inspect("k0", /*verify=*/false, &response).ok());
  EXPECT_EQ(response.containers(0).error(), "");
  ASSERT_TRUE(Inspect("k0", /*verify=*/true, &response).ok());
  EXPECT_FALSE(response.containers(0).verified());
  EXPECT_NE(response.containers(0).error(), "");
}

TEST_F(AdminRpcTest, PinUnpinAndRemoveTakeKeysAndHashes) {
  PutChain(4);
  v1::KeysRequest request;
  request.set_space_id(space_);
  request.add_keys("k0");
  request.add_keys("unknown");
  request.add_key_hashes(ToString(HashKey(std::vector<uint8_t>{'k', '1'})));
  v1::KeysResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(admin_->Pin(&context, request, &response).ok());
    EXPECT_EQ(response.found(), 2u);
  }
  v1::ChunksRequest pinned;
  pinned.set_pinned_only(true);
  EXPECT_EQ(AllChunks(pinned).size(), 2u);
  EXPECT_GT(DaemonStatus().arena().pinned_bytes(), 0u);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(admin_->Unpin(&context, request, &response).ok());
    EXPECT_EQ(response.found(), 2u);
  }
  EXPECT_EQ(AllChunks(pinned).size(), 0u);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(admin_->Remove(&context, request, &response).ok());
    EXPECT_EQ(response.found(), 2u);
  }
  EXPECT_EQ(DaemonStatus().chunks(), 2u);
  EXPECT_EQ(DaemonStatus().removed(v1::REMOVAL_CAUSE_REMOVED - 1).chunks(), 2u);
}

TEST_F(AdminRpcTest, BadNamesOfChunksAreRefused) {
  const auto remove = [&](const v1::KeysRequest& request) {
    grpc::ClientContext context;
    v1::KeysResponse response;
    return admin_->Remove(&context, request, &response);
  };
  v1::KeysRequest request;
  request.set_space_id(space_);
  EXPECT_THAT(remove(request).error_message(), HasSubstr("keys and key_hashes"));
  request.add_keys("k");
  request.add_key_hashes("abc");
  EXPECT_THAT(remove(request).error_message(), HasSubstr("key_hashes[0]"));
  request.set_key_hashes(0, std::string(32, '0'));
  EXPECT_THAT(remove(request).error_message(), HasSubstr("key_hashes[0]"));
  request.clear_key_hashes();
  for (int i = 0; i < 4096; ++i) request.add_keys("k");
  EXPECT_EQ(remove(request).error_code(), StatusCode::INVALID_ARGUMENT);
  request.clear_keys();
  request.add_keys(std::string(65, 'k'));
  EXPECT_THAT(remove(request).error_message(), HasSubstr("keys[0]"));
}

TEST_F(AdminRpcTest, ClearEmptiesOneSpaceOrAll) {
  PutChain(5);
  const std::string other = OpenSpace(TestDescription("other"));
  PutChunk(other, "k", 1);
  const auto clear = [&](const std::string& space_id, bool all, uint64_t* removed) {
    grpc::ClientContext context;
    v1::ClearRequest request;
    request.set_space_id(space_id);
    request.set_all_spaces(all);
    v1::ClearResponse response;
    grpc::Status status = admin_->Clear(&context, request, &response);
    *removed = response.removed();
    return status;
  };
  uint64_t removed = 0;
  EXPECT_EQ(clear("", false, &removed).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(clear(other, true, &removed).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(clear(std::string(32, 'a'), false, &removed).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(DaemonStatus().chunks(), 6u);
  ASSERT_TRUE(clear(space_, false, &removed).ok());
  EXPECT_EQ(removed, 5u);
  EXPECT_EQ(Match(other, {"k"}), 1u);
  ASSERT_TRUE(clear("", true, &removed).ok());
  EXPECT_EQ(removed, 1u);
  EXPECT_EQ(DaemonStatus().chunks(), 0u);
  EXPECT_EQ(DaemonStatus().arena().used_bytes(), 0u);
}

TEST_F(AdminRpcTest, VerifyFindsAndRemovesEveryDamagedChunk) {
  PutChain(30);
  const std::string other = OpenSpace(TestDescription("other"));
  PutChunk(other, "k", 1);
  VerifyOutcome sound = Verify("");
  ASSERT_TRUE(sound.status.ok()) << sound.status.error_message();
  EXPECT_TRUE(sound.last.done());
  EXPECT_EQ(sound.last.chunks(), 31u);
  EXPECT_EQ(sound.last.total_chunks(), 31u);
  EXPECT_GT(sound.last.bytes(), 31 * chunk_bytes_);
  EXPECT_TRUE(sound.corrupt.empty());

  Damage(space_, "k3");
  Damage(space_, "k17");
  Damage(other, "k");
  VerifyOutcome damaged = Verify(space_);
  ASSERT_TRUE(damaged.status.ok());
  EXPECT_EQ(damaged.last.chunks(), 30u);
  EXPECT_EQ(damaged.last.corrupt(), 2u);
  std::set<std::string> bad;
  for (const v1::CorruptChunk& chunk : damaged.corrupt) {
    bad.insert(chunk.key_hash());
    EXPECT_EQ(chunk.space_id(), space_);
    EXPECT_FALSE(chunk.reason().empty());
  }
  const std::vector<uint8_t> k3{'k', '3'}, k17{'k', '1', '7'};
  EXPECT_EQ(bad, (std::set<std::string>{ToString(HashKey(k3)), ToString(HashKey(k17))}));
  EXPECT_EQ(Match(space_, {"k3"}), 0u);
  EXPECT_EQ(Match(space_, {"k17"}), 0u);
  EXPECT_EQ(DaemonStatus().removed(v1::REMOVAL_CAUSE_CORRUPT - 1).chunks(), 2u);
  EXPECT_EQ(Verify("").last.corrupt(), 1u);
  EXPECT_EQ(Verify("").last.chunks(), 28u);
  EXPECT_TRUE(EverythingGivenBack());
  EXPECT_EQ(Verify("x").status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Verify(std::string(32, 'a')).status.error_code(), StatusCode::NOT_FOUND);
}

TEST_F(AdminRpcTest, LookingAfterChunksIsNoUseOfThem) {
  PutChain(3);
  grpc::ClientContext before_context;
  v1::SpacesResponse before;
  ASSERT_TRUE(admin_->Spaces(&before_context, {}, &before).ok());
  ASSERT_TRUE(Verify("").status.ok());
  v1::InspectResponse inspected;
  ASSERT_TRUE(Inspect("k0", true, &inspected).ok());
  grpc::ClientContext after_context;
  v1::SpacesResponse after;
  ASSERT_TRUE(admin_->Spaces(&after_context, {}, &after).ok());
  EXPECT_EQ(after.spaces(0).fetched_chunks(), before.spaces(0).fetched_chunks());
  EXPECT_EQ(after.spaces(0).lookups(), before.spaces(0).lookups());
}

TEST_F(AdminRpcTest, AVerifyThatIsCancelledHoldsNoLease) {
  PutChain(200);
  {
    grpc::ClientContext context;
    const auto reader = admin_->Verify(&context, {});
    v1::VerifyResponse response;
    ASSERT_TRUE(reader->Read(&response));
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    (void)reader->Finish();  // It may have ended before it heard of it.
  }
  EXPECT_TRUE(EverythingGivenBack());
}

TEST_F(AdminRpcTest, ADrainingDaemonTakesNoChunksAndEnds) {
  PutChain(1);
  grpc::ClientContext context;
  v1::DrainResponse response;
  ASSERT_TRUE(admin_->Drain(&context, {}, &response).ok());
  // The loop ends by itself, since nothing is being written; until then puts are refused.
  v1::PutResponse put;
  const grpc::Status status = Put(HeaderOf(space_, "new"), RandomPayload(1, chunk_bytes_), &put);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
}

TEST_F(AdminRpcTest, InsightIsOfWhatMatchWasAskedFor) {
  const auto insight = [&] {
    grpc::ClientContext context;
    v1::InsightResponse response;
    EXPECT_TRUE(admin_->Insight(&context, v1::InsightRequest(), &response).ok());
    return response;
  };
  EXPECT_EQ(insight().uses(), 0);
  EXPECT_EQ(insight().tiers_size(), 0);
  PutChain(2);
  v1::MatchRequest request;
  request.set_space_id(space_);
  for (const char* key : {"k0", "k1", "k2", "k3"}) request.add_keys(key);
  for (const bool touch : {true, true, false}) {
    request.set_touch(touch);
    grpc::ClientContext context;
    v1::MatchResponse response;
    ASSERT_TRUE(store_->Match(&context, request, &response).ok());
  }
  const v1::InsightResponse response = insight();
  EXPECT_EQ(response.uses(), 8);  // looking without touching is no use
  EXPECT_EQ(response.half_life_ms(), 3'600'000u);
  ASSERT_EQ(response.tiers_size(), 1);
  EXPECT_EQ(response.tiers(0).found_ratio(), 0.5);
  EXPECT_EQ(response.tiers(0).sample_rate(), 1);
  EXPECT_FALSE(response.tiers(0).filled());
  EXPECT_EQ(response.unlimited_hit_ratio(), 0.5);
  EXPECT_EQ(response.policies_size(), 7);
  ASSERT_EQ(response.reuse_ages_size(), 1);
  EXPECT_EQ(response.reuse_ages(0).from_ms(), 0u);
  EXPECT_EQ(response.reuse_ages(0).ratio(), 0.5);
  ASSERT_EQ(response.tenants_size(), 1);
  EXPECT_EQ(response.tenants(0).tenant(), "tenant");
  EXPECT_EQ(response.tenants(0).use_ratio(), 1);
}

}  // namespace
}  // namespace larder

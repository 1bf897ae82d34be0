// larder.v1.Store and the server around it, through a real channel.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/stat.h>

#include <functional>
#include <thread>

#include "tests/unit/daemon/held_loop.h"
#include "tests/unit/daemon/rpc_fixture.h"

namespace larder {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

using StoreRpcTest = RpcTest;

TEST_F(StoreRpcTest, WhatIsPutIsMatchedAndFetched) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  ASSERT_EQ(space.size(), 32u);
  const std::string first = RandomPayload(1, chunk_bytes_);
  v1::PutResponse response;
  ASSERT_TRUE(Put(HeaderOf(space, "a"), first, &response).ok());
  EXPECT_EQ(response.stored_bytes(), chunk_bytes_);
  v1::PutHeader header = HeaderOf(space, "b");
  header.set_parent("a");
  header.set_depth(1);
  header.set_token_count(9);
  const std::string second = RandomPayload(2, chunk_bytes_);
  ASSERT_TRUE(Put(header, second, &response, /*piece_bytes=*/7).ok());
  EXPECT_EQ(Match(space, {"a", "b", "c"}), 2u);

  v1::FetchRequest request;
  request.set_space_id(space);
  for (const char* key : {"a", "b", "c"}) request.add_keys(key);
  std::vector<FetchedChunk> chunks;
  const grpc::Status status = Fetch(request, &chunks);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].payload, first);
  EXPECT_EQ(chunks[0].header.key(), "a");
  EXPECT_EQ(chunks[0].header.parent_hash(), "");
  EXPECT_EQ(chunks[0].header.token_count(), 16u);
  EXPECT_EQ(chunks[1].payload, second);
  EXPECT_EQ(chunks[1].header.index(), 1u);
  EXPECT_EQ(chunks[1].header.parent_hash(), ToString(HashKey(std::vector<uint8_t>{'a'})));
  EXPECT_EQ(chunks[1].header.depth(), 1u);
  EXPECT_EQ(chunks[1].header.token_count(), 9u);
  EXPECT_EQ(chunks[1].header.payload_bytes(), chunk_bytes_);
  EXPECT_TRUE(EverythingGivenBack());
}

TEST_F(StoreRpcTest, OneStreamCarriesSeveralChunksAndTellsTheOutcomeOfEach) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  PutChunk(space, "present", 1);
  grpc::ClientContext context;
  v1::PutResponse response;
  const auto writer = store_->Put(&context, &response);
  v1::PutRequest request;
  for (const char* key : {"x", "present", "y"}) {
    *request.mutable_header() = HeaderOf(space, key);
    ASSERT_TRUE(writer->Write(request));
    request.set_data(RandomPayload(2, chunk_bytes_));
    ASSERT_TRUE(writer->Write(request));
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(
      response.outcomes(),
      testing::ElementsAre(v1::PUT_OUTCOME_STORED, v1::PUT_OUTCOME_EXISTS, v1::PUT_OUTCOME_STORED));
  EXPECT_EQ(response.stored_bytes(), 2 * chunk_bytes_);
  EXPECT_EQ(Match(space, {"x", "y"}), 2u);
}

TEST_F(StoreRpcTest, ChunksLargerThanOnePieceKeepTheirBytes) {
  const std::string space = OpenSpace(TestDescription("tenant", 16, 1024));
  ASSERT_EQ(chunk_bytes_, uint64_t{4} << 20);
  const std::string payload = RandomPayload(5, chunk_bytes_);
  v1::PutResponse response;
  ASSERT_TRUE(Put(HeaderOf(space, "large"), payload, &response, 700'001).ok());
  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys("large");
  std::vector<FetchedChunk> chunks;
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_TRUE(chunks[0].payload == payload);
}

TEST_F(StoreRpcTest, PartsThatRanksWroteAreReadInAnotherSplit) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  const std::string whole = RandomPayload(6, chunk_bytes_);
  const uint64_t head_bytes = chunk_bytes_ / (4 * 2 * 4);  // layers, planes, heads
  // The payload of heads [begin, begin + count).
  const auto heads = [&](uint32_t begin, uint32_t count) {
    std::string slice;
    for (uint32_t plane = 0; plane < 8; ++plane) {
      slice += whole.substr((plane * 4 + begin) * head_bytes, count * head_bytes);
    }
    return slice;
  };
  for (uint32_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(Match(space, {"k"}), 0u);
    v1::PutHeader header = HeaderOf(space, "k");
    header.mutable_part()->set_layer_end(4);
    header.mutable_part()->set_head_begin(rank * 2);
    header.mutable_part()->set_head_end(rank * 2 + 2);
    v1::PutResponse response;
    const grpc::Status status = Put(header, heads(rank * 2, 2), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.outcomes(0), v1::PUT_OUTCOME_STORED);
  }
  EXPECT_EQ(Match(space, {"k"}), 1u);
  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys("k");
  std::vector<FetchedChunk> chunks;
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  EXPECT_EQ(chunks.at(0).payload, whole);
  request.mutable_part()->set_layer_end(4);
  request.mutable_part()->set_head_begin(1);
  request.mutable_part()->set_head_end(3);
  chunks.clear();
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  EXPECT_EQ(chunks.at(0).payload, heads(1, 2));

  v1::PutResponse response;
  ASSERT_TRUE(Put(HeaderOf(space, "k"), whole, &response).ok());
  EXPECT_EQ(response.outcomes(0), v1::PUT_OUTCOME_OVERLAPS);
}

TEST_F(StoreRpcTest, TimeToLiveAndPinsArriveInTheCore) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  v1::PutHeader header = HeaderOf(space, "k");
  header.set_ttl_ms(3'600'000);
  header.set_pin(true);
  v1::PutResponse response;
  ASSERT_TRUE(Put(header, RandomPayload(1, chunk_bytes_), &response).ok());
  grpc::ClientContext context;
  v1::InspectRequest request;
  request.set_space_id(space);
  request.set_key("k");
  v1::InspectResponse inspected;
  ASSERT_TRUE(admin_->Inspect(&context, request, &inspected).ok());
  EXPECT_TRUE(inspected.chunk().pinned());
  EXPECT_GT(inspected.chunk().expires_in_ms(), 3'500'000u);
  EXPECT_LE(inspected.chunk().expires_in_ms(), 3'600'000u);
}

// One bad request and what its refusal names.
struct BadPut {
  const char* names;
  std::function<void(v1::PutHeader*)> spoil;
};

TEST_F(StoreRpcTest, BadHeadersAreRefusedByTheNameOfTheirField) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  const auto spoil_manifest = [](auto change) {
    return [change](v1::PutHeader* header) {
      *header->mutable_description() = TestDescription("tenant");
      change(header->mutable_description());
    };
  };
  const std::vector<BadPut> cases = {
      {"chunk 0: space_id", [](v1::PutHeader* h) { h->set_space_id("xyz"); }},
      {"space_id", [](v1::PutHeader* h) { h->clear_space(); }},
      {"key", [](v1::PutHeader* h) { h->clear_key(); }},
      {"key", [](v1::PutHeader* h) { h->set_key(std::string(65, 'k')); }},
      {"parent", [](v1::PutHeader* h) { h->set_parent(std::string(65, 'k')); }},
      {"token_count", [](v1::PutHeader* h) { h->set_token_count(17); }},
      {"ttl_ms", [](v1::PutHeader* h) { h->set_ttl_ms(UINT64_MAX); }},
      {"part", [](v1::PutHeader* h) { h->mutable_part()->set_layer_end(4); }},
      {"part", [](v1::PutHeader* h) { h->mutable_part()->set_layer_end(65540); }},
      {"description.tenant", spoil_manifest([](auto* d) { d->set_tenant(std::string(65, 't')); })},
      {"description.salt", spoil_manifest([](auto* d) { d->set_salt(std::string(257, 's')); })},
      {"description.manifest", spoil_manifest([](auto* d) { d->clear_manifest(); })},
      {"element_type", spoil_manifest([](auto* d) {
         d->mutable_manifest()->set_element_type(static_cast<v1::ElementType>(257));
       })},
      {"kind", spoil_manifest([](auto* d) { d->mutable_manifest()->clear_kind(); })},
      {"layers", spoil_manifest([](auto* d) { d->mutable_manifest()->set_layers(4'000'000'000); })},
      {"model", spoil_manifest([](auto* d) { d->mutable_manifest()->clear_model(); })},
  };
  for (const BadPut& bad : cases) {
    SCOPED_TRACE(bad.names);
    v1::PutHeader header = HeaderOf(space, "k");
    bad.spoil(&header);
    v1::PutResponse response;
    const grpc::Status status = Put(header, "", &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(bad.names));
  }
  v1::PutResponse response;
  const grpc::Status unknown = Put(HeaderOf(std::string(32, 'a'), "k"), "", &response);
  EXPECT_EQ(unknown.error_code(), StatusCode::NOT_FOUND) << unknown.error_message();
}

TEST_F(StoreRpcTest, DataThatDoesNotFitItsHeaderIsRefused) {
  const std::string space = OpenSpace(TestDescription("tenant", 16, 1024));
  const v1::PutHeader header = HeaderOf(space, "k");
  v1::PutResponse response;
  const std::string payload = RandomPayload(1, chunk_bytes_);
  const grpc::Status too_much = Put(header, payload + "x", &response);
  EXPECT_EQ(too_much.error_code(), StatusCode::INVALID_ARGUMENT);
  // The chunk was complete before the byte too many came.
  EXPECT_THAT(too_much.error_message(), HasSubstr("data: comes before a header"));
  const grpc::Status too_little = Put(HeaderOf(space, "short"), payload.substr(1), &response);
  EXPECT_EQ(too_little.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(too_little.error_message(), HasSubstr("the stream ended after 4194303 of 4194304"));
  const grpc::Status long_piece = Put(HeaderOf(space, "pieces"), payload, &response, (1 << 20) + 1);
  EXPECT_EQ(long_piece.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(long_piece.error_message(), HasSubstr("the limit is 1048576"));
  // Beyond the limit on messages gRPC itself refuses, before memory is spent on it.
  const grpc::Status huge = Put(HeaderOf(space, "huge"), payload, &response, 2 << 20);
  EXPECT_EQ(huge.error_code(), StatusCode::RESOURCE_EXHAUSTED) << huge.error_message();
  EXPECT_EQ(Match(space, {"k"}), 1u);
  EXPECT_EQ(Match(space, {"short"}) + Match(space, {"pieces"}) + Match(space, {"huge"}), 0u);
  EXPECT_TRUE(EverythingGivenBack());
}

TEST_F(StoreRpcTest, APutThatIsCancelledMidwayLeavesNothing) {
  const std::string space = OpenSpace(TestDescription("tenant", 16, 1024));
  {
    grpc::ClientContext context;
    v1::PutResponse response;
    const auto writer = store_->Put(&context, &response);
    v1::PutRequest request;
    *request.mutable_header() = HeaderOf(space, "k");
    ASSERT_TRUE(writer->Write(request));
    request.set_data(RandomPayload(1, 1 << 20));
    ASSERT_TRUE(writer->Write(request));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), StatusCode::CANCELLED);
  }
  EXPECT_TRUE(EverythingGivenBack());
  EXPECT_EQ(DaemonStatus().chunks(), 0u);
}

TEST_F(StoreRpcTest, AFetchThatIsCancelledMidwayHoldsNoLease) {
  const std::string space = OpenSpace(TestDescription("tenant", 16, 1024));
  v1::FetchRequest request;
  request.set_space_id(space);
  for (int i = 0; i < 8; ++i) {
    const std::string key = absl::StrCat("k", i);
    PutChunk(space, key, i);
    request.add_keys(key);
  }
  {
    grpc::ClientContext context;
    const auto reader = store_->Fetch(&context, request);
    v1::FetchResponse response;
    ASSERT_TRUE(reader->Read(&response));
    // The reader dawdles, 30 MiB are still to come: no chunk is held up by that.
    EXPECT_TRUE(EverythingGivenBack());
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  }
  EXPECT_TRUE(EverythingGivenBack());
  EXPECT_EQ(DaemonStatus().chunks(), 8u);
}

TEST_F(StoreRpcTest, ACorruptChunkIsAnErrorAndThenAMiss) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  PutChunk(space, "good", 1);
  PutChunk(space, "bad", 2);
  Damage(space, "bad");
  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys("good");
  request.add_keys("bad");
  std::vector<FetchedChunk> chunks;
  const grpc::Status status = Fetch(request, &chunks);
  EXPECT_EQ(status.error_code(), StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("keys[1]"));
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].payload, RandomPayload(1, chunk_bytes_));
  // The doubt is looked into on its own thread.
  for (int i = 0; i < 500 && Match(space, {"bad"}) != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Match(space, {"bad"}), 0u);
  EXPECT_EQ(DaemonStatus().removed(v1::REMOVAL_CAUSE_CORRUPT - 1).chunks(), 1u);
}

TEST_F(StoreRpcTest, BadKeysAndSpacesOfReadersAreNamed) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  const auto match = [&](const v1::MatchRequest& request) {
    grpc::ClientContext context;
    v1::MatchResponse response;
    return store_->Match(&context, request, &response);
  };
  v1::MatchRequest request;
  request.set_space_id(space);
  EXPECT_THAT(match(request).error_message(), HasSubstr("keys: 1 to 4096 keys, not 0"));
  for (int i = 0; i < 4096; ++i) request.add_keys(std::string(64, 'k'));
  EXPECT_TRUE(match(request).ok());
  request.add_keys("k");
  EXPECT_EQ(match(request).error_code(), StatusCode::INVALID_ARGUMENT);
  request.clear_keys();
  request.add_keys("k");
  request.add_keys("");
  EXPECT_THAT(match(request).error_message(), HasSubstr("keys[1]"));
  v1::FetchRequest fetch;
  fetch.set_space_id("0x" + std::string(30, '0'));
  fetch.add_keys("k");
  std::vector<FetchedChunk> chunks;
  EXPECT_EQ(Fetch(fetch, &chunks).error_code(), StatusCode::INVALID_ARGUMENT);
  fetch.set_space_id(std::string(32, '0'));
  EXPECT_EQ(Fetch(fetch, &chunks).error_code(), StatusCode::NOT_FOUND);
  fetch.set_space_id(space);
  fetch.mutable_part()->set_layer_end(5);
  fetch.mutable_part()->set_head_end(1);
  EXPECT_THAT(Fetch(fetch, &chunks).error_message(), HasSubstr("part"));
}

TEST_F(StoreRpcTest, AStoppedLoopIsADeadlineAndNoHang) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  {
    const HeldLoop held(&*node_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
    v1::MatchRequest request;
    request.set_space_id(space);
    request.add_keys("k");
    v1::MatchResponse response;
    const grpc::Status status = store_->Match(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_EQ(Match(space, {"k"}), 0u);
}

TEST_F(StoreRpcTest, LocalClientsAndCallersShareWhatIsStored) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  Manifest manifest = TestManifest();
  const auto client = Client::Connect({.socket_path = directory_.path() + "/larder.sock"});
  ASSERT_TRUE(client.ok()) << client.status();
  auto local = (*client)->Open(manifest, "tenant");
  ASSERT_TRUE(local.ok()) << local.status();
  ChunkBuffers buffers(1, chunk_bytes_);
  buffers.Randomise(3);
  const auto keys = TestKeys(1, 1);
  ASSERT_EQ(local->Put(keys, buffers.sources()).stored, 1u);
  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys(std::string(keys[0].begin(), keys[0].end()));
  std::vector<FetchedChunk> chunks;
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].payload, std::string(buffers[0].begin(), buffers[0].end()));
}

// --- the server ---------------------------------------------------------------------------------

// Sends `request` to a method and returns the first message of its answer.
std::string CallByName(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  const auto stream = stub.PrepareCall(&context, method, &queue);
  const auto done = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  grpc::Slice slice(request);
  grpc::ByteBuffer reply;
  grpc::Status status;
  stream->StartCall(nullptr);
  EXPECT_TRUE(done());
  stream->WriteLast(grpc::ByteBuffer(&slice, 1), {}, nullptr);
  EXPECT_TRUE(done());
  stream->Read(&reply, nullptr);
  EXPECT_TRUE(done());
  stream->Finish(&status, nullptr);
  EXPECT_TRUE(done());
  EXPECT_TRUE(status.ok()) << status.error_message();
  if (!reply.DumpToSingleSlice(&slice).ok()) return "";
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

TEST_F(StoreRpcTest, HealthAndReflectionAreServed) {
  // Calls by name, as grpcurl and Kubernetes make them, need no generated code here.
  EXPECT_EQ(CallByName(channel_, "/grpc.health.v1.Health/Check", ""), "\x08\x01");  // SERVING
  // Field 7 of the request is list_services.
  const std::string services = CallByName(
      channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*");
  EXPECT_THAT(services, HasSubstr("larder.v1.Store"));
  EXPECT_THAT(services, HasSubstr("larder.v1.Admin"));
}

TEST_F(StoreRpcTest, BadAndTakenAddressesAreErrors) {
  for (const char* listen : {"", ":1", "host", "127.0.0.1:", "127.0.0.1:65536", "unix:"}) {
    const auto server = RpcServer::Start({.listen = listen}, &*node_);
    EXPECT_TRUE(absl::IsInvalidArgument(server.status())) << listen << ": " << server.status();
  }
  const auto taken = RpcServer::Start({.listen = server_->address()}, &*node_);
  EXPECT_TRUE(absl::IsUnavailable(taken.status())) << taken.status();
}

TEST_F(StoreRpcTest, AUnixSocketIsForThisUserAlone) {
  const std::string path = directory_.path() + "/rpc.sock";
  auto server = RpcServer::Start({.listen = "unix:" + path}, &*node_);
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const auto second = RpcServer::Start({.listen = "unix:" + path}, &*node_);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  const auto stub =
      v1::Admin::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::StatusResponse response;
  EXPECT_TRUE(stub->Status(&context, {}, &response).ok());
}

TEST_F(StoreRpcTest, TheServerEndsSoonWithAStreamUnderWay) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  grpc::ClientContext context;
  v1::PutResponse response;
  const auto writer = store_->Put(&context, &response);
  v1::PutRequest request;
  *request.mutable_header() = HeaderOf(space, "k");
  ASSERT_TRUE(writer->Write(request));
  const MonotonicTime begin = SystemClock::Get().Now();
  server_ = nullptr;
  EXPECT_LT(SystemClock::Get().Now() - begin, absl::Seconds(5));
  EXPECT_FALSE(writer->Finish().ok());
  uint64_t sessions = 0;
  ASSERT_TRUE(node_
                  ->WithCore(SystemClock::Get().Now() + absl::Seconds(5),
                             [&](Core& core, MonotonicTime) { sessions = core.Stats().sessions; })
                  .ok());
  EXPECT_EQ(sessions, 1u);  // the verifier's
}

}  // namespace
}  // namespace larder

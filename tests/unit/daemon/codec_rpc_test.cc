// Coded chunks through larder.v1.Store.
#include <gmock/gmock.h>

#include <fstream>
#include <iterator>

#include "daemon/rpc/profiles.h"
#include "tests/unit/daemon/rpc_fixture.h"

namespace larder {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr char kProfilePath[] = LARDER_GOLDEN_DIR "/codec/larder_profile.bin";

// Two layers of two heads of 64, as the golden profile has them.
v1::SpaceDescription CodedDescription(v1::Codec codec, uint32_t levels = 0) {
  v1::SpaceDescription description = TestDescription("tenant", 2, 64);
  description.mutable_manifest()->set_layers(2);
  description.mutable_manifest()->set_codec(codec);
  description.mutable_manifest()->set_levels(levels);
  return description;
}

// bfloat16 that any codec makes smaller.
std::string SmoothPayload(uint64_t seed, uint64_t bytes) {
  std::string payload = RandomPayload(seed, bytes);
  for (size_t at = 1; at < bytes; at += 2) payload[at] = payload[at] & 1 ? '\x3f' : '\xbf';
  return payload;
}

class CodecRpcTest : public RpcTest {
 protected:
  using RpcTest::RpcTest;

  grpc::Status PutAs(const std::string& space, const std::string& key, v1::Codec codec,
                     uint32_t levels) {
    v1::PutHeader header = HeaderOf(space, key);
    header.set_codec(codec);
    header.set_levels(levels);
    v1::PutResponse response;
    return Put(header, SmoothPayload(1, chunk_bytes_), &response);
  }

  // "codec 3, 2 levels" as the stored container says.
  std::string FormOf(const std::string& space, const std::string& key) {
    grpc::ClientContext context;
    v1::InspectRequest request;
    request.set_space_id(space);
    request.set_key(key);
    v1::InspectResponse response;
    const grpc::Status status = admin_->Inspect(&context, request, &response);
    if (!status.ok()) return status.error_message();
    const v1::ContainerHeader& header = response.containers(0).header();
    return absl::StrCat("codec ", header.codec(), ", ", header.level_count(), " levels");
  }

  // The chunk of one key, read from its first `levels` levels.
  FetchedChunk FetchOne(const std::string& space, const std::string& key, uint32_t levels = 0) {
    v1::FetchRequest request;
    request.set_space_id(space);
    request.add_keys(key);
    request.set_levels(levels);
    std::vector<FetchedChunk> chunks;
    const grpc::Status status = Fetch(request, &chunks);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return chunks.empty() ? FetchedChunk() : chunks[0];
  }
};

TEST_F(CodecRpcTest, APutIsStoredAsTheManifestSaysUnlessItSaysOtherwise) {
  const std::string space = OpenSpace(CodedDescription(v1::CODEC_LARDER, 2));
  const std::string payload = SmoothPayload(1, chunk_bytes_);
  ASSERT_TRUE(PutAs(space, "default", v1::CODEC_UNSPECIFIED, 0).ok());
  ASSERT_TRUE(PutAs(space, "three", v1::CODEC_UNSPECIFIED, 3).ok());
  ASSERT_TRUE(PutAs(space, "all", v1::CODEC_LARDER, 0).ok());
  ASSERT_TRUE(PutAs(space, "raw", v1::CODEC_RAW, 0).ok());
  ASSERT_TRUE(PutAs(space, "lossless", v1::CODEC_LOSSLESS, 1).ok());
  EXPECT_EQ(FormOf(space, "default"), "codec 3, 2 levels");
  EXPECT_EQ(FormOf(space, "three"), "codec 3, 3 levels");
  EXPECT_EQ(FormOf(space, "all"), "codec 3, 4 levels");
  EXPECT_EQ(FormOf(space, "raw"), "codec 1, 1 levels");
  EXPECT_EQ(FormOf(space, "lossless"), "codec 2, 1 levels");

  EXPECT_EQ(FetchOne(space, "raw").payload, payload);
  EXPECT_EQ(FetchOne(space, "lossless").payload, payload);
  const FetchedChunk whole = FetchOne(space, "all"), two = FetchOne(space, "all", 2);
  EXPECT_EQ(whole.header.levels(), 4u);
  EXPECT_EQ(two.header.levels(), 2u);
  EXPECT_EQ(two.payload, FetchOne(space, "default").payload);
  EXPECT_NE(two.payload, whole.payload);
  EXPECT_EQ(FetchOne(space, "default", 4).header.levels(), 2u);
  EXPECT_TRUE(EverythingGivenBack());
}

TEST_F(CodecRpcTest, SpacesShowTheirCodec) {
  OpenSpace(CodedDescription(v1::CODEC_LARDER, 2));
  OpenSpace(CodedDescription(v1::CODEC_UNSPECIFIED));
  grpc::ClientContext context;
  v1::SpacesResponse response;
  ASSERT_TRUE(admin_->Spaces(&context, {}, &response).ok());
  ASSERT_EQ(response.spaces_size(), 2);
  EXPECT_EQ(response.spaces(0).description().manifest().codec(), v1::CODEC_LARDER);
  EXPECT_EQ(response.spaces(0).description().manifest().levels(), 2u);
  EXPECT_EQ(response.spaces(1).description().manifest().codec(), v1::CODEC_RAW);
}

TEST_F(CodecRpcTest, BadCodecsAndLevelsAreNamed) {
  const std::string space = OpenSpace(CodedDescription(v1::CODEC_UNSPECIFIED));
  const auto put_error = [&](v1::Codec codec, uint32_t levels) {
    const grpc::Status status = PutAs(space, "k", codec, levels);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(put_error(static_cast<v1::Codec>(6), 0), HasSubstr("codec: 6 is none of raw"));
  EXPECT_THAT(put_error(v1::CODEC_LARDER, 5), HasSubstr("levels is 5, codec larder has 4"));
  EXPECT_THAT(put_error(v1::CODEC_UNSPECIFIED, 2), HasSubstr("levels is 2, codec raw has 1"));

  const auto open_error = [&](const v1::SpaceDescription& description) {
    grpc::ClientContext context;
    v1::OpenSpaceRequest request;
    *request.mutable_description() = description;
    v1::OpenSpaceResponse response;
    const grpc::Status status = store_->OpenSpace(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(open_error(CodedDescription(static_cast<v1::Codec>(6))),
              HasSubstr("description.manifest.codec: 6 is none of raw"));
  EXPECT_THAT(open_error(CodedDescription(v1::CODEC_LARDER, 4)),
              HasSubstr("levels is 4, must be below the 4 of codec larder"));
  v1::SpaceDescription bytes = CodedDescription(v1::CODEC_LOSSLESS);
  bytes.mutable_manifest()->set_element_type(v1::ELEMENT_TYPE_INT8);
  EXPECT_THAT(open_error(bytes), HasSubstr("description.manifest.codec: lossless"));
  // A put that opens the space by itself does no better.
  v1::PutHeader header = HeaderOf(space, "k");
  *header.mutable_description() = bytes;
  v1::PutResponse response;
  EXPECT_THAT(Put(header, "", &response).error_message(), HasSubstr("codec: lossless"));
  EXPECT_EQ(DaemonStatus().chunks(), 0u);
}

TEST_F(CodecRpcTest, ChunksOfAProfileAreReadByAServerThatWasGivenIt) {
  const auto profiles = LoadProfiles(kProfilePath);
  ASSERT_TRUE(profiles.ok()) << profiles.status();
  ASSERT_EQ(profiles->size(), 1u);
  const auto client = Client::Connect({.socket_path = directory_.path() + "/larder.sock"});
  ASSERT_TRUE(client.ok()) << client.status();
  Manifest manifest = TestManifest(2, 2, 64, 16);
  manifest.codec = ContainerCodec::kLarder;
  auto local = (*client)->Open(manifest, "tenant", "", profiles->front());
  ASSERT_TRUE(local.ok()) << local.status();
  ChunkBuffers buffers(1, manifest.PayloadBytes(manifest.WholePart()));
  for (size_t at = 1; at < buffers[0].size(); at += 2) buffers[0][at] = 0x3f;
  const auto keys = TestKeys(1, 1);
  ASSERT_EQ(local->Put(keys, buffers.sources()).stored, 1u);
  ASSERT_EQ(local->Fetch(keys, buffers.destinations()).chunks, 1u);

  v1::FetchRequest request;
  request.set_space_id(OpenSpace(CodedDescription(v1::CODEC_LARDER)));
  EXPECT_EQ(request.space_id(), ToString(local->id()));
  request.add_keys(std::string(keys[0].begin(), keys[0].end()));
  std::vector<FetchedChunk> chunks;
  const grpc::Status without = Fetch(request, &chunks);
  EXPECT_EQ(without.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(without.error_message(), HasSubstr("keys[0]: stored with profile "));
  EXPECT_TRUE(chunks.empty());

  auto server = RpcServer::Start({.listen = "127.0.0.1:0", .profiles = *profiles}, &*node_);
  ASSERT_TRUE(server.ok()) << server.status();
  store_ = v1::Store::NewStub(
      grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials()));
  const grpc::Status with = Fetch(request, &chunks);
  ASSERT_TRUE(with.ok()) << with.error_message();
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].payload, std::string(buffers[0].begin(), buffers[0].end()));
  // What such a server puts, clients with and without the profile can read.
  ASSERT_TRUE(PutAs(request.space_id(), std::string(32, 'k'), v1::CODEC_UNSPECIFIED, 0).ok());
  const std::string key(32, 'k');
  const KeySpan put_key(reinterpret_cast<const uint8_t*>(key.data()), key.size(), 1);
  EXPECT_EQ(local->Fetch(put_key, buffers.destinations()).chunks, 1u);
  EXPECT_EQ((*client)->Open(manifest, "tenant")->Fetch(put_key, buffers.destinations()).chunks, 1u);
  store_ = nullptr;
}

TEST(ProfilesTest, FilesAreNamedWhenTheyAreNotWhatTheyShouldBe) {
  EXPECT_EQ(LoadProfiles("")->size(), 0u);
  EXPECT_EQ(LoadProfiles(absl::StrCat(kProfilePath, ",", kProfilePath))->size(), 2u);
  EXPECT_THAT(LoadProfiles("/nonexistent/profile").status().message(),
              HasSubstr("/nonexistent/profile"));
  const absl::Status directory = LoadProfiles(LARDER_GOLDEN_DIR).status();
  EXPECT_THAT(directory.message(), HasSubstr(LARDER_GOLDEN_DIR));
  constexpr char kOther[] = LARDER_GOLDEN_DIR "/codec/larder_keys_level0.bin";
  const absl::Status other = LoadProfiles(absl::StrCat(kProfilePath, ",", kOther)).status();
  EXPECT_THAT(other.message(), HasSubstr(absl::StrCat(kOther, ": profile: ")));
}

class LevelsRpcTest : public CodecRpcTest {
 protected:
  LevelsRpcTest() : CodecRpcTest(DropLevels::kFinestFirst) {}
};

TEST_F(LevelsRpcTest, UnderPressureChunksOfCallersLoseTheirFinestLevelsToo) {
  v1::SpaceDescription description = CodedDescription(v1::CODEC_LARDER);
  description.mutable_manifest()->set_layers(16);
  description.mutable_manifest()->set_tokens_per_chunk(512);
  const std::string space = OpenSpace(description);
  ASSERT_EQ(chunk_bytes_, uint64_t{4} << 20);
  const std::string payload = SmoothPayload(1, chunk_bytes_);
  constexpr int kChunks = 64;
  for (int i = 0; i < kChunks; ++i) {
    v1::PutResponse response;
    const grpc::Status status = Put(HeaderOf(space, absl::StrCat("k", i)), payload, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.outcomes(0), v1::PUT_OUTCOME_STORED) << i;
  }
  EXPECT_GT(DaemonStatus().shortened_chunks(), 0u);
  EXPECT_EQ(FetchOne(space, "k63").header.levels(), 4u);
}

}  // namespace
}  // namespace larder

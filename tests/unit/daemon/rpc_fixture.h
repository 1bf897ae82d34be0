// A node and its gRPC server in this process, and a caller's side of its streams.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/rpc_server.h"
#include "proto/larder/v1/admin.grpc.pb.h"
#include "proto/larder/v1/store.grpc.pb.h"
#include "tests/unit/client/client_fixture.h"

namespace larder {

inline v1::SpaceDescription TestDescription(const std::string& tenant, uint32_t heads = 4,
                                            uint32_t head_dim = 16) {
  v1::SpaceDescription description;
  description.set_tenant(tenant);
  v1::Manifest& manifest = *description.mutable_manifest();
  manifest.set_model("test-model");
  manifest.set_element_type(v1::ELEMENT_TYPE_BFLOAT16);
  manifest.set_kind(v1::CACHE_KIND_KEY_VALUE);
  manifest.set_layers(4);
  manifest.set_heads(heads);
  manifest.set_head_dim(head_dim);
  manifest.set_tokens_per_chunk(16);
  return description;
}

inline std::string RandomPayload(uint64_t seed, uint64_t bytes) {
  SeededRandom random(seed);
  std::string payload(bytes, '\0');
  for (char& byte : payload) byte = static_cast<char>(random.Next());
  return payload;
}

struct FetchedChunk {
  v1::FetchHeader header;
  std::string payload;
};

class RpcTest : public testing::Test {
 protected:
  explicit RpcTest(DropLevels drop_levels = DropLevels::kNever)
      : node_(OptionsWith(directory_.path(), drop_levels)) {
    auto server = RpcServer::Start({.listen = "127.0.0.1:0"}, &*node_);
    EXPECT_TRUE(server.ok()) << server.status();
    if (!server.ok()) return;
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    store_ = v1::Store::NewStub(channel_);
    admin_ = v1::Admin::NewStub(channel_);
  }

  static NodeOptions OptionsWith(const std::string& directory, DropLevels drop_levels) {
    NodeOptions options = TestNodeOptions(directory, uint64_t{64} << 20);
    options.core.drop_levels = drop_levels;
    return options;
  }

  std::string OpenSpace(const v1::SpaceDescription& description) {
    grpc::ClientContext context;
    v1::OpenSpaceRequest request;
    *request.mutable_description() = description;
    v1::OpenSpaceResponse response;
    const grpc::Status status = store_->OpenSpace(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    chunk_bytes_ = response.chunk_payload_bytes();
    return response.space_id();
  }

  // Puts one chunk, `piece_bytes` at a time.
  grpc::Status Put(const v1::PutHeader& header, const std::string& payload,
                   v1::PutResponse* response, size_t piece_bytes = 1 << 20) {
    grpc::ClientContext context;
    const auto writer = store_->Put(&context, response);
    v1::PutRequest request;
    *request.mutable_header() = header;
    writer->Write(request);
    for (size_t at = 0; at < payload.size(); at += piece_bytes) {
      request.set_data(payload.substr(at, piece_bytes));
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  // A header for `key`; the rest is for the test to fill in.
  static v1::PutHeader HeaderOf(const std::string& space_id, const std::string& key) {
    v1::PutHeader header;
    header.set_space_id(space_id);
    header.set_key(key);
    return header;
  }

  void PutChunk(const std::string& space_id, const std::string& key, uint64_t seed) {
    v1::PutResponse response;
    const grpc::Status status =
        Put(HeaderOf(space_id, key), RandomPayload(seed, chunk_bytes_), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.outcomes_size(), 1);
    ASSERT_EQ(response.outcomes(0), v1::PUT_OUTCOME_STORED);
  }

  grpc::Status Fetch(const v1::FetchRequest& request, std::vector<FetchedChunk>* chunks) {
    grpc::ClientContext context;
    const auto reader = store_->Fetch(&context, request);
    v1::FetchResponse response;
    while (reader->Read(&response)) {
      if (response.has_header()) {
        chunks->push_back({response.header(), ""});
      } else {
        EXPECT_LE(response.data().size(), size_t{1} << 20);
        chunks->back().payload += response.data();
      }
    }
    return reader->Finish();
  }

  uint32_t Match(const std::string& space_id, const std::vector<std::string>& keys) {
    grpc::ClientContext context;
    v1::MatchRequest request;
    request.set_space_id(space_id);
    for (const std::string& key : keys) request.add_keys(key);
    v1::MatchResponse response;
    const grpc::Status status = store_->Match(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.chunks();
  }

  v1::StatusResponse DaemonStatus() {
    grpc::ClientContext context;
    v1::StatusResponse response;
    const grpc::Status status = admin_->Status(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  // Waits until no lease and no reservation is held; false when that does not happen in time.
  bool EverythingGivenBack() {
    for (int i = 0; i < 500; ++i) {
      const v1::StatusResponse status = DaemonStatus();
      if (status.leases() == 0 && status.reservations() == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  // Changes a byte of the last plane of the chunk's first container, as a failing memory would.
  void Damage(const std::string& space_id, const std::string& key) {
    grpc::ClientContext context;
    v1::InspectRequest request;
    request.set_space_id(space_id);
    request.set_key(key);
    v1::InspectResponse response;
    const grpc::Status status = admin_->Inspect(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const v1::ContainerStatus& container = response.containers(0);
    node_->arena_data()[container.arena_offset() + container.bytes() - 1] ^= 1;
  }

  TemporaryDirectory directory_;
  RunningNode node_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Store::Stub> store_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  uint64_t chunk_bytes_ = 0;  // of the space that was opened last
};

}  // namespace larder

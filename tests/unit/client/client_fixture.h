// A node in this process and what tests put into it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "common/hash.h"
#include "common/random.h"
#include "daemon/node/node.h"

namespace larder {

// A fresh directory in shared memory, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char pattern[] = "/dev/shm/larder-test-XXXXXX";
    path_ = mkdtemp(pattern);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline NodeOptions TestNodeOptions(const std::string& directory, uint64_t arena_bytes) {
  NodeOptions options;
  options.arena.directory = directory + "/arena";
  options.arena.data_bytes = arena_bytes;
  options.local.listen.path = directory + "/larder.sock";
  return options;
}

// Runs a node on a thread of its own; Stop is a clean end.
class RunningNode {
 public:
  explicit RunningNode(const NodeOptions& options) {
    auto node = Node::Start(options);
    EXPECT_TRUE(node.ok()) << node.status();
    if (!node.ok()) return;
    node_ = *std::move(node);
    thread_ = std::thread([this] { node_->Run(); });
  }
  ~RunningNode() { Stop(); }

  void Stop() {
    if (node_ == nullptr) return;
    node_->Stop();
    thread_.join();
    node_ = nullptr;
  }
  Node& operator*() { return *node_; }
  Node* operator->() { return node_.get(); }

 private:
  std::unique_ptr<Node> node_;
  std::thread thread_;
};

inline Manifest TestManifest(uint32_t layers = 4, uint32_t heads = 4, uint32_t head_dim = 16,
                             uint32_t tokens = 16) {
  Manifest manifest;
  manifest.model = "test-model";
  manifest.layers = layers;
  manifest.heads = heads;
  manifest.head_dim = head_dim;
  manifest.tokens_per_chunk = tokens;
  return manifest;
}

inline std::vector<Sha256Digest> TestKeys(uint32_t seed, size_t count) {
  const std::vector<uint32_t> tokens(count, seed);
  return HashTokenChunks(tokens, 1);
}

// Chunks with random contents, and the lists that Put and Fetch take.
class ChunkBuffers {
 public:
  ChunkBuffers(size_t count, size_t bytes) : buffers_(count, std::vector<uint8_t>(bytes)) {
    for (auto& buffer : buffers_) {
      sources_.push_back({buffer.data(), buffer.size()});
      destinations_.push_back({buffer.data(), buffer.size()});
    }
    for (size_t i = 0; i < count; ++i) {
      gather_.emplace_back(&sources_[i], 1);
      scatter_.emplace_back(&destinations_[i], 1);
    }
  }

  ChunkBuffers& Randomise(uint64_t seed) {
    SeededRandom random(seed);
    for (auto& buffer : buffers_) {
      for (uint8_t& byte : buffer) byte = static_cast<uint8_t>(random.Next());
    }
    return *this;
  }

  std::span<const GatherList> sources() const { return gather_; }
  std::span<const ScatterList> destinations() const { return scatter_; }
  const std::vector<uint8_t>& operator[](size_t i) const { return buffers_[i]; }
  std::vector<uint8_t>& operator[](size_t i) { return buffers_[i]; }

 private:
  std::vector<std::vector<uint8_t>> buffers_;
  std::vector<ConstSegment> sources_;
  std::vector<Segment> destinations_;
  std::vector<GatherList> gather_;
  std::vector<ScatterList> scatter_;
};

}  // namespace larder

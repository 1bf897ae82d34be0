// A few nodes' brains in one process: messages and writes are carried at once, until nobody has
// anything to say.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/cluster/cluster_core.h"
#include "daemon/index/event_log.h"
#include "kernels/format/container.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {

inline std::vector<uint8_t> ChunkKeyOf(uint64_t number) {
  std::vector<uint8_t> key(sizeof(number));
  std::memcpy(key.data(), &number, sizeof(number));
  return key;
}
inline KeyHash HashOf(uint64_t number) { return HashKey(ChunkKeyOf(number)); }

// What a chunk holds follows from its number.
inline std::vector<uint8_t> PayloadOf(uint64_t number, size_t bytes) {
  std::vector<uint8_t> payload(bytes);
  for (size_t i = 0; i < bytes; ++i) payload[i] = static_cast<uint8_t>(number * 31 + i * 7);
  return payload;
}

class TestNode {
 public:
  TestNode(std::string node_name, uint64_t granules, const ClusterCoreOptions& base,
           const CoreOptions& core_options = {})
      : name(std::move(node_name)), harness(granules, core_options), arena(harness.data_bytes()) {
    ClusterCoreOptions options = base;
    options.self = name;
    cluster = *ClusterCore::Create(options, &harness.core(), [this](const SpaceDescription& d) {
      return harness.core().OpenSpace(d);
    });
    session = harness.OpenSession();
    space = harness.Open();
  }

  // Stores a chunk in so many parts along the heads; true if that made a chunk.
  bool Put(uint64_t number, uint64_t parent = 0, uint32_t depth = 0, uint16_t parts = 1) {
    const Space& opened = *harness.core().FindSpace(space);
    const Manifest& manifest = opened.description.manifest;
    bool all = true;
    for (uint16_t i = 0; i < parts; ++i) {
      Part part = manifest.WholePart();
      part.layer_begin = static_cast<uint16_t>(i * manifest.layers / parts);
      part.layer_end = static_cast<uint16_t>((i + 1) * manifest.layers / parts);
      const std::vector<uint8_t> payload = PayloadOf(number, manifest.PayloadBytes(part));
      const std::vector<uint8_t> key = ChunkKeyOf(number);
      ChunkIdentity identity{.space = opened.id,
                             .manifest = manifest.Id(),
                             .key = ChunkKey(key.begin(), key.end()),
                             .parent = parent == 0 ? KeyHash{} : HashOf(parent),
                             .depth = depth,
                             .token_count = manifest.tokens_per_chunk,
                             .part = part};
      const ReserveOutcome outcome = harness.Reserve(session, space,
                                                     {.key = HashOf(number),
                                                      .parent = identity.parent,
                                                      .depth = depth,
                                                      .part = part,
                                                      .bytes = RawContainerBytes(manifest, part)});
      if (outcome.kind != ReserveOutcome::Kind::kGranted) return false;
      const ConstSegment segment{payload.data(), payload.size()};
      all &= WriteRawContainer(
                 std::span(arena).subspan(outcome.offset, RawContainerBytes(manifest, part)),
                 manifest, identity, {&segment, 1})
                 .ok() &&
             harness.Commit(session, outcome.id).ok();
    }
    return all;
  }

  uint32_t Match(std::span<const KeyHash> keys, const LookupOptions& options = {}) {
    return harness.core().Match(space, keys, options, harness.now)->chunks;
  }
  uint32_t Match(std::vector<uint64_t> numbers, const LookupOptions& options = {}) {
    std::vector<KeyHash> keys;
    for (uint64_t number : numbers) keys.push_back(HashOf(number));
    return Match(keys, options);
  }

  // Starts to bring the chunks here; how many are here or coming.
  uint32_t Load(std::vector<uint64_t> numbers) {
    std::vector<KeyHash> keys;
    for (uint64_t number : numbers) keys.push_back(HashOf(number));
    return harness.core().Load(space, keys, /*local_only=*/false, harness.now).coming;
  }

  // Whether the chunk is here in memory, whole, with the right bytes.
  bool HoldsRightBytes(uint64_t number) {
    const KeyHash key = HashOf(number);
    const Part whole = harness.Whole(space);
    const auto acquired = harness.core().Acquire(session, space, {&key, 1}, whole, harness.now);
    if (!acquired.ok() || acquired->chunks.empty()) return false;
    bool right = true;
    for (const BlockExtent& extent : acquired->extents) {
      const auto view = ContainerView::Parse(std::span(arena).subspan(extent.offset, extent.bytes));
      right =
          right && view.ok() && view->VerifyBodies().ok() && HashKey(view->identity().key) == key;
      if (!right) break;
      const Manifest& manifest = harness.core().FindSpace(space)->description.manifest;
      std::vector<uint8_t> payload(manifest.PayloadBytes(extent.part));
      const Segment segment{payload.data(), payload.size()};
      right = ReadRawContainer(*view, manifest, extent.part, {&segment, 1}).ok() &&
              payload == PayloadOf(number, payload.size());
    }
    (void)harness.core().Release(session, acquired->lease);
    return right;
  }

  std::string name;
  CoreHarness harness;
  std::vector<uint8_t> arena;
  std::unique_ptr<ClusterCore> cluster;
  SessionId session;
  SpaceHandle space = 0;
  std::map<uint64_t, MemoryRange> windows;
  uint64_t sequence = 0;
};

class TestCluster {
 public:
  // The first `directories` nodes are directory nodes; if there are any, only they follow.
  explicit TestCluster(int count, uint64_t granules = 64, const ClusterCoreOptions& options = {},
                       const CoreOptions& core_options = {}, int directories = 0) {
    ClusterCoreOptions small = options;
    small.index.entries_max = 10'000;
    for (int i = 0; i < count; ++i) {
      nodes.push_back(
          std::make_unique<TestNode>(absl::StrCat("node", i), granules, small, core_options));
    }
    std::vector<MemberRecord> members;
    for (const auto& node : nodes) {
      members.emplace_back();
      members.back().name = node->name;
      members.back().epoch = 1;
      members.back().memory_bytes = node->arena.size();
      members.back().directory = static_cast<int>(members.size()) <= directories;
    }
    for (const auto& node : nodes) node->cluster->SetMembers(members, node->harness.now);
    for (const auto& node : nodes) {
      for (const auto& other : nodes) {
        if (other == node) continue;
        node->cluster->OnPeerUp(other->name, 1, node->harness.now);
        if (node->cluster->asks()) continue;
        (void)node->cluster->OnFollowOpen(other->name);
        const FollowBatch begin{
            .epoch = 1, .phase = FollowBatch::Phase::kSnapshotEnd, .events = {}};
        (void)node->cluster->OnFollowBatch(other->name, begin);
      }
    }
    Run();
  }

  TestNode& operator[](size_t i) { return *nodes[i]; }

  // Carries messages until nobody has any.
  void Run() {
    for (bool busy = true; busy;) {
      busy = false;
      for (const auto& node : nodes) {
        node->cluster->Step(node->harness.now);
        busy |= Publish(*node);
        for (ClusterOrder& order : node->cluster->TakeOrders()) {
          CarryOut(*node, order);
          busy = true;
        }
      }
    }
  }

  void Advance(absl::Duration duration) {
    for (const auto& node : nodes) node->harness.now = node->harness.now + duration;
    for (const auto& node : nodes) node->harness.core().Tick(node->harness.now);
    Run();
  }

  // `a` and `b` no longer hear of each other.
  void Cut(TestNode& a, TestNode& b) {
    a.cluster->OnPeerDown(b.name, 1, a.harness.now);
    b.cluster->OnPeerDown(a.name, 1, b.harness.now);
    Run();
  }

  // Called for each order before it is carried out; false: it is lost.
  std::function<bool(TestNode&, ClusterOrder&)> on_order;
  std::vector<std::unique_ptr<TestNode>> nodes;

 private:
  bool Publish(TestNode& node) {
    std::vector<ChunkEvent> events;
    EXPECT_TRUE(node.cluster->TakeEvents(&events));
    if (events.empty()) return false;
    FollowBatch batch{.epoch = 1,
                      .first_sequence = node.sequence,
                      .next_sequence = node.sequence + events.size(),
                      .events = events};
    node.sequence += events.size();
    node.cluster->OnEventsLogged(node.sequence);
    for (const auto& other : nodes) {
      if (other.get() == &node) continue;
      EXPECT_EQ(
          other->cluster->OnFollowBatch(node.name, batch),
          other->cluster->asks() ? IndexFollower::Taken::kResync : IndexFollower::Taken::kTaken);
    }
    return true;
  }

  TestNode* Named(const std::string& name) {
    for (const auto& node : nodes) {
      if (node->name == name) return node.get();
    }
    return nullptr;
  }

  void CarryOut(TestNode& from, ClusterOrder& order) {
    if (on_order && !on_order(from, order)) return;
    using Kind = ClusterOrder::Kind;
    TestNode* to = Named(order.node);
    ASSERT_NE(to, nullptr) << order.node;
    switch (order.kind) {
      case Kind::kOpenWindow:
        from.windows[order.window] = order.ranges[0];
        return;
      case Kind::kCloseWindow:
        from.windows.erase(order.window);
        from.cluster->OnWindowClosed(order.window);
        return;
      case Kind::kSend:
        to->cluster->OnMessage(from.name, order.payload, nullptr, to->harness.now);
        return;
      case Kind::kWrite: {
        const auto window = to->windows.find(order.window);
        if (window != to->windows.end()) {
          const MemoryRange& source = order.ranges[0];
          ASSERT_LE(order.offset_or_bytes + source.bytes, window->second.bytes);
          std::memcpy(to->arena.data() + window->second.offset + order.offset_or_bytes,
                      from.arena.data() + source.offset, source.bytes);
        }
        from.cluster->OnWritten(order.token, from.harness.now);
        return;
      }
      case Kind::kSendAfter: {
        const auto window = to->windows.find(order.window);
        if (window == to->windows.end()) return;
        const auto fetched = ReadFetched(order.payload);
        ASSERT_TRUE(fetched.ok());
        const CheckedArrival arrival =
            ArrivalCheck(std::span(to->arena).subspan(window->second.offset, window->second.bytes))
                .Finish(*fetched);
        to->cluster->OnMessage(from.name, order.payload, &arrival, to->harness.now);
        return;
      }
    }
  }
};

}  // namespace larder

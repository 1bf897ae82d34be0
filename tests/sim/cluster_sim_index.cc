// What nodes know of each other in the end.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/cluster_sim.h"

namespace larder {
namespace {

// An asking node asks for so many chunks at once; it keeps what it is told of about as many.
constexpr size_t kAskedAtOnce = 32;
// Nothing goes wrong any more, so answers are there by then.
constexpr absl::Duration kAnswers = absl::Milliseconds(20);

}  // namespace

bool ClusterSim::ShouldAsk(const SimNode& node) const {
  return !node.directory() && std::any_of(nodes_.begin(), nodes_.end(),
                                          [](const auto& other) { return other->directory(); });
}

ClusterSim::Holders ClusterSim::HoldersOf(const SimNode& node, const SimChunk& chunk) {
  const KeyHash key = KeyOf(chunk);
  Holders holders;
  for (const auto& other : nodes_) {
    if (other->id() == node.id()) continue;
    Core& core = other->core();
    const Holding holding = core.HoldingOf(chunk.space, key);
    const int tiers = (holding.in_memory ? kTierMemory : 0) | (holding.on_disk ? kTierDisk : 0);
    if (tiers == 0) continue;
    holders.say[SimNodeName(other->id())] = tiers;
    const auto match = core.Match(chunk.space, {&key, 1}, {.local_only = true}, other->Now());
    if (match->chunks > 0) holders.give[SimNodeName(other->id())] = tiers;
  }
  return holders;
}

void ClusterSim::CheckBelief(SimNode& node, const SimChunk& chunk, const Holders& holders) {
  std::map<std::string, int> known;
  for (const auto& holder : node.cluster().HoldersOf(chunk.space, KeyOf(chunk), node.Now())) {
    known[holder.node] = holder.tiers;
  }
  const auto& [say, give] = holders;
  // Who asks is told of a few holders.
  const bool all = node.cluster().asks() && say.size() > kLocatedHoldersMax
                       ? known.size() == kLocatedHoldersMax
                       : std::includes(known.begin(), known.end(), give.begin(), give.end());
  if (all && std::includes(say.begin(), say.end(), known.begin(), known.end())) return;
  std::string text;
  for (const auto& [name, tiers] : say) absl::StrAppend(&text, " ", name, ":", tiers);
  absl::StrAppend(&text, ", it believes");
  for (const auto& [name, tiers] : known) absl::StrAppend(&text, " ", name, ":", tiers);
  Fail(absl::StrCat("node ", node.id(), " is wrong about chunk ", NumberOf(chunk), ", held by",
                    text));
}

void ClusterSim::CheckIndex(SimNode& node) {
  if (queue_.stopped() || node.cluster().asks()) return;
  uint64_t told = 0, given = 0;
  for (const SimChunk& chunk : AllSimChunks()) {
    const Holders holders = HoldersOf(node, chunk);
    told += holders.say.empty() ? 0 : 1;
    given += holders.give.empty() ? 0 : 1;
    CheckBelief(node, chunk, holders);
  }
  const uint64_t entries = node.cluster().GetStats().index.entries;
  if (entries < given || entries > told) {
    Fail(absl::StrCat("node ", node.id(), " has ", entries, " entries of ", told,
                      " chunks in its index"));
  }
}

void ClusterSim::CheckAsking(SimNode& node) {
  if (queue_.stopped() || !node.cluster().asks()) return;
  const std::vector<SimChunk> all = AllSimChunks();
  for (size_t first = 0; first < all.size() && !queue_.stopped(); first += kAskedAtOnce) {
    const size_t count = std::min(kAskedAtOnce, all.size() - first);
    const std::span<const SimChunk> asked = std::span(all).subspan(first, count);
    node.Do(node.host().life(), [&] {
      for (const SimChunk& chunk : asked) {
        const KeyHash key = KeyOf(chunk);
        (void)node.cluster().Locate(chunk.space, {&key, 1}, node.Now());
      }
    });
    queue_.RunUntil(queue_.now() + kAnswers);
    for (const SimChunk& chunk : asked) CheckBelief(node, chunk, HoldersOf(node, chunk));
  }
}

}  // namespace larder

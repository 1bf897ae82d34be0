// Directory mode: a node that does not follow the others asks directory nodes who holds what, and
// those answer.
#include <algorithm>
#include <utility>

#include "daemon/cluster/cluster_core.h"

namespace larder {

// --- asking -------------------------------------------------------------------------------------

void ClusterCore::SetMode(bool asks) {
  if (asks == asks_directory_) return;
  asks_directory_ = asks;
  // What was followed is not told of any more; what was asked, a snapshot will tell better.
  for (auto& [name, peer] : peers_) peer.follower->Hide();
  directory_.Clear();
  core_->NoteFetchEnded();
}

void ClusterCore::UpdateDirectories(MonotonicTime now) {
  std::vector<NodeSlot> nodes;
  for (const auto& [name, peer] : peers_) {
    if (asks_directory_ && peer.up && peer.member.directory) nodes.push_back(peer.slot);
  }
  directory_.SetNodes(std::move(nodes), now);
}

void ClusterCore::AskFor(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now) {
  if (!asks_directory_) return;
  for (const KeyHash& key : keys) {
    const FetchName name{space, key};
    if (FailedLately(name, now)) return;
    const Directory::Known known = directory_.Look(name, now);
    if (known == Directory::Known::kNothing || known == Directory::Known::kNowhere) return;
  }
}

bool ClusterCore::IsLocating(uint32_t space, const KeyHash& key) const {
  return directory_.IsAsked({space, key});
}

bool ClusterCore::Locate(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now) {
  bool locating = false;
  for (const KeyHash& key : keys) {
    AskFor(space, {&key, 1}, now);
    locating |= IsLocating(space, key);
  }
  return locating;
}

void ClusterCore::CarryOutQuestions(MonotonicTime now) {
  directory_.Tick(now);
  for (const Directory::Question& question : directory_.TakeQuestions(now)) {
    Send(question.node,
         WriteMessage(PeerLocate{
             .space = *IdOf(question.space), .question = question.number, .keys = question.keys}));
  }
  if (directory_.TakeGivenUp()) core_->NoteFetchEnded();
  for (const auto& [name, holders] : directory_.TakeExpired()) {
    for (const NodeSlot holder : holders) {
      index_->Apply(holder, ChunkEvent{.space = *IdOf(name.space), .key = name.key});
    }
  }
}

void ClusterCore::OnLocated(Peer& peer, const PeerLocated& located, MonotonicTime now) {
  std::optional<Directory::Question> question =
      directory_.TakeAnswered(peer.slot, located.question);
  if (!question) return;
  std::vector<Directory::Holders> holders(question->keys.size());
  for (const PeerLocated::Item& item : located.items) {
    if (item.key >= holders.size()) {
      ++stats_.bad_messages;
      continue;
    }
    const Peer* holder = PeerOf(item.node);
    // One whose old entries are still being removed can't be told of in the index.
    if (holder == nullptr || holder->follower->has_work()) continue;
    Directory::Holders& named = holders[item.key];
    if (named.size() == kLocatedHoldersMax) continue;
    named.push_back(holder->slot);
    index_->Apply(holder->slot, ChunkEvent{.space = *IdOf(question->space),
                                           .key = question->keys[item.key],
                                           .pages = item.pages,
                                           .tiers = item.tiers});
  }
  std::vector<KeyHash> open;
  for (size_t i = 0; i < holders.size(); ++i) {
    const KeyHash& key = question->keys[i];
    if (located.partial && holders[i].empty()) {
      open.push_back(key);
    } else {
      directory_.Learn({question->space, key}, std::move(holders[i]), now);
    }
  }
  if (!open.empty()) directory_.AskOther(*std::move(question), std::move(open), now);
  core_->NoteFetchEnded();
}

// --- answering ----------------------------------------------------------------------------------

bool ClusterCore::KnowsAll() const {
  return std::all_of(peers_.begin(), peers_.end(),
                     [](const auto& named) { return named.second.follower->complete(); });
}

void ClusterCore::OnLocate(const Peer& peer, const PeerLocate& locate) {
  ++stats_.answered_questions;
  stats_.answered_keys += locate.keys.size();
  PeerLocated located{.question = locate.question, .partial = !KnowsAll(), .items = {}};
  const std::optional<SpaceHandle> space = core_->FindSpace(locate.space);
  index_->Find(locate.space, locate.keys, /*stop_at_first_unknown=*/false, &found_);
  for (uint32_t i = 0; i < locate.keys.size(); ++i) {
    size_t named = 0;
    const auto name = [&](const std::string& node, uint32_t pages, uint8_t tiers) {
      if (node.empty() || pages == 0 || named == kLocatedHoldersMax) return;
      located.items.push_back({.key = i, .pages = pages, .tiers = tiers, .node = node});
      ++named;
    };
    if (space) {
      const ChunkEvent own = EventOf(locate.space, core_->HoldingOf(*space, locate.keys[i]));
      if (own.tiers != 0) name(options_.self, own.pages, own.tiers);
    }
    const FoundChunks::Chunk& chunk = found_.chunks[i];
    for (const ChunkHolder& holder : found_.HoldersOf(chunk)) {
      if (holder.node != peer.slot) name(NameOf(holder.node), chunk.pages, holder.tiers);
    }
  }
  Send(peer.slot, WriteMessage(located));
}

}  // namespace larder

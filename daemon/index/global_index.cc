#include "daemon/index/global_index.h"

#include <algorithm>
#include <utility>

namespace larder {
namespace {

// So many keys before one is looked up, its memory is asked for; halfway, what of it turns out to
// lie further behind. More are in flight than a core can wait for at once.
constexpr size_t kAhead = 32;
// One entry in so many may have more holders than fit into it.
constexpr size_t kEntriesPerList = 8;

// The 128-bit product of two words, folded; both are masked by a secret, as in wyhash.
uint64_t FoldedProduct(uint64_t left, uint64_t right) {
  const unsigned __int128 product = static_cast<unsigned __int128>(left) * right;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GlobalIndex>> GlobalIndex::Create(
    const GlobalIndexOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<EntryTable> table, EntryTable::Create(options.entries_max));
  return std::unique_ptr<GlobalIndex>(new GlobalIndex(std::move(table), options));
}

GlobalIndex::GlobalIndex(std::unique_ptr<EntryTable> table, const GlobalIndexOptions& options)
    : seed_(options.seed),
      table_(std::move(table)),
      holders_(options.entries_max / kEntriesPerList + 1),
      nodes_(kNodesMax) {}

// Two rounds of a Feistel network: a permutation of the key's bits, so that entries need not keep
// the key itself, whose first half nobody can aim without the seed.
EntryName GlobalIndex::NameOf(uint32_t space, const KeyHash& key) const {
  const uint64_t rest = key.low ^ FoldedProduct(key.high ^ seed_ ^ (space * 0xd6e8feb86659fd93u),
                                                seed_ * 0x9e3779b97f4a7c15u | 1);
  const uint64_t hash = key.high ^ FoldedProduct(rest ^ (seed_ * 0xa0761d6478bd642fu),
                                                 ~seed_ * 0xe7037ed1a0b428dbu | 1);
  return {.hash = hash, .rest = rest, .space = space};
}

void GlobalIndex::Apply(NodeSlot node, const ChunkEvent& event) {
  if (hidden_[node]) return;
  const uint8_t tiers = event.tiers & kTiersAll;
  if (tiers == 0) {
    ApplyRemoved(node, event);
  } else {
    ApplyHeld(node, event, tiers);
  }
}

void GlobalIndex::Apply(NodeSlot node, std::span<const ChunkEvent> events) {
  const auto prefetch = [&](const ChunkEvent& event) {
    const uint32_t space = spaces_.Find(event.space);
    if (space != SpaceNumbers::kNone) table_->Prefetch(NameOf(space, event.key).hash);
  };
  for (const ChunkEvent& event : events.first(std::min(kAhead, events.size()))) prefetch(event);
  for (size_t i = 0; i < events.size(); ++i) {
    if (i + kAhead < events.size()) prefetch(events[i + kAhead]);
    Apply(node, events[i]);
  }
}

void GlobalIndex::ApplyHeld(NodeSlot node, const ChunkEvent& event, uint8_t tiers) {
  const uint32_t space = spaces_.FindOrAdd(event.space);
  if (space == SpaceNumbers::kNone) {
    ++dropped_;
    return;
  }
  const EntryName name = NameOf(space, event.key);
  size_t slot = table_->Find(name);
  if (slot == EntryTable::kNone) {
    slot = table_->Insert(name);
    if (slot == EntryTable::kNone) {
      spaces_.DropIfEmpty(space);
      ++dropped_;
      return;
    }
    spaces_.AddEntry(space);
  }
  IndexEntry& entry = (*table_)[slot];
  if (entry.pages != event.pages) SetPages(&entry, event.pages);
  const uint16_t holder = PackedHolder::Pack(node, tiers, nodes_[node].generation);
  const size_t at = PlaceOf(node, entry);
  const std::span<uint16_t> holders = holders_.Of(entry);
  if (at < holders.size()) {
    Count(holders[at], entry.pages, -1);
    holders[at] = holder;
  } else if (!holders_.Add(&entry, holder)) {
    ++dropped_;
    return;
  }
  Count(holder, entry.pages, 1);
}

void GlobalIndex::ApplyRemoved(NodeSlot node, const ChunkEvent& event) {
  const uint32_t space = spaces_.Find(event.space);
  if (space == SpaceNumbers::kNone) return;
  const size_t slot = table_->Find(NameOf(space, event.key));
  if (slot == EntryTable::kNone) return;
  const IndexEntry& entry = (*table_)[slot];
  const size_t at = PlaceOf(node, entry);
  if (at < holders_.Of(entry).size()) RemoveHolder(slot, at);
}

// Nodes may store the same chunk with other codecs; the latest word counts.
void GlobalIndex::SetPages(IndexEntry* entry, uint32_t pages) {
  for (const uint16_t holder : holders_.Of(*entry)) {
    Count(holder, entry->pages, -1);
    Count(holder, pages, 1);
  }
  entry->pages = pages;
}

void GlobalIndex::Count(uint16_t holder, uint32_t pages, int64_t change) {
  Node& node = nodes_[PackedHolder::NodeOf(holder)];
  node.stats.entries += change;
  node.entries_of[PackedHolder::GenerationOf(holder)] += change;
  const uint8_t tiers = PackedHolder::TiersOf(holder);
  if (tiers & kTierMemory) {
    node.stats.memory_entries += change;
    node.stats.memory_pages += change * int64_t{pages};
  }
  if (tiers & kTierDisk) {
    node.stats.disk_entries += change;
    node.stats.disk_pages += change * int64_t{pages};
  }
}

void GlobalIndex::RemoveHolder(size_t slot, size_t at) {
  IndexEntry& entry = (*table_)[slot];
  Count(holders_.Of(entry)[at], entry.pages, -1);
  holders_.Remove(&entry, at);
  if (entry.holder_count > 0) return;
  spaces_.DropEntry(entry.space);
  table_->Erase(slot);
}

size_t GlobalIndex::PlaceOf(NodeSlot node, const IndexEntry& entry) const {
  const std::span<const uint16_t> holders = holders_.Of(entry);
  size_t at = 0;
  while (at < holders.size() && PackedHolder::NodeOf(holders[at]) != node) ++at;
  return at;
}

void GlobalIndex::HideNode(NodeSlot node) {
  hidden_[node] = true;
  nodes_[node].forget_from = 0;
}

bool GlobalIndex::BeginSnapshot(NodeSlot node) {
  if (hidden_[node] || StaleEntries(node) > 0) return false;
  nodes_[node].generation ^= 1;
  nodes_[node].forget_from = 0;
  return true;
}

uint64_t GlobalIndex::StaleEntries(NodeSlot node) const {
  const Node& state = nodes_[node];
  return hidden_[node] ? state.stats.entries : state.entries_of[state.generation ^ 1];
}

bool GlobalIndex::ForgetStep(NodeSlot node, size_t slots_max) {
  Node& state = nodes_[node];
  size_t slot = table_->LowerBound(state.forget_from);
  for (; slots_max > 0 && slot < table_->end() && StaleEntries(node) > 0; --slots_max) {
    const IndexEntry& entry = (*table_)[slot];
    const size_t at = PlaceOf(node, entry);
    const std::span<const uint16_t> holders = holders_.Of(entry);
    if (at < holders.size() && IsStale(node, holders[at])) {
      RemoveHolder(slot, at);  // the next entry may have moved here: the slot is looked at again
    } else {
      ++slot;
    }
  }
  if (StaleEntries(node) == 0) {
    hidden_[node] = false;
    return false;
  }
  while (slot < table_->end() && (*table_)[slot].empty()) ++slot;
  state.forget_from = slot < table_->end() ? (*table_)[slot].hash : 0;
  return true;
}

void GlobalIndex::Find(const SpaceId& space, std::span<const KeyHash> keys,
                       bool stop_at_first_unknown, FoundChunks* found) const {
  found->chunks.clear();
  found->holders.clear();
  const uint32_t number = spaces_.Find(space);
  if (number == SpaceNumbers::kNone) {
    if (!stop_at_first_unknown) found->chunks.resize(keys.size());
    return;
  }
  std::array<EntryName, kAhead> names;
  const auto prefetch = [&](size_t at) {
    if (at >= keys.size()) return;
    names[at % kAhead] = NameOf(number, keys[at]);
    table_->Prefetch(names[at % kAhead].hash);
  };
  const auto prefetch_more = [&](size_t at) {
    if (at < keys.size()) table_->PrefetchMore(names[at % kAhead].hash);
  };
  for (size_t i = 0; i < kAhead; ++i) prefetch(i);
  for (size_t i = 0; i < kAhead / 2; ++i) prefetch_more(i);
  for (size_t i = 0; i < keys.size(); ++i) {
    const EntryName name = names[i % kAhead];
    prefetch(i + kAhead);
    prefetch_more(i + kAhead / 2);
    const size_t slot = table_->Find(name);
    FoundChunks::Chunk& chunk = found->chunks.emplace_back();
    chunk.first_holder = static_cast<uint32_t>(found->holders.size());
    if (slot != EntryTable::kNone) Append((*table_)[slot], found);
    if (stop_at_first_unknown && chunk.holder_count == 0) {
      found->chunks.pop_back();
      return;
    }
  }
}

void GlobalIndex::Append(const IndexEntry& entry, FoundChunks* found) const {
  FoundChunks::Chunk& chunk = found->chunks.back();
  for (const uint16_t holder : holders_.Of(entry)) {
    const NodeSlot node = PackedHolder::NodeOf(holder);
    if (hidden_[node]) continue;
    found->holders.push_back({.node = node, .tiers = PackedHolder::TiersOf(holder)});
    ++chunk.holder_count;
  }
  if (chunk.holder_count > 0) chunk.pages = entry.pages;
}

bool GlobalIndex::HeldByOther(const SpaceId& space, const KeyHash& key, size_t self) const {
  const uint32_t number = spaces_.Find(space);
  if (number == SpaceNumbers::kNone) return false;
  const size_t slot = table_->Find(NameOf(number, key));
  if (slot == EntryTable::kNone) return false;
  const std::span<const uint16_t> holders = holders_.Of((*table_)[slot]);
  return std::any_of(holders.begin(), holders.end(), [&](uint16_t holder) {
    const NodeSlot node = PackedHolder::NodeOf(holder);
    return node != self && !hidden_[node];
  });
}

GlobalIndexStats GlobalIndex::stats() const {
  return {.entries = table_->size(),
          .spaces = spaces_.size(),
          .bytes = table_->bytes() + holders_.bytes() + nodes_.capacity() * sizeof(Node),
          .dropped = dropped_};
}

IndexNodeStats GlobalIndex::NodeStats(NodeSlot node) const {
  IndexNodeStats stats = nodes_[node].stats;
  stats.stale_entries = StaleEntries(node);
  return stats;
}

}  // namespace larder

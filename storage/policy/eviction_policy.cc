#include "storage/policy/eviction_policy.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace larder {
namespace {

// After so many uses one class learns its new scores.
constexpr uint64_t kUsesPerUpdate = 64;
// Levels are this fine: so many for a factor of e. Smaller differences are left to recency.
constexpr double kLevelsPerE = 4;
constexpr double kScoreMin = 1e-13;

// After so many uses the queues are looked at for items that have grown older: so many queues, and
// at most so many items.
constexpr uint64_t kUsesPerAgeing = 8;
constexpr int kAgedItemsMax = 32;
constexpr int kAgedCellsMax = 16;

// A search for a victim compares the oldest of at most so many queues of one level.
constexpr int kCellsComparedMax = 16;

// Chunks that went are remembered up to twice as many as there are.
constexpr size_t kGhostsPerItem = 2;

// How much the cost per byte counts. One would be the expected work saved, but what is known of a
// class is too coarse for that: on real traces it lost more hits than it saved work.
constexpr double kCostExponent = 0.1;
constexpr double kCostAverageWeight = 1.0 / 256;
constexpr uint32_t kUsesMax = 255;

// Used once, twice, 3 to 4 times, 5 to 8 times, more.
uint32_t UseBand(uint32_t uses) {
  return std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(uses - 1)), 4);
}

// None, below 16 s, below two minutes, longer.
uint32_t IntervalBand(uint32_t uses, PolicyTicks interval) {
  if (uses < 2) return 0;
  return interval < 16 * 1024 ? 1 : interval < 128 * 1024 ? 2 : 3;
}

}  // namespace

EvictionPolicy::EvictionPolicy(PolicyItems* items)
    : items_(items->items),
      queues_(kClassesMax + 1, &items->links),
      due_((kClassesMax + 1) * kAgeBuckets),
      statistics_(kClassesMax, kGroups),
      monitor_(&statistics_),
      class_of_kind_(kKinds, kNoClass) {
  first_class_of_group_.fill(kNoClass);
}

void EvictionPolicy::Insert(uint32_t item_index, const ChunkTraits& traits, MonotonicTime now) {
  now_ = ToTicks(now);
  ++item_count_;
  ghosts_.Reserve(std::min(item_count_ * kGhostsPerItem, removed_count_));
  monitor_.SetCacheSize(item_count_);
  items_.GrowTo(item_index + size_t{1});
  const GhostTable::Record known = ghosts_.Take(traits.key);
  Item& item = items_[item_index];
  item = {};
  item.key = traits.key;
  item.last_use = known.last_use;
  item.uses = static_cast<uint8_t>(known.uses);
  SetBands(traits, &item);
  const uint32_t uses = std::min(known.uses + 1, kUsesMax);
  LearnCost(ClassOf(item, uses, now_ - known.last_use),
            traits.recompute_cost / static_cast<double>(traits.bytes));
}

void EvictionPolicy::Touch(uint32_t item_index, bool may_go, MonotonicTime now) {
  now_ = ToTicks(now);
  Item& item = items_[item_index];
  const PolicyTicks interval = now_ - item.last_use;
  item.last_use = now_;
  item.goes_first = false;
  item.moved_up = true;
  // What comes that soon after a use is the same one: a match and its fetch, or several ranks.
  if (item.ordered && AgeBucketOf(interval) == 0) {
    if (may_go && !queues_.Contains(item_index)) Enqueue(item_index, Tie::kBehind);
    return;
  }
  if (item.uses < kUsesMax) ++item.uses;
  item.class_index = static_cast<uint8_t>(ClassOf(item, item.uses, interval));
  const bool hit = item.ordered;
  item.ordered = true;
  if (may_go && !queues_.Contains(item_index)) Enqueue(item_index, Tie::kBehind);
  Observe(item.key, item.class_index, hit, now_);
}

void EvictionPolicy::Remove(uint32_t item_index) {
  Item& item = items_[item_index];
  queues_.Remove(item_index);
  ghosts_.Remember(item.key, {.uses = item.uses, .last_use = item.last_use}, now_);
  item = {};
  --item_count_;
  ++removed_count_;
}

void EvictionPolicy::Reconsider(uint32_t item_index) {
  // A parent comes back when its last successor has left, and was used just after that one.
  if (items_[item_index].ordered && !queues_.Contains(item_index)) {
    Enqueue(item_index, Tie::kBefore);
  }
}

void EvictionPolicy::LetGoFirst(uint32_t item_index) {
  items_[item_index].goes_first = true;
  if (queues_.Contains(item_index)) {
    (void)MoveIfStale(item_index);
  } else {
    Enqueue(item_index, Tie::kBehind);
  }
}

uint32_t EvictionPolicy::Victim(MonotonicTime now, uint32_t looks_max,
                                absl::FunctionRef<bool(uint32_t)> may_go) {
  now_ = ToTicks(now);
  // Whether the item may not be the victim where it stands; then it stands there no longer.
  const auto displaced = [&](uint32_t item) {
    if (may_go(item)) return MoveIfStale(item);
    queues_.Remove(item);
    return true;
  };
  for (uint32_t looks = 0; looks < looks_max; ++looks) {
    ScoreQueues::CellIndex cell = queues_.LowestCell();
    if (cell == ScoreQueues::kNoCell) return kNone;
    uint32_t victim = queues_.oldest(cell);
    bool moved = displaced(victim);
    for (int compared = 1; !moved && compared < kCellsComparedMax; ++compared) {
      cell = queues_.NextOfLevel(cell);
      if (cell == ScoreQueues::kNoCell) break;
      const uint32_t other = queues_.oldest(cell);
      moved = displaced(other);
      if (!moved && now_ - items_[other].last_use > now_ - items_[victim].last_use) victim = other;
    }
    if (!moved) return victim;
  }
  return kNone;
}

Standing EvictionPolicy::StandingOf(uint32_t item_index) const {
  const Item& item = items_[item_index];
  if (item.goes_first) return {.rule = StandingRule::kGoesFirst, .worth = 0};
  if (!trust_.trusted()) return {};
  const double level = queues_.level(CellFor(item));
  return {.rule = StandingRule::kLearned,
          .worth = static_cast<float>(kScoreMin * std::exp(level / kLevelsPerE))};
}

bool EvictionPolicy::Admits(const ChunkTraits& traits, uint32_t victim, MonotonicTime now) {
  now_ = ToTicks(now);
  if (!trust_.trusted() || !queues_.Contains(victim)) return true;
  const uint32_t newcomer = ClassOfNewcomer(traits, now_);
  return queues_.level(ScoreQueues::CellOf(newcomer, 0)) >=
         queues_.level(queues_.CellOfItem(victim));
}

void EvictionPolicy::Refuse(const ChunkTraits& traits, MonotonicTime now) {
  now_ = ToTicks(now);
  const uint32_t class_index = ClassOfNewcomer(traits, now_);
  const uint32_t uses = std::min(ghosts_.Find(traits.key).uses + 1, kUsesMax);
  ghosts_.Remember(traits.key, {.uses = uses, .last_use = now_}, now_);
  Observe(traits.key, class_index, false, now_);
}

PolicyCounters EvictionPolicy::counters() const {
  return {.learned_order = trust_.trusted(),
          .trust_suspensions = trust_.suspensions(),
          .observed_reuses = statistics_.reuses()};
}

void EvictionPolicy::SetBands(const ChunkTraits& traits, Item* item) const {
  const auto depth = static_cast<uint32_t>(std::bit_width(uint64_t{traits.depth} + 1) - 1);
  const double relative =
      mean_cost_per_byte_ <= 0
          ? 1
          : traits.recompute_cost / static_cast<double>(traits.bytes) / mean_cost_per_byte_;
  item->depth_band = static_cast<uint8_t>(std::min(depth, kDepthBands - 1)) & 15;
  item->category = traits.category % kChunkCategories;
  item->cost_band = relative < 0.5 ? 0 : relative < 1 ? 1 : relative < 2 ? 2 : 3;
}

uint32_t EvictionPolicy::ClassOf(const Item& item, uint32_t uses, PolicyTicks interval) {
  const size_t group =
      (item.category * kUseBands + UseBand(uses)) * kIntervalBands + IntervalBand(uses, interval);
  const size_t kind = (group * kDepthBands + item.depth_band) * kCostBands + item.cost_band;
  return class_of_kind_[kind] != kNoClass ? class_of_kind_[kind] : NewClass(kind, group);
}

uint32_t EvictionPolicy::NewClass(size_t kind, size_t group) {
  if (classes_.size() == kClassesMax) {
    // Too many kinds: the rarer ones share a class, of the same group if it has one.
    const uint16_t shared = first_class_of_group_[group];
    return class_of_kind_[kind] = shared == kNoClass ? uint16_t{0} : shared;
  }
  const auto class_index = static_cast<uint16_t>(classes_.size());
  classes_.push_back({.cost_per_byte = mean_cost_per_byte_});
  class_of_kind_[kind] = class_index;
  if (first_class_of_group_[group] == kNoClass) first_class_of_group_[group] = class_index;
  statistics_.Assign(class_index, group);
  UpdateLevels(class_index);
  return class_index;
}

uint32_t EvictionPolicy::ClassOfNewcomer(const ChunkTraits& traits, PolicyTicks now) {
  const GhostTable::Record known = ghosts_.Find(traits.key);
  Item item{};
  SetBands(traits, &item);
  return ClassOf(item, std::min(known.uses + 1, kUsesMax), now - known.last_use);
}

void EvictionPolicy::Observe(uint64_t key, uint32_t class_index, bool hit, PolicyTicks now) {
  if (monitor_.Samples(key)) {
    monitor_.Advance(now);
    const bool lru_hit = monitor_.Use(key, class_index, now);
    const bool trusted = trust_.trusted();
    if (monitor_.knows_lru()) {
      trust_.RecordUse(hit, lru_hit, uint64_t{1} << monitor_.sample_shift(), statistics_.reuses(),
                       item_count_);
    }
    if (trust_.trusted() != trusted) {
      for (uint32_t i = 0; i < classes_.size(); ++i) UpdateLevels(i);
    }
  }
  ++uses_;
  if (uses_ % kUsesPerAgeing == 0) AgeQueues();
  if (uses_ % kUsesPerUpdate == 0) {
    monitor_.Advance(now);
    next_class_to_update_ = (next_class_to_update_ + 1) % static_cast<uint32_t>(classes_.size());
    UpdateLevels(next_class_to_update_);
  }
}

void EvictionPolicy::LearnCost(uint32_t class_index, double cost_per_byte) {
  Class& learned = classes_[class_index];
  const auto learn = [cost_per_byte](double& average, bool first) {
    average = first ? cost_per_byte : average + (cost_per_byte - average) * kCostAverageWeight;
  };
  learn(mean_cost_per_byte_, mean_cost_per_byte_ <= 0);
  learn(learned.cost_per_byte, learned.chunks++ == 0);
}

void EvictionPolicy::UpdateLevels(uint32_t class_index) {
  if (!trust_.trusted()) {
    for (uint32_t bucket = 0; bucket < kAgeBuckets; ++bucket) {
      queues_.SetLevel(ScoreQueues::CellOf(class_index, bucket),
                       static_cast<uint8_t>(kAgeBuckets - bucket));
    }
    return;
  }
  const std::array<double, kAgeBuckets> scores = statistics_.Scores(class_index);
  const double relative_cost =
      mean_cost_per_byte_ <= 0 || classes_[class_index].cost_per_byte <= 0
          ? 1
          : std::pow(classes_[class_index].cost_per_byte / mean_cost_per_byte_, kCostExponent);
  for (uint32_t bucket = 0; bucket < kAgeBuckets; ++bucket) {
    const double log_score = std::log(std::max(scores[bucket] * relative_cost, kScoreMin));
    // Level 0 is for those that go before all others.
    const double level = std::clamp((log_score - std::log(kScoreMin)) * kLevelsPerE, 1.0,
                                    double{ScoreQueues::kLevels - 1});
    queues_.SetLevel(ScoreQueues::CellOf(class_index, bucket), static_cast<uint8_t>(level));
  }
}

ScoreQueues::CellIndex EvictionPolicy::CellFor(const Item& item) const {
  if (item.goes_first) return ScoreQueues::CellOf(kClassesMax, 0);
  return ScoreQueues::CellOf(item.class_index, AgeBucketOf(now_ - item.last_use));
}

void EvictionPolicy::Enqueue(uint32_t item_index, Tie tie) {
  Item& item = items_[item_index];
  item.moved_up = false;
  const ScoreQueues::CellIndex cell = CellFor(item);
  const uint32_t oldest = queues_.oldest(cell);
  const PolicyTicks due =
      item.last_use +
      kAgeBucketStart[std::min<size_t>(ScoreQueues::BucketOf(cell) + 1, kAgeBuckets - 1)];
  const PolicyTicks age = now_ - item.last_use;
  const PolicyTicks oldest_age = oldest == ScoreQueues::kNone ? 0 : now_ - items_[oldest].last_use;
  const bool older = age > oldest_age || (age == oldest_age && tie == Tie::kBefore);
  if (oldest == ScoreQueues::kNone) {
    due_[cell] = due;
    queues_.PushNewest(item_index, cell);
  } else if (!item.goes_first && older) {
    due_[cell] = due;
    queues_.PushOldest(item_index, cell);
  } else {
    queues_.PushNewest(item_index, cell);
  }
}

bool EvictionPolicy::MoveIfStale(uint32_t item_index) {
  const Item& item = items_[item_index];
  if (!item.moved_up && CellFor(item) == queues_.CellOfItem(item_index)) return false;
  queues_.Remove(item_index);
  Enqueue(item_index, Tie::kBehind);
  return true;
}

void EvictionPolicy::AgeQueues() {
  int items = 0;
  for (int cells = 0; cells < kAgedCellsMax; ++cells) {
    const ScoreQueues::CellIndex cell = queues_.NextInUse(next_cell_to_age_);
    if (cell == ScoreQueues::kNoCell) return;
    next_cell_to_age_ = cell;
    const uint32_t bucket = ScoreQueues::BucketOf(cell);
    if (bucket + 1 == kAgeBuckets || ScoreQueues::ClassOf(cell) == kClassesMax) continue;
    if (static_cast<int32_t>(now_ - due_[cell]) < 0) continue;
    while (items < kAgedItemsMax && queues_.oldest(cell) != ScoreQueues::kNone &&
           MoveIfStale(queues_.oldest(cell))) {
      ++items;
    }
    const uint32_t oldest = queues_.oldest(cell);
    if (oldest != ScoreQueues::kNone && items < kAgedItemsMax) {
      due_[cell] = items_[oldest].last_use + kAgeBucketStart[bucket + 1];
    }
  }
}

}  // namespace larder

#include "daemon/cluster/heat_table.h"

#include <algorithm>
#include <cmath>

namespace larder {

HeatTable::HeatTable(size_t capacity, absl::Duration half_life)
    : capacity_(capacity),
      half_life_ns_(static_cast<double>(absl::ToInt64Nanoseconds(half_life))) {}

double HeatTable::Decayed(const Entry& entry, MonotonicTime now) const {
  const double age_ns = static_cast<double>(now.nanoseconds - entry.at.nanoseconds);
  return entry.heat * std::exp2(-std::max(0.0, age_ns) / half_life_ns_);
}

double HeatTable::Add(const FetchName& name, MonotonicTime now) {
  auto found = position_.find(name);
  if (found == position_.end()) {
    const size_t place = MakeRoom(now);
    entries_[place] = {.name = name, .heat = 0, .at = now};
    found = position_.emplace(name, place).first;
  }
  Entry& entry = entries_[found->second];
  entry.heat = Decayed(entry, now) + 1;
  entry.at = now;
  return entry.heat;
}

void HeatTable::Halve(const FetchName& name) {
  if (auto found = position_.find(name); found != position_.end()) {
    entries_[found->second].heat /= 2;
  }
}

double HeatTable::HeatOf(const FetchName& name, MonotonicTime now) const {
  const auto found = position_.find(name);
  return found == position_.end() ? 0 : Decayed(entries_[found->second], now);
}

size_t HeatTable::MakeRoom(MonotonicTime now) {
  if (entries_.size() < capacity_) {
    entries_.emplace_back();
    return entries_.size() - 1;
  }
  size_t coldest = hand_;
  for (size_t i = 0; i < std::min(kLooks, capacity_); ++i) {
    const size_t place = (hand_ + i) % capacity_;
    if (Decayed(entries_[place], now) < Decayed(entries_[coldest], now)) coldest = place;
  }
  hand_ = (hand_ + kLooks) % capacity_;
  position_.erase(entries_[coldest].name);
  return coldest;
}

}  // namespace larder

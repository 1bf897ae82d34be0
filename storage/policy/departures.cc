#include "storage/policy/departures.h"

#include <bit>

namespace larder {

DepartureLog::DepartureLog(size_t records)
    : sets_(records == 0 ? 0 : (std::bit_ceil(records) + 3) / std::tuple_size_v<Set>) {}

void DepartureLog::Add(uint64_t key, const Departure& departure) {
  if (sets_.empty()) return;
  Set& set = sets_[SetOf(key)];
  Record* chosen = &set[0];
  for (Record& record : set) {
    if (!record.in_use || record.key == key) {
      chosen = &record;
      break;
    }
    const PolicyTicks age = departure.time - record.departure.time;
    if (age > departure.time - chosen->departure.time) chosen = &record;
  }
  if (chosen->in_use && chosen->key != key) ++overwritten_;
  *chosen = {.key = key, .departure = departure, .in_use = true};
}

std::optional<Departure> DepartureLog::Find(uint64_t key) const {
  if (sets_.empty()) return std::nullopt;
  for (const Record& record : sets_[SetOf(key)]) {
    if (record.in_use && record.key == key) return record.departure;
  }
  return std::nullopt;
}

void DepartureLog::Forget(uint64_t key) {
  if (sets_.empty()) return;
  for (Record& record : sets_[SetOf(key)]) {
    if (record.key == key) record.in_use = false;
  }
}

}  // namespace larder

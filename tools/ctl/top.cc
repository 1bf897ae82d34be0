#include "tools/ctl/top.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/console/table.h"
#include "tools/console/units.h"
#include "tools/ctl/render.h"

namespace larder {
namespace {

// What the counters of one or all spaces grew by.
struct Growth {
  uint64_t lookups = 0, hit_tokens = 0, miss_tokens = 0, stored_bytes = 0, fetched_bytes = 0;
};

struct SpaceRow {
  const v1::SpaceStatus* space;
  TopRates rates;
};

uint64_t Grown(uint64_t before, uint64_t now) { return now > before ? now - before : 0; }

Growth GrowthOf(const v1::SpaceStatus* before, const v1::SpaceStatus& now) {
  const v1::SpaceStatus& old = before == nullptr ? v1::SpaceStatus::default_instance() : *before;
  return {.lookups = Grown(old.lookups(), now.lookups()),
          .hit_tokens = Grown(old.hit_tokens(), now.hit_tokens()),
          .miss_tokens = Grown(old.miss_tokens(), now.miss_tokens()),
          .stored_bytes = Grown(old.stored_bytes(), now.stored_bytes()),
          .fetched_bytes = Grown(old.fetched_bytes(), now.fetched_bytes())};
}

TopRates RatesOf(const Growth& growth, absl::Duration interval) {
  TopRates rates;
  const double seconds = absl::ToDoubleSeconds(interval);
  if (seconds <= 0) return rates;
  const double tokens = static_cast<double>(growth.hit_tokens) + growth.miss_tokens;
  if (tokens > 0) rates.hit_ratio = static_cast<double>(growth.hit_tokens) / tokens;
  rates.lookups_per_s = static_cast<double>(growth.lookups) / seconds;
  rates.stored_gb_per_s = static_cast<double>(growth.stored_bytes) / seconds / 1e9;
  rates.fetched_gb_per_s = static_cast<double>(growth.fetched_bytes) / seconds / 1e9;
  return rates;
}

bool SameDaemon(const TopSample& before, const TopSample& now) {
  return before.status.epoch() == now.status.epoch();
}

// A daemon that was started anew counts from zero, so there is nothing to compare with.
absl::Duration Interval(const TopSample& before, const TopSample& now) {
  return SameDaemon(before, now) ? now.time - before.time : absl::ZeroDuration();
}

std::unordered_map<std::string, const v1::SpaceStatus*> ById(const TopSample& sample) {
  std::unordered_map<std::string, const v1::SpaceStatus*> by_id;
  for (const v1::SpaceStatus& space : sample.spaces) by_id[space.space_id()] = &space;
  return by_id;
}

// The busiest first.
std::vector<SpaceRow> SpaceRows(const TopSample& before, const TopSample& now) {
  const auto known = ById(before);
  std::vector<SpaceRow> rows;
  for (const v1::SpaceStatus& space : now.spaces) {
    const auto old = known.find(space.space_id());
    rows.push_back({&space, SpaceRates(old == known.end() ? nullptr : old->second, space,
                                       Interval(before, now))});
  }
  const auto busier = [](const SpaceRow& a, const SpaceRow& b) {
    const auto rank = [](const SpaceRow& row) {
      return std::tuple(row.rates.stored_gb_per_s + row.rates.fetched_gb_per_s,
                        row.rates.lookups_per_s, row.space->resident_bytes());
    };
    return rank(a) > rank(b);
  };
  std::stable_sort(rows.begin(), rows.end(), busier);
  return rows;
}

uint64_t Evicted(const v1::StatusResponse& status) {
  for (const v1::RemovalCount& count : status.removed()) {
    if (count.cause() == v1::REMOVAL_CAUSE_CAPACITY) return count.chunks();
  }
  return 0;
}

double EvictedPerSecond(const TopSample& before, const TopSample& now) {
  const double seconds = absl::ToDoubleSeconds(Interval(before, now));
  if (seconds <= 0) return 0;
  return static_cast<double>(Grown(Evicted(before.status), Evicted(now.status))) / seconds;
}

std::string FormatGbPerSecond(double rate) { return absl::StrFormat("%.2f GB/s", rate); }

std::string FormatRate(double rate) {
  return FormatCount(static_cast<uint64_t>(std::llround(rate)));
}

std::string FormatHitRatio(const std::optional<double>& ratio) {
  return ratio.has_value() ? absl::StrFormat("%.1f%%", *ratio * 100) : "-";
}

std::string Summary(const TopSample& before, const TopSample& now, const std::string& address) {
  const v1::StatusResponse& status = now.status;
  const v1::ArenaStatus& arena = status.arena();
  const TopRates total = TotalRates(before, now);
  std::string text =
      absl::StrCat("larderd ", Printable(status.version()), " at ", Printable(address), ", up ",
                   FormatTimeSpan(absl::Milliseconds(status.uptime_ms())),
                   status.draining() ? ", draining" : "", "\n\n");
  absl::StrAppend(
      &text, FieldLines({
                 {"used", absl::StrCat(UsageBar(arena.used_bytes(), arena.capacity_bytes()), "  ",
                                       FormatBytes(arena.used_bytes()), " of ",
                                       FormatBytes(arena.capacity_bytes()), ", pinned ",
                                       FormatBytes(arena.pinned_bytes()), ", being written ",
                                       FormatBytes(arena.reserved_bytes()))},
                 {"lookups", absl::StrCat(FormatRate(total.lookups_per_s), "/s, hit ratio ",
                                          FormatHitRatio(total.hit_ratio), " of tokens")},
                 {"bytes", absl::StrCat("stored ", FormatGbPerSecond(total.stored_gb_per_s),
                                        ", fetched ", FormatGbPerSecond(total.fetched_gb_per_s))},
                 {"chunks", absl::StrCat(FormatCount(status.chunks()), ", evicted ",
                                         FormatRate(EvictedPerSecond(before, now)), "/s, ",
                                         FormatCount(Evicted(status)), " in all")},
                 {"clients", absl::StrCat("sessions ", FormatCount(status.sessions()), ", leases ",
                                          FormatCount(status.leases()), ", reservations ",
                                          FormatCount(status.reservations()))},
             }));
  return text;
}

std::string SpacesText(const TopSample& before, const TopSample& now) {
  Table table;
  table.AddColumn("SPACE");
  table.AddColumn("TENANT");
  table.AddColumn("MODEL");
  for (const char* name : {"LOOKUPS/S", "HITS", "STORED", "FETCHED", "CHUNKS", "BYTES"}) {
    table.AddColumn(name, Align::kRight);
  }
  for (const auto& [space, rates] : SpaceRows(before, now)) {
    table.AddRow({space->space_id().substr(0, kShortIdDigits), space->description().tenant(),
                  space->description().manifest().model(), FormatRate(rates.lookups_per_s),
                  FormatHitRatio(rates.hit_ratio), FormatGbPerSecond(rates.stored_gb_per_s),
                  FormatGbPerSecond(rates.fetched_gb_per_s), FormatCount(space->resident_chunks()),
                  FormatBytes(space->resident_bytes())});
  }
  return table.ToString();
}

void AddRates(const TopRates& rates, Json* json) {
  (*json)["lookups_per_s"] = rates.lookups_per_s;
  (*json)["hit_ratio"] = rates.hit_ratio.has_value() ? Json(*rates.hit_ratio) : Json(nullptr);
  (*json)["stored_gb_per_s"] = rates.stored_gb_per_s;
  (*json)["fetched_gb_per_s"] = rates.fetched_gb_per_s;
}

}  // namespace

TopRates SpaceRates(const v1::SpaceStatus* before, const v1::SpaceStatus& now,
                    absl::Duration interval) {
  return RatesOf(GrowthOf(before, now), interval);
}

TopRates TotalRates(const TopSample& before, const TopSample& now) {
  const auto known = ById(before);
  Growth total;
  for (const v1::SpaceStatus& space : now.spaces) {
    const auto old = known.find(space.space_id());
    const Growth growth = GrowthOf(old == known.end() ? nullptr : old->second, space);
    total.lookups += growth.lookups;
    total.hit_tokens += growth.hit_tokens;
    total.miss_tokens += growth.miss_tokens;
    total.stored_bytes += growth.stored_bytes;
    total.fetched_bytes += growth.fetched_bytes;
  }
  return RatesOf(total, Interval(before, now));
}

std::string TopText(const TopSample& before, const TopSample& now, const std::string& address,
                    size_t rows) {
  const std::string text =
      absl::StrCat(Summary(before, now, address), "\n", SpacesText(before, now));
  size_t end = 0;
  for (size_t row = 0; row < rows && end < text.size(); ++row) end = text.find('\n', end) + 1;
  return text.substr(0, end);
}

Json TopJson(const TopSample& before, const TopSample& now) {
  const v1::ArenaStatus& arena = now.status.arena();
  Json json = {{"interval_ms", absl::ToInt64Milliseconds(now.time - before.time)}};
  AddRates(TotalRates(before, now), &json);
  json["evicted_chunks_per_s"] = EvictedPerSecond(before, now);
  json["used_bytes"] = arena.used_bytes();
  json["capacity_bytes"] = arena.capacity_bytes();
  json["pinned_bytes"] = arena.pinned_bytes();
  json["chunks"] = now.status.chunks();
  json["sessions"] = now.status.sessions();
  json["leases"] = now.status.leases();
  json["reservations"] = now.status.reservations();
  json["spaces"] = Json::array();
  for (const auto& [space, rates] : SpaceRows(before, now)) {
    Json row = {{"space_id", space->space_id()},
                {"tenant", space->description().tenant()},
                {"model", space->description().manifest().model()}};
    AddRates(rates, &row);
    row["resident_chunks"] = space->resident_chunks();
    row["resident_bytes"] = space->resident_bytes();
    json["spaces"].push_back(std::move(row));
  }
  return json;
}

}  // namespace larder

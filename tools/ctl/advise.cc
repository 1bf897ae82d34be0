#include "tools/ctl/advise.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tools/console/table.h"
#include "tools/console/units.h"
#include "tools/ctl/render.h"

namespace larder {
namespace {

constexpr size_t kTenantsShownMax = 10;
// How much more memory, or a disk, is asked about.
constexpr double kDiskFactor = 4;

std::string Percent(double ratio) { return absl::StrFormat("%.1f%%", ratio * 100); }

// "+3.1 points", or that there is no difference to speak of.
std::string Points(double difference) {
  const double points = difference * 100;
  if (std::abs(points) < kPointsMin) return "no difference to speak of";
  return absl::StrFormat("%+.1f points", points);
}

std::string FormatMs(uint64_t ms) {
  return FormatTimeSpan(absl::Milliseconds(static_cast<int64_t>(std::min<uint64_t>(ms, 1e15))));
}

std::string Bytes(double bytes) { return FormatBytes(static_cast<uint64_t>(bytes)); }

std::optional<double> PolicyHits(const v1::InsightResponse& insight, absl::string_view policy,
                                 double factor) {
  for (const v1::PolicyInsight& one : insight.policies()) {
    if (one.policy() == policy && one.capacity_factor() == factor) return one.hit_ratio();
  }
  return std::nullopt;
}

// LRU's hits in a cache of so many times the tier's size.
std::optional<double> CurveHits(const v1::TierInsight& tier, double factor) {
  const auto capacity = static_cast<double>(tier.capacity_bytes());
  for (const v1::CapacityInsight& point : tier.lru_curve()) {
    const double ratio = static_cast<double>(point.capacity_bytes()) / std::max(capacity, 1.0);
    if (std::abs(ratio - factor) < 0.001) return point.hit_ratio();
  }
  return std::nullopt;
}

void AdvisePolicy(const v1::InsightResponse& insight, std::vector<std::string>* advice) {
  const std::optional<double> larder = PolicyHits(insight, "larder", 1);
  if (!larder) return;
  advice->push_back(absl::StrCat("In memory of this size, Larder's policy would have had ",
                                 Percent(*larder), "."));
  for (const auto& [policy, name] : {std::pair("lru", "LRU"), std::pair("s3fifo", "S3-FIFO")}) {
    const std::optional<double> other = PolicyHits(insight, policy, 1);
    if (!other) continue;
    const double points = (*other - *larder) * 100;
    advice->push_back(std::abs(points) < kPointsMin
                          ? absl::StrCat(name, " would have hit about as often.")
                          : absl::StrFormat("%s would have hit %.1f points %s.", name,
                                            std::abs(points), points < 0 ? "less" : "more"));
  }
}

void AdviseMemory(const v1::InsightResponse& insight, std::vector<std::string>* advice) {
  const v1::TierInsight& memory = insight.tiers(0);
  const std::optional<double> now = PolicyHits(insight, "larder", 1);
  const std::optional<double> lru_now = PolicyHits(insight, "lru", 1);
  for (const double factor : {1.25, 0.75}) {
    const std::optional<double> larder = PolicyHits(insight, "larder", factor);
    const std::optional<double> lru = PolicyHits(insight, "lru", factor);
    if (!now || !lru_now || !larder || !lru) continue;
    const double bytes = factor * static_cast<double>(memory.capacity_bytes());
    advice->push_back(absl::StrCat(factor > 1 ? "+25%" : "-25%", " memory (", Bytes(bytes),
                                   "): ", Points(*larder - *now), "; with LRU ",
                                   Points(*lru - *lru_now), "."));
  }
}

void AdviseDisk(const v1::InsightResponse& insight, std::vector<std::string>* advice) {
  const v1::TierInsight& memory = insight.tiers(0);
  const v1::TierInsight& all = insight.tiers(insight.tiers_size() - 1);
  if (insight.tiers_size() == 1) {
    const std::optional<double> with_disk = CurveHits(memory, kDiskFactor);
    if (!with_disk) return;
    const double bytes = kDiskFactor * static_cast<double>(memory.capacity_bytes());
    advice->push_back(absl::StrCat("A disk of ", Bytes(bytes), " would bring ",
                                   Points(*with_disk - memory.lru_hit_ratio()), ", with LRU."));
    return;
  }
  advice->push_back(
      absl::StrCat("The disk brought ", Points(all.found_ratio() - memory.found_ratio()), "."));
  if (!all.filled()) {
    advice->push_back(
        "What was asked for so far fits in memory and disk: more disk would bring "
        "nothing yet.");
    return;
  }
  if (const std::optional<double> more = CurveHits(all, 1.25)) {
    advice->push_back(
        absl::StrCat("+25% memory and disk: ", Points(*more - all.lru_hit_ratio()), ", with LRU."));
  }
}

void AdviseUnlimited(const v1::InsightResponse& insight, std::vector<std::string>* advice) {
  const double found = insight.tiers(insight.tiers_size() - 1).found_ratio();
  advice->push_back(absl::StrCat("An infinite cache would have hit ",
                                 Percent(insight.unlimited_hit_ratio()), ", ", Percent(found),
                                 " were found."));
}

// The age below which this share of all reuses came.
uint64_t AgeMs(const v1::InsightResponse& insight, double share) {
  double all = 0, sum = 0;
  for (const v1::ReuseAge& age : insight.reuse_ages()) all += age.ratio();
  for (const v1::ReuseAge& age : insight.reuse_ages()) {
    sum += age.ratio();
    if (sum >= share * all) return age.below_ms();
  }
  return 0;
}

Table TenantsTable(const v1::InsightResponse& insight) {
  std::vector<const v1::TenantInsight*> tenants;
  for (const v1::TenantInsight& tenant : insight.tenants()) tenants.push_back(&tenant);
  std::stable_sort(tenants.begin(), tenants.end(),
                   [](const auto* a, const auto* b) { return a->use_ratio() > b->use_ratio(); });
  tenants.resize(std::min(tenants.size(), kTenantsShownMax));
  Table table;
  table.AddColumn("TENANT");
  for (const char* header : {"ASKED FOR", "FOUND", "INFINITE CACHE", "9/10 OF THAT WITH"}) {
    table.AddColumn(header, Align::kRight);
  }
  for (const v1::TenantInsight* tenant : tenants) {
    const bool enough = tenant->sampled_uses() >= kSampledUsesMin / 10;
    table.AddRow({tenant->rest() ? "(all others)" : tenant->tenant(), Percent(tenant->use_ratio()),
                  Percent(tenant->found_ratio()),
                  enough ? Percent(tenant->unlimited_hit_ratio()) : "too little seen",
                  enough ? FormatBytes(tenant->bytes_for_most_hits()) : "-"});
  }
  return table;
}

bool SawEnough(const v1::InsightResponse& insight) {
  return insight.tiers_size() > 0 && insight.tiers(0).sampled_uses() >= kSampledUsesMin;
}

}  // namespace

std::vector<std::string> Advice(const v1::InsightResponse& insight) {
  if (insight.tiers_size() == 0) {
    return {"Nothing was asked for since the daemon started, so nothing can be said."};
  }
  if (!SawEnough(insight)) {
    return {absl::StrCat("Too little was seen to say anything: ",
                         FormatCount(static_cast<uint64_t>(insight.tiers(0).sampled_uses())),
                         " chunks asked for are in the sample, and it takes ",
                         FormatCount(static_cast<uint64_t>(kSampledUsesMin)), ".")};
  }
  std::vector<std::string> advice;
  AdviseUnlimited(insight, &advice);
  if (insight.tiers(0).filled()) {
    AdvisePolicy(insight, &advice);
    AdviseMemory(insight, &advice);
    AdviseDisk(insight, &advice);
  } else {
    advice.push_back(
        "What was asked for so far fits in memory: a larger one, a disk or another "
        "policy would bring nothing yet.");
  }
  return advice;
}

std::string AdviseText(const v1::InsightResponse& insight) {
  std::string text;
  if (insight.tiers_size() > 0) {
    const v1::TierInsight& memory = insight.tiers(0);
    std::vector<std::pair<std::string, std::string>> fields = {
        {"seen", absl::StrCat(FormatMs(insight.observed_ms()), ", what is older by ",
                              FormatMs(insight.half_life_ms()), " counts half")},
        {"asked for", absl::StrCat(FormatCount(static_cast<uint64_t>(insight.uses())), " chunks, ",
                                   Percent(insight.first_use_ratio()), " for the first time")},
        {"sample", absl::StrFormat("1 in %.3g chunks", 1 / std::max(memory.sample_rate(), 1e-12))}};
    for (const v1::TierInsight& tier : insight.tiers()) {
      fields.emplace_back(&tier == &memory ? "memory" : "with disk",
                          absl::StrCat(FormatBytes(tier.capacity_bytes()), ", found ",
                                       Percent(tier.found_ratio())));
    }
    if (insight.reuse_ages_size() > 0) {
      fields.emplace_back("reuse",
                          absl::StrCat("half within ", FormatMs(AgeMs(insight, 0.5)),
                                       ", nine tenths within ", FormatMs(AgeMs(insight, 0.9))));
    }
    absl::StrAppend(&text, FieldLines(fields), "\n");
  }
  for (const std::string& sentence : Advice(insight)) absl::StrAppend(&text, sentence, "\n");
  if (SawEnough(insight) && insight.tenants_size() > 1) {
    absl::StrAppend(&text, "\n", TenantsTable(insight).ToString());
  }
  return text;
}

}  // namespace larder

#include "daemon/metrics/node_collector.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/metrics/families.h"
#include "daemon/node/utf8.h"

namespace larder {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr absl::Duration kLoopDeadline = absl::Seconds(1);
constexpr double kNanosecondsPerSecond = 1e9;

constexpr std::array<absl::string_view, kRemovalCauses> kCauseNames = {
    "capacity", "expired", "removed", "cleared", "corrupt", "demoted", "quota"};

MetricFamily TierGauge(const char* name, const char* help, uint64_t bytes) {
  return Family(name, help, MetricType::Gauge,
                {{.labels = {{"tier", "dram"}}, .value = static_cast<double>(bytes)}});
}

void Accumulate(const SpaceStats& from, SpaceStats* to) {
  to->lookups += from.lookups;
  to->hit_chunks += from.hit_chunks;
  to->miss_chunks += from.miss_chunks;
  to->hit_bytes += from.hit_bytes;
  to->miss_bytes += from.miss_bytes;
  to->hit_tokens += from.hit_tokens;
  to->miss_tokens += from.miss_tokens;
  to->fetched_chunks += from.fetched_chunks;
  to->fetched_bytes += from.fetched_bytes;
  to->stored_chunks += from.stored_chunks;
  to->stored_bytes += from.stored_bytes;
  to->resident_chunks += from.resident_chunks;
  to->resident_bytes += from.resident_bytes;
}

ClientMetric HistogramMetric(absl::string_view operation, const LatencyHistogram& histogram) {
  ClientMetric metric;
  metric.label = {{"operation", std::string(operation)}};
  uint64_t cumulative = 0;
  for (size_t bucket = 0; bucket < histogram.counts.size(); ++bucket) {
    cumulative += histogram.counts[bucket];
    const bool last = bucket == LatencyHistogram::kBounds;
    const double bound =
        last ? std::numeric_limits<double>::infinity()
             : static_cast<double>(LatencyHistogram::BoundNs(bucket)) / kNanosecondsPerSecond;
    metric.histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = bound});
  }
  metric.histogram.sample_count = cumulative;
  metric.histogram.sample_sum = static_cast<double>(histogram.sum_ns) / kNanosecondsPerSecond;
  return metric;
}

}  // namespace

std::vector<MetricFamily> NodeCollector::Collect() const {
  Snapshot snapshot;
  const size_t waiting_tasks = node_->waiting_tasks();
  const absl::Status taken =
      node_->WithCore(SystemClock::Get().Now() + kLoopDeadline, [&](Core& core, MonotonicTime now) {
        snapshot.core = core.Stats();
        if (core.disk() != nullptr) snapshot.disk = core.disk()->Stats();
        snapshot.local = node_->local_stats();
        snapshot.draining = core.draining();
        TakeSpaces(core, &snapshot);
        snapshot.insight = core.insight().Report(now);
        if (node_->cluster() != nullptr)
          snapshot.cluster = TakeClusterSample(*node_->cluster(), now);
      });
  Families families;
  AddProcess(taken.ok(), waiting_tasks, &families);
  if (!taken.ok()) return families;
  AddSpaces(snapshot, &families);
  AddTier(snapshot.core, &families);
  AddCore(snapshot, &families);
  AddPolicy(snapshot.core, &families);
  AddDisk(snapshot, &families);
  AddInsight(snapshot.insight, &families);
  AddLocalServer(snapshot.local, &families);
  if (snapshot.cluster) AddCluster(*node_->cluster(), *snapshot.cluster, &families);
  return families;
}

void NodeCollector::TakeSpaces(const Core& core, Snapshot* snapshot) {
  const auto spaces = core.spaces();
  snapshot->spaces = spaces.size();
  for (size_t i = 0; i < std::min(spaces.size(), kSpacesShownMax); ++i) {
    const SpaceDescription& description = spaces[i]->description;
    snapshot->space_samples.push_back({.tenant = ToUtf8(description.tenant),
                                       .model = ToUtf8(description.manifest.model),
                                       .space = ToString(spaces[i]->id),
                                       .stats = spaces[i]->stats});
  }
  if (spaces.size() <= kSpacesShownMax) return;
  SpaceSample others{.tenant = "", .model = "", .space = "other", .stats = {}};
  for (size_t i = kSpacesShownMax; i < spaces.size(); ++i) {
    Accumulate(spaces[i]->stats, &others.stats);
  }
  snapshot->space_samples.push_back(std::move(others));
}

void NodeCollector::AddProcess(bool responsive, size_t waiting_tasks, Families* families) const {
  families->push_back(Family("larder_build_info", "Always 1; the version is a label.",
                             MetricType::Gauge,
                             {{.labels = {{"version", LARDER_VERSION}}, .value = 1}}));
  families->push_back(Gauge("larder_uptime_seconds", "Time since the node was opened.",
                            absl::ToDoubleSeconds(SystemClock::Get().Now() - node_->started())));
  families->push_back(Gauge("larder_loop_responsive",
                            "1 when the event loop answered this scrape in time, else 0.",
                            responsive ? 1 : 0));
  families->push_back(Gauge("larder_loop_waiting_tasks",
                            "Tasks of other threads that wait for the event loop.",
                            static_cast<double>(waiting_tasks)));
  const RecoveryReport& recovery = node_->recovery();
  families->push_back(Gauge("larder_recovered_chunks", "Chunks found in the arena at the start.",
                            static_cast<double>(recovery.chunks)));
  families->push_back(Gauge("larder_recovered_bytes", "Their containers' bytes.",
                            static_cast<double>(recovery.bytes)));
  families->push_back(Gauge("larder_recovery_discarded_blocks",
                            "Blocks at the start that were uncommitted, damaged or unknown.",
                            static_cast<double>(recovery.discarded_blocks)));
}

void NodeCollector::AddSpaces(const Snapshot& snapshot, Families* families) {
  const auto add = [&](const char* name, const char* help, MetricType type,
                       uint64_t SpaceStats::*value) {
    std::vector<LabelledValue> values;
    for (const SpaceSample& sample : snapshot.space_samples) {
      values.push_back(
          {.labels = {{"tenant", sample.tenant}, {"model", sample.model}, {"space", sample.space}},
           .value = static_cast<double>(sample.stats.*value)});
    }
    families->push_back(Family(name, help, type, std::move(values)));
  };
  using enum MetricType;
  add("larder_lookups_total", "Match operations.", Counter, &SpaceStats::lookups);
  add("larder_hit_chunks_total", "Chunks that Match found.", Counter, &SpaceStats::hit_chunks);
  add("larder_miss_chunks_total", "Chunks that Match did not find.", Counter,
      &SpaceStats::miss_chunks);
  add("larder_hit_bytes_total", "Payload bytes that Match found.", Counter, &SpaceStats::hit_bytes);
  add("larder_miss_bytes_total", "Payload bytes that Match did not find.", Counter,
      &SpaceStats::miss_bytes);
  add("larder_hit_tokens_total", "Tokens that Match found.", Counter, &SpaceStats::hit_tokens);
  add("larder_miss_tokens_total", "Tokens that Match did not find.", Counter,
      &SpaceStats::miss_tokens);
  add("larder_fetched_chunks_total", "Chunks leased for reading.", Counter,
      &SpaceStats::fetched_chunks);
  add("larder_fetched_bytes_total", "Container bytes leased for reading.", Counter,
      &SpaceStats::fetched_bytes);
  add("larder_stored_chunks_total", "Parts of chunks committed.", Counter,
      &SpaceStats::stored_chunks);
  add("larder_stored_bytes_total", "Container bytes committed.", Counter,
      &SpaceStats::stored_bytes);
  add("larder_resident_chunks", "Chunks stored now.", Gauge, &SpaceStats::resident_chunks);
  add("larder_resident_bytes", "Container bytes stored now.", Gauge, &SpaceStats::resident_bytes);
}

void NodeCollector::AddTier(const CoreStats& stats, Families* families) {
  families->push_back(
      TierGauge("larder_tier_capacity_bytes", "Size of the tier.", stats.data_bytes));
  families->push_back(TierGauge("larder_tier_backed_bytes", "Bytes that have their memory already.",
                                stats.backed_bytes));
  families->push_back(
      TierGauge("larder_tier_used_bytes", "Bytes of committed containers.", stats.used_bytes));
  families->push_back(
      TierGauge("larder_tier_free_bytes", "Backed bytes that nobody has.", stats.free_bytes));
  families->push_back(TierGauge("larder_tier_largest_free_bytes", "Longest run of free bytes.",
                                stats.largest_free_bytes));
  families->push_back(
      TierGauge("larder_tier_pinned_bytes", "Bytes of pinned chunks.", stats.pinned_bytes));
  families->push_back(TierGauge("larder_tier_reserved_bytes",
                                "Bytes reserved by writers and not committed yet.",
                                stats.reserved_bytes));
}

void NodeCollector::AddCore(const Snapshot& snapshot, Families* families) {
  const CoreStats& stats = snapshot.core;
  const auto gauge = [&](const char* name, const char* help, uint64_t value) {
    families->push_back(Gauge(name, help, static_cast<double>(value)));
  };
  gauge("larder_chunks", "Chunks stored now, in all spaces.", stats.chunks);
  gauge("larder_spaces", "Spaces that are open.", snapshot.spaces);
  gauge("larder_sessions", "Sessions, with the daemon's own.", stats.sessions);
  gauge("larder_leases", "Leases that readers hold.", stats.leases);
  gauge("larder_reservations", "Reservations that writers hold.", stats.reservations);
  gauge("larder_void_reservations", "Those of them that can no longer be committed.",
        stats.void_reservations);
  gauge("larder_draining", "1 while the daemon drains, else 0.", snapshot.draining ? 1 : 0);
  families->push_back(Counter("larder_reservations_without_space_total",
                              "Reservations refused since nothing more could be evicted.",
                              stats.reserve_no_space));
  families->push_back(Counter("larder_reservations_refused_total",
                              "Reservations refused since what is stored is worth more.",
                              stats.reserve_refused));
  families->push_back(Counter("larder_reservations_over_quota_total",
                              "Reservations refused since the tenant is at its ceiling.",
                              stats.reserve_over_quota));
  families->push_back(Counter("larder_shortened_chunks_total",
                              "Chunks that lost their finest levels to make room.",
                              stats.shortened_chunks));
  families->push_back(Counter("larder_shortened_bytes_total", "Bytes that were saved by it.",
                              stats.shortened_bytes));
  families->push_back(Counter("larder_moved_bytes_total",
                              "Bytes of such chunks that were moved within the arena.",
                              stats.moved_bytes));
  families->push_back(Counter("larder_reservations_expired_total",
                              "Reservations not committed by their deadline.",
                              stats.expired_reservations));
  std::vector<LabelledValue> removals;
  for (size_t cause = 0; cause < kRemovalCauses; ++cause) {
    removals.push_back({.labels = {{"cause", std::string(kCauseNames[cause])}},
                        .value = static_cast<double>(stats.removed_chunks[cause])});
  }
  families->push_back(Family("larder_removed_chunks_total", "Chunks removed, by cause.",
                             MetricType::Counter, std::move(removals)));
}

void NodeCollector::AddPolicy(const CoreStats& stats, Families* families) {
  const auto hints = [](const char* answer, uint64_t chunks) {
    return LabelledValue{.labels = {{"answer", answer}}, .value = static_cast<double>(chunks)};
  };
  families->push_back(
      Family("larder_hints_total", "Chunks of which hints said something.", MetricType::Counter,
             {hints("accepted", stats.hints_accepted), hints("clipped", stats.hints_clipped),
              hints("refused", stats.hints_refused)}));
  using Group = CoreStats::Group;
  const auto add = [&](const char* name, const char* help, MetricType type, auto value) {
    std::vector<LabelledValue> values;
    for (const Group& group : stats.groups) {
      values.push_back({.labels = {{"tenant", group.tenant.empty() ? "other" : group.tenant}},
                        .value = static_cast<double>(value(group))});
    }
    families->push_back(Family(name, help, type, std::move(values)));
  };
  using enum MetricType;
  add("larder_tenant_memory_bytes", "Bytes of memory that a tenant with quotas has.", Gauge,
      [](const Group& group) { return group.memory_bytes; });
  add("larder_tenant_disk_bytes", "Bytes of disk that a tenant with quotas has.", Gauge,
      [](const Group& group) { return group.disk_bytes; });
  add("larder_tenant_kept_bytes", "Bytes kept because of hints.", Gauge,
      [](const Group& group) { return group.kept_bytes; });
  add("larder_policy_learned_order",
      "1 while chunks leave in the learned order, 0 while in least-recently-used order.", Gauge,
      [](const Group& group) { return group.policy.learned_order ? 1 : 0; });
  add("larder_policy_suspensions_total",
      "How often the learned order did worse than least-recently-used order and was left.", Counter,
      [](const Group& group) { return group.policy.trust_suspensions; });
}

void NodeCollector::AddDisk(const Snapshot& snapshot, Families* families) {
  if (!snapshot.disk) return;
  const DiskTierStats& disk = *snapshot.disk;
  const CoreStats& core = snapshot.core;
  const auto gauge = [&](const char* name, const char* help, uint64_t value) {
    families->push_back(Gauge(name, help, static_cast<double>(value)));
  };
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    families->push_back(Counter(name, help, value));
  };
  gauge("larder_disk_capacity_bytes", "Bytes of the segments of the devices in service.",
        disk.capacity_bytes);
  gauge("larder_disk_live_bytes", "Bytes of records that can be read.", disk.live_bytes);
  gauge("larder_disk_chunks", "Chunks on disk, in memory too or not.", disk.chunks);
  gauge("larder_disk_free_segments", "Segments that hold nothing.", disk.free_segments);
  gauge("larder_disk_devices_out_of_service", "Devices that failed since the start.",
        disk.devices_out_of_service);
  gauge("larder_disk_loading_bytes", "Bytes on their way into memory.", core.loading_bytes);
  gauge("larder_disk_demoting_bytes", "Bytes on their way to disk.", core.demoting_bytes);
  gauge("larder_disk_budget_bytes", "Bytes that the endurance budget lets be written now.",
        disk.budget_bytes);
  counter("larder_disk_loads_total", "Chunks brought back into memory.", core.disk_loads);
  counter("larder_disk_loads_failed_total", "Chunks that could not be brought back.",
          core.disk_loads_failed);
  counter("larder_disk_demotions_total", "Chunks written.", core.demotions);
  counter("larder_disk_dropped_total", "Chunks evicted before they could be written.",
          core.dropped_before_demotion);
  counter("larder_disk_payload_bytes_written_total", "Bytes of chunks written.",
          disk.written_bytes);
  counter("larder_disk_device_bytes_written_total",
          "Bytes written: chunks, headers, padding and moved records. Over the payload's it is the "
          "write amplification.",
          disk.device_bytes);
  counter("larder_disk_reclaimed_segments_total", "Segments emptied.", disk.reclaimed_segments);
  counter("larder_disk_corrupt_records_total", "Records whose checksum was wrong.",
          disk.corrupt_records);
  counter("larder_disk_failed_writes_total", "Writes that failed.", disk.failed_writes);
  counter("larder_disk_refused_by_admission_total", "Chunks that were not worth a write.",
          core.refused_admission);
  counter("larder_disk_refused_by_ceiling_total",
          "Chunks not written since their tenant is at its ceiling.", disk.refused_ceiling);
  counter("larder_disk_refused_by_budget_total", "Writes refused by the endurance budget.",
          disk.refused_budget);
}

void NodeCollector::AddInsight(const InsightReport& insight, Families* families) {
  std::vector<LabelledValue> found, lru, policies;
  for (size_t i = 0; i < insight.tiers.size(); ++i) {
    const std::vector<ClientMetric::Label> labels = {{"tier", i == 0 ? "dram" : "all"}};
    found.push_back({.labels = labels, .value = insight.tiers[i].found_ratio});
    lru.push_back({.labels = labels, .value = insight.tiers[i].lru_hit_ratio});
  }
  for (const PolicyInsight& policy : insight.policies) {
    policies.push_back({.labels = {{"policy", policy.policy},
                                   {"capacity", absl::StrCat(policy.capacity_factor * 100, "%")}},
                        .value = policy.hit_ratio});
  }
  const auto add = [&](const char* name, const char* help, std::vector<LabelledValue> values) {
    families->push_back(Family(name, help, MetricType::Gauge, std::move(values)));
  };
  using Values = std::vector<LabelledValue>;
  add("larder_insight_uses", "Chunks asked for, older ones counting less.",
      Values{{.labels = {}, .value = insight.uses}});
  add("larder_insight_found_ratio", "The share of them that was found.", std::move(found));
  add("larder_insight_lru_hit_ratio", "What LRU of the same size would have had.", std::move(lru));
  add("larder_insight_policy_hit_ratio",
      "What memory of another size or with another policy would have had.", std::move(policies));
  add("larder_insight_unlimited_hit_ratio", "What an infinite cache would have had.",
      Values{{.labels = {}, .value = insight.unlimited_hit_ratio}});
}

void NodeCollector::AddLocalServer(const LocalServerStats& stats, Families* families) {
  families->push_back(
      Counter("larder_clients_accepted_total", "Local clients admitted.", stats.accepted));
  families->push_back(
      Counter("larder_clients_refused_total", "Local clients refused.", stats.refused));
  families->push_back(Counter("larder_clients_revoked_total",
                              "Local clients given up since their heart stopped.", stats.revoked));
  families->push_back(Counter("larder_clients_malformed_total",
                              "Local clients given up for what they sent.", stats.malformed));
  std::vector<LabelledValue> frames;
  MetricFamily handling = Family("larder_request_handling_seconds",
                                 "Time to answer one request of a local client, of a sample.",
                                 MetricType::Histogram, {});
  for (size_t i = 0; i < RequestStats::kOperations; ++i) {
    const RequestStats::Operation& operation = stats.requests.operations[i];
    frames.push_back({.labels = {{"operation", std::string(kOperationNames[i])}},
                      .value = static_cast<double>(operation.frames)});
    handling.metric.push_back(HistogramMetric(kOperationNames[i], operation.handling));
  }
  families->push_back(Family("larder_requests_total", "Requests of local clients, by operation.",
                             MetricType::Counter, std::move(frames)));
  families->push_back(std::move(handling));
}

}  // namespace larder

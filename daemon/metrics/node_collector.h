// A node's numbers as Prometheus metrics; docs/METRICS.md says what each of them means.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/core_types.h"
#include "daemon/metrics/cluster_families.h"
#include "daemon/node/local_server.h"
#include "daemon/node/node.h"

namespace larder {

// Thread-safe. Each Collect asks the event loop once, for a bounded while, and counts the time that
// it takes as one task. `node` outlives it.
class NodeCollector final : public prometheus::Collectable {
 public:
  // Spaces with series of their own; the ones opened after them share one, so that tenants cannot
  // fill a monitoring system.
  static constexpr size_t kSpacesShownMax = 100;

  explicit NodeCollector(Node* node) : node_(node) {}

  // Without the loop's answer only what is known without it.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  struct SpaceSample {
    std::string tenant, model, space;
    SpaceStats stats;
  };
  struct Snapshot {
    CoreStats core;
    std::optional<DiskTierStats> disk;
    LocalServerStats local;
    bool draining = false;
    size_t spaces = 0;
    std::vector<SpaceSample> space_samples;
    InsightReport insight;
    std::optional<ClusterSample> cluster;
  };
  using Families = std::vector<prometheus::MetricFamily>;

  static void TakeSpaces(const Core& core, Snapshot* snapshot);
  void AddProcess(bool responsive, size_t waiting_tasks, Families* families) const;
  static void AddSpaces(const Snapshot& snapshot, Families* families);
  static void AddTier(const CoreStats& stats, Families* families);
  static void AddCore(const Snapshot& snapshot, Families* families);
  static void AddPolicy(const CoreStats& stats, Families* families);
  static void AddDisk(const Snapshot& snapshot, Families* families);
  static void AddInsight(const InsightReport& insight, Families* families);
  static void AddLocalServer(const LocalServerStats& stats, Families* families);

  Node* const node_;
};

}  // namespace larder

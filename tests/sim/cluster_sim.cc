#include "tests/sim/cluster_sim.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr absl::Duration kWork = absl::Seconds(12);
// Leases of members, reservations, fetches, wishes and pauses are all over by then.
constexpr absl::Duration kRest = absl::Seconds(30);
constexpr absl::Duration kFetchTimeout = absl::Seconds(2);
constexpr uint64_t kNodesMin = 3;
constexpr uint64_t kNodesMore = 4;
constexpr uint64_t kClientsPerNode = 2;
// In the end each node fetches so many chunks that only others hold.
constexpr size_t kFinalFetches = 8;

// Not at random, so that a seed's other choices are the same as without directory nodes.
SimNodeId DirectoriesOf(uint64_t seed) { return seed % 3 == 0 ? 1 + seed / 3 % 2 : 0; }
bool LosesDirectories(uint64_t seed) { return seed % 9 == 6; }

}  // namespace

ClusterSim::ClusterSim(const ClusterSimOptions& options)
    : options_(options), random_(options.seed), queue_(options.trace_lines) {
  world_ = {.queue = &queue_,
            .network = nullptr,
            .etcd = &etcd_,
            .bugs = options.bugs,
            .fail = [this](const std::string& why) { Fail(why); },
            .log_grew = [this](SimNodeId id) { follow_->OnGrowth(id); }};
  const uint64_t count = kNodesMin + random_.Below(kNodesMore);
  result_.nodes = count;
  network_ = std::make_unique<SimNetwork>(&queue_, random_.Next(), count);
  world_.network = network_.get();
  for (SimNodeId id = 0; id < count; ++id) {
    nodes_.push_back(std::make_unique<SimNode>(&world_, id, NodeOptions(), random_.Next()));
    nodes_.back()->SetDirectory(id < DirectoriesOf(options.seed));
  }
  follow_ = std::make_unique<SimFollow>(&world_, &nodes_, random_.Next());
  clients_.resize(count);
  if (options.faults) {
    network_->faults.jitter = absl::Microseconds(random_.Below(2000));
    if (random_.Below(2) == 0) network_->faults.loses = 0.002 * random_.Unit();
    if (random_.Below(2) == 0) network_->faults.damages = 0.02 * random_.Unit();
    if (random_.Below(2) == 0) follow_->faults.loses = 0.01 * random_.Unit();
    if (random_.Below(4) == 0) follow_->faults.garbles = 0.005 * random_.Unit();
  }
  network_->faults.keeps_windows = options.bugs.forgets_windows;
  if (options.bugs.believes_arrivals) network_->faults.damages = 0.05;
}

SimNodeOptions ClusterSim::NodeOptions() {
  SimNodeOptions options;
  options.granules = 48 + random_.Below(160);
  if (random_.Below(2) == 0) options.disk_segments = static_cast<uint32_t>(6 + random_.Below(20));
  if (random_.Below(3) == 0) options.disk_mode = DiskMode::kWriteThrough;
  options.log_events = size_t{1} << (4 + random_.Below(8));
  options.clock_drift = (random_.Unit() - 0.5) * 2e-3;
  options.clock_offset = absl::Seconds(1 + random_.Below(100'000));
  options.calendar_skew = absl::Milliseconds(random_.Below(4000)) - absl::Seconds(2);
  options.cluster.fetch_timeout = kFetchTimeout;
  options.cluster.index.entries_max = 4096;
  options.cluster.fetch.bytes_per_node_max = uint64_t{16 + random_.Below(100)} << 12;
  options.cluster.fetch.bytes_max = uint64_t{32 + random_.Below(200)} << 12;
  options.cluster.fetch.waiting_max = static_cast<uint32_t>(4 + random_.Below(60));
  options.cluster.replication.heat_per_copy = 3;
  options.cluster.directory.known_max = 100;
  options.cluster.directory.asked_max = 64;
  options.cluster.directory.question_keys_max = 8;
  options.cluster.replication.offer_timeout = absl::Seconds(2);
  return options;
}

void ClusterSim::Fail(const std::string& why) {
  if (!result_.failure.empty()) return;
  result_.failure = absl::StrCat("at ", queue_.now().nanoseconds / 1000, " us: ", why);
  queue_.Note(why, {});
  queue_.Stop();
}

void ClusterSim::StartNode(SimNodeId id) {
  SimNode& node = *nodes_[id];
  node.Start();
  for (uint64_t i = 0; i < kClientsPerNode; ++i) {
    clients_[id].push_back(
        std::make_unique<SimClient>(&world_, &node, random_.Next(), &result_.clients));
    clients_[id].back()->Start(work_until_);
  }
}

ClusterSimResult ClusterSim::Run() {
  work_until_ = MonotonicTime{} + kWork;
  for (SimNodeId id = 0; id < nodes_.size(); ++id) StartNode(id);
  if (options_.faults) NextFault();
  queue_.RunUntil(work_until_);
  if (!queue_.stopped()) Heal();
  queue_.RunUntil(work_until_ + kRest);
  for (const auto& node : nodes_) CheckRest(*node);
  for (const auto& node : nodes_) CheckIndex(*node);
  for (const auto& node : nodes_) CheckAsking(*node);
  for (const auto& node : nodes_) CheckBytes(*node);
  CheckFetching();
  for (const auto& node : nodes_) {
    if (!node->running()) continue;
    const ClusterCore::Stats stats = node->cluster().GetStats();
    result_.questions += stats.directory.questions;
    result_.fetched_chunks += stats.fetched_chunks;
    result_.corrupt_arrivals += stats.corrupt_arrivals;
    result_.hedges += stats.fetch.hedges;
    result_.offers_taken += stats.replication.taken;
  }
  result_.trace_hash = queue_.trace_hash();
  result_.events = queue_.events_run();
  result_.trace.assign(queue_.text().begin(), queue_.text().end());
  return std::move(result_);
}

// --- what goes wrong ---------------------------------------------------------------------------

void ClusterSim::NextFault() {
  queue_.After(absl::Milliseconds(100 + random_.Below(1500)), [this] {
    if (healed_) return;
    ++result_.faults;
    const auto duration = absl::Milliseconds(1 << random_.Below(13));
    switch (random_.Below(8)) {
      case 0:
      case 1:
        Partition(duration);
        break;
      case 2:
        StopOrSlow(duration);
        break;
      case 3:
        KillOne(duration);
        break;
      case 4:
        LeaveOne(duration);
        break;
      case 5:
        HurtEtcd(duration);
        break;
      case 6:
        HurtDisk(duration);
        break;
      default:
        network_->Break(AnyNode().id(), AnyNode().id());
    }
    NextFault();
  });
}

void ClusterSim::Partition(absl::Duration duration) {
  // One node is cut off from some or from all others, in one direction or in both.
  const SimNodeId node = AnyNode().id();
  const bool all = random_.Below(2) == 0;
  const uint64_t direction = random_.Below(3);
  for (SimNodeId other = 0; other < nodes_.size(); ++other) {
    if (other == node || (!all && random_.Below(2) == 0)) continue;
    queue_.Note("partition", {node, other, direction});
    if (direction != 0) network_->SetBlocked(node, other, true);
    if (direction != 1) network_->SetBlocked(other, node, true);
    queue_.After(duration, [this, node, other] {
      network_->SetBlocked(node, other, false);
      network_->SetBlocked(other, node, false);
    });
  }
}

void ClusterSim::StopOrSlow(absl::Duration duration) {
  SimNode& node = AnyNode();
  const bool stops = random_.Below(2) == 0;
  queue_.Note("slow", {node.id(), stops});
  if (stops) {
    node.host().Stop();
    queue_.After(duration, [&node] { node.host().Continue(); });
  } else {
    network_->SetSlowness(node.id(), 2 + static_cast<double>(random_.Below(100)));
    queue_.After(duration, [this, &node] { network_->SetSlowness(node.id(), 1); });
  }
}

void ClusterSim::KillOne(absl::Duration duration) {
  SimNode& node = AnyNode();
  if (!node.running()) return;
  node.Kill(static_cast<SimNode::Loss>(random_.Below(3)));
  queue_.After(duration, [this, &node] {
    if (!node.running()) StartNode(node.id());
  });
}

void ClusterSim::LeaveOne(absl::Duration duration) {
  SimNode& node = AnyNode();
  if (!node.running() || node.host().stopped() || node.cluster().draining()) return;
  node.Do(node.host().life(), [&node, duration] { node.Drain(duration); });
  queue_.After(2 * duration + absl::Seconds(1), [this, &node] {
    if (!node.running()) StartNode(node.id());
  });
}

void ClusterSim::HurtEtcd(absl::Duration duration) {
  const std::string name = SimNodeName(AnyNode().id());
  const bool whole = random_.Below(2) == 0;
  queue_.Note("etcd", {whole});
  if (whole) {
    etcd_.away = true;
  } else {
    etcd_.cut_off.insert(name);
  }
  queue_.After(duration, [this, name, whole] {
    if (whole) {
      etcd_.away = false;
    } else {
      etcd_.cut_off.erase(name);
    }
  });
}

void ClusterSim::HurtDisk(absl::Duration duration) {
  SimDisk* disk = AnyNode().disk();
  if (disk == nullptr) return;
  disk->faults = {.fails = 0.3 * random_.Unit(),
                  .damages = 0.3 * random_.Unit(),
                  .slowness = 1 + static_cast<double>(random_.Below(50))};
  queue_.After(duration, [disk] { disk->faults = {}; });
}

void ClusterSim::Heal() {
  queue_.Note("heal", {});
  healed_ = true;
  network_->faults = {.keeps_windows = options_.bugs.forgets_windows};
  follow_->faults = {};
  etcd_.away = false;
  etcd_.cut_off.clear();
  for (const auto& node : nodes_) {
    network_->SetSlowness(node->id(), 1);
    node->host().Continue();
    if (node->disk() != nullptr) node->disk()->faults = {};
    for (const auto& other : nodes_) network_->SetBlocked(node->id(), other->id(), false);
  }
  if (LosesDirectories(options_.seed)) EndDirectories();
  // Those that leave have their time to go; then all come back.
  queue_.After(absl::Seconds(10), [this] {
    for (const auto& node : nodes_) {
      if (node->running() && node->cluster().draining()) node->Kill(SimNode::Loss::kNothing);
      if (!node->running()) StartNode(node->id());
    }
  });
}

void ClusterSim::EndDirectories() {
  for (const auto& node : nodes_) {
    if (!node->directory()) continue;
    node->SetDirectory(false);
    if (node->running()) node->Kill(SimNode::Loss::kNothing);
    StartNode(node->id());
  }
}

// --- what must be in the end -------------------------------------------------------------------

void ClusterSim::CheckRest(const SimNode& const_node) {
  auto& node = const_cast<SimNode&>(const_node);
  if (queue_.stopped()) return;
  if (!node.running()) return Fail(absl::StrCat("node ", node.id(), " is not there"));
  const CoreStats core = node.core().Stats();
  const ClusterCore::Stats cluster = node.cluster().GetStats();
  const bool asks = node.cluster().asks();
  if (asks != ShouldAsk(node)) {
    return Fail(absl::StrCat("node ", node.id(), asks ? " asks" : " follows"));
  }
  const std::vector<std::pair<const char*, uint64_t>> zero = {
      {"leases", core.leases},
      {"reservations", core.reservations + core.void_reservations},
      {"reserved bytes", core.reserved_bytes},
      {"arriving bytes", core.arriving_bytes},
      {"loading bytes", core.loading_bytes},
      {"demoting bytes", core.demoting_bytes},
      {"fetches", cluster.fetch.fetches},
      {"attempts", cluster.fetch.in_flight + cluster.fetch.in_flight_bytes},
      {"fetches that wait", cluster.fetch.waiting},
      {"servings", cluster.serving},
      {"wishes", cluster.replication.wishes},
      {"offers", cluster.replication.offers + cluster.replication.offered_bytes},
      {"messages that make no sense", cluster.bad_messages},
      {"chunks that it asks for or was told of", cluster.directory.asked + cluster.directory.known},
      {"entries that nobody keeps up to date", asks ? cluster.index.entries : 0},
      {"windows", network_->windows(node.id())},
      {"misplaced reads of the disk", node.disk() == nullptr ? 0 : node.disk()->misplaced()},
      // Its own for what it serves remains.
      {"sessions", core.sessions - 1},
  };
  for (const auto& [what, count] : zero) {
    if (count != 0) {
      return Fail(absl::StrCat("node ", node.id(), " is at rest and has ", count, " ", what));
    }
  }
  for (const auto& other : nodes_) {
    if (other->id() == node.id()) continue;
    if (!network_->IsUp(node.id(), other->id())) {
      return Fail(absl::StrCat("nodes ", node.id(), " and ", other->id(), " are not connected"));
    }
  }
}

void ClusterSim::CheckBytes(SimNode& node) {
  if (queue_.stopped()) return;
  const SessionId session = *node.core().OpenSession();
  for (const SimChunk& chunk : AllSimChunks()) {
    const auto acquired = node.core().AcquireUncounted(session, chunk.space, KeyOf(chunk));
    if (!acquired.ok() || acquired->chunks.empty()) continue;
    for (const BlockExtent& extent : acquired->extents) {
      const std::string problem =
          CheckSimContainer(chunk, node.IdOf(chunk.space), extent.part,
                            node.arena().subspan(extent.offset, extent.bytes));
      if (!problem.empty()) {
        Fail(absl::StrCat("node ", node.id(), " holds wrong bytes of chunk ", NumberOf(chunk), ": ",
                          problem));
      }
    }
  }
  node.core().CloseSession(session);
}

void ClusterSim::CheckFetching() {
  if (queue_.stopped()) return;
  // What one has, all can have.
  std::vector<std::pair<SimNode*, SimChunk>> wanted;
  for (const auto& node : nodes_) {
    size_t count = 0;
    for (const SimChunk& chunk : AllSimChunks()) {
      const KeyHash key = KeyOf(chunk);
      const Holding here = node->core().HoldingOf(chunk.space, key);
      if (here.in_memory || here.on_disk) continue;
      if (node->cluster().asks() && !IsGiven(*node, chunk)) continue;  // It would have to ask.
      const auto loading = node->core().Load(chunk.space, {&key, 1}, false, node->Now());
      if (loading.coming == 0) continue;
      wanted.emplace_back(node.get(), chunk);
      if (++count == kFinalFetches) break;
    }
    node->Do(node->host().life(), [] {});
  }
  const MonotonicTime end = queue_.now() + 3 * kFetchTimeout;
  std::vector<bool> came(wanted.size());
  while (!queue_.stopped() && queue_.now() < end) {
    queue_.RunUntil(queue_.now() + absl::Milliseconds(5));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto& [node, chunk] = wanted[i];
      const KeyHash key = KeyOf(chunk);
      const Holding here = node->core().HoldingOf(chunk.space, key);
      came[i] = came[i] || here.in_memory || here.on_disk;
      if (came[i]) continue;
      // Those that find no room have to be asked for again.
      node->Do(node->host().life(), [&node = *node, &chunk = chunk, &key] {
        (void)node.core().Load(chunk.space, {&key, 1}, /*local_only=*/false, node.Now());
      });
    }
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto& [node, chunk] = wanted[i];
    const bool held =
        node->cluster().asks()
            ? IsGiven(*node, chunk)
            : !node->cluster().HoldersOf(chunk.space, KeyOf(chunk), node->Now()).empty();
    if (came[i] || !held) continue;
    return Fail(absl::StrCat("node ", node->id(), " cannot fetch chunk ", NumberOf(chunk)));
  }
  queue_.RunUntil(queue_.now() + 3 * kFetchTimeout);
  for (const auto& node : nodes_) CheckRest(*node);
}

}  // namespace larder

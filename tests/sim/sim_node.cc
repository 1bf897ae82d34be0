#include "tests/sim/sim_node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/hash.h"

namespace larder {
namespace {

constexpr uint64_t kGranuleBytes = 4096;
constexpr int64_t kUnixMs = 1'700'000'000'000;
constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
// Between two looks at who is a member.
constexpr uint64_t kTicksPerLook = 4;
constexpr absl::Duration kMemberGrace = absl::Seconds(3);
// What follows at once from one event ends after so many rounds, or never.
constexpr int kRoundsMax = 1000;

// ArrivalCheck without its sums.
CheckedArrival BelieveArrival(std::span<const uint8_t> room, const PeerFetched& fetched) {
  CheckedArrival arrival;
  for (const FetchedPart& part : fetched.parts) {
    auto view = ContainerView::Parse(room.subspan(part.offset, part.bytes));
    if (view.ok()) arrival.containers.push_back(*std::move(view));
  }
  return arrival;
}

}  // namespace

SimNode::SimNode(SimWorld* world, SimNodeId id, const SimNodeOptions& options, uint64_t seed)
    : world_(world), id_(id), options_(options), random_(seed) {
  core_options_.data_bytes = options.granules * kGranuleBytes;
  core_options_.backed_bytes = core_options_.data_bytes;
  core_options_.granule_bytes = kGranuleBytes;
  core_options_.hash_seed = random_.Next();
  core_options_.reservation_ttl_max = absl::Seconds(4);
  core_options_.orphan_grace = absl::Seconds(1);
  core_options_.disk_mode = options.disk_mode;
  core_options_.disk_ready_fraction = 0.25;
  geometry_ = {.capacity_records = 4 * options.granules,
               .data_bytes = core_options_.data_bytes,
               .granule_bytes = kGranuleBytes};
  arena_.resize(core_options_.data_bytes);
  table_memory_.resize(BlockTable::MemoryBytes(geometry_.capacity_records) / sizeof(uint64_t));
  if (options.disk_segments > 0) {
    disk_.emplace(world->queue,
                  DiskGeometry{.device = {1, id},
                               .segment_bytes = uint64_t{1} << 17,
                               .segments = options.disk_segments},
                  random_.Next());
  }
}

// --- time --------------------------------------------------------------------------------------

MonotonicTime SimNode::ToLocal(MonotonicTime time) const {
  const auto drift =
      static_cast<int64_t>(options_.clock_drift * static_cast<double>(time.nanoseconds));
  return MonotonicTime{time.nanoseconds + drift} + options_.clock_offset;
}

MonotonicTime SimNode::ToGlobal(MonotonicTime local) const {
  const double passed = static_cast<double>((local - (MonotonicTime{} + options_.clock_offset)) /
                                            absl::Nanoseconds(1));
  // Not before `local` on the node's clock.
  return {static_cast<int64_t>(passed / (1 + options_.clock_drift)) + 1};
}

int64_t SimNode::UnixMs() const {
  return kUnixMs + world_->queue->now().nanoseconds / 1'000'000 +
         absl::ToInt64Milliseconds(options_.calendar_skew);
}

// --- life --------------------------------------------------------------------------------------

void SimNode::Start() {
  host_.Start();
  epoch_ = random_.Next() | 1;
  world_->queue->Note("start", {id_, epoch_});
  const std::span<uint8_t> table{reinterpret_cast<uint8_t*>(table_memory_.data()),
                                 table_memory_.size() * sizeof(uint64_t)};
  table_.emplace(has_table_ ? *BlockTable::Open(table, geometry_)
                            : *BlockTable::Create(table, {1, id_}, geometry_));
  MakeCore(std::exchange(has_table_, true));
  log_ = std::make_unique<EventLog>(epoch_, options_.log_events);
  MemberRecord self;
  self.name = SimNodeName(id_);
  self.epoch = epoch_;
  self.peer_address = self.rpc_address = absl::StrCat("10.0.0.", id_ + 1, ":1");
  self.memory_bytes = core_options_.data_bytes;
  self.directory = directory_;
  members_.emplace(self, kMemberGrace, Now());
  others_.clear();
  drains_ = false;
  wakeup_ = {};
  ticks_ = 0;
  world_->network->Attach(id_, &host_, this, epoch_, arena_);
  Do(host_.life(), [this] { Tick(); });
}

void SimNode::MakeCore(bool recover) {
  core_ = std::make_unique<Core>(core_options_, &*table_, Now(), UnixMs());
  for (uint32_t space = 0; space < kSimSpaces; ++space) {
    LARDER_CHECK(core_->RestoreSpace(SimSpace(space)).ok());
  }
  if (recover) (void)core_->RecoverBlocks(Now());
  ClusterCoreOptions options = options_.cluster;
  options.self = SimNodeName(id_);
  options.granule_bytes = kGranuleBytes;
  cluster_ = *ClusterCore::Create(
      options, core_.get(), [this](const SpaceDescription& d) { return core_->OpenSpace(d); });
  if (disk_) AttachDisk();
}

void SimNode::AttachDisk() {
  auto tier = std::make_unique<DiskTier>(DiskTierOptions{.hash_seed = random_.Next()}, Now());
  tier->AddDevice(disk_->geometry(), disk_->generations(), disk_->highest_generation());
  core_->AttachDisk(std::move(tier));
  for (const DiskRecord& record : disk_->Records()) core_->RestoreDiskRecord(0, record);
}

void SimNode::Kill(Loss loss) {
  world_->queue->Note("kill", {id_, static_cast<uint64_t>(loss)});
  host_.Kill();
  world_->network->Detach(id_);
  cluster_.reset();
  core_.reset();
  log_.reset();
  table_.reset();
  if (loss == Loss::kNothing) return;
  std::fill(arena_.begin(), arena_.end(), uint8_t{0xee});
  std::fill(table_memory_.begin(), table_memory_.end(), 0);
  has_table_ = false;
  if (loss == Loss::kAll && disk_) disk_->Wipe();
}

void SimNode::Drain(absl::Duration patience) {
  MemberRecord self = members_->self();
  self.draining = true;
  members_->SetSelf(self);
  core_->StartDraining();
  cluster_->StartDrain(Now() + patience, Now());
  drains_ = true;
}

void SimNode::EndDrain() {
  using State = Replication::DrainProgress::State;
  if (!drains_ || cluster_->drain().state != State::kDone) return;
  drains_ = false;
  world_->queue->Note("drained", {id_, cluster_->drain().moved, cluster_->drain().left_behind});
  world_->etcd->Delete(SimNodeName(id_));
  // Not from within itself.
  world_->queue->After(absl::ZeroDuration(), [this, life = host_.life()] {
    if (host_.life() == life && running()) Kill(Loss::kAll);
  });
}

// --- the loop ----------------------------------------------------------------------------------

void SimNode::Do(uint64_t life, EventQueue::Action action) {
  host_.Post(life, [this, action = std::move(action)] {
    action();
    Pump();
  });
}

void SimNode::Pump() {
  int rounds = 0;
  do {
    if (!running() || world_->queue->stopped()) return;
    if (++rounds > kRoundsMax) return world_->fail(absl::StrCat("node ", id_, " never rests"));
    cluster_->Step(Now());
    FlushEvents();
  } while (PassDiskOrders() | PassClusterOrders());
  (void)cluster_->TakeSettled();
  EndDrain();
  SetWakeup();
}

bool SimNode::PassDiskOrders() {
  if (!disk_) return false;
  const std::vector<DiskOrder> orders = core_->TakeDiskOrders();
  for (const DiskOrder& order : orders) {
    const bool lost = world_->bugs.loses_disk_results && random_.Below(20) == 0;
    disk_->Submit(order, arena_, &host_, [this, lost](const DiskResult& result) {
      if (lost) return;
      core_->OnDiskResult(result, Now());
      Pump();
    });
  }
  return !orders.empty();
}

bool SimNode::PassClusterOrders() {
  std::vector<ClusterOrder> orders = cluster_->TakeOrders();
  for (ClusterOrder& order : orders) CarryOut(order);
  return !orders.empty();
}

void SimNode::CarryOut(ClusterOrder& order) {
  using Kind = ClusterOrder::Kind;
  if (order.node.empty()) return;  // of a node that is no member any more
  const auto node = static_cast<SimNodeId>(std::stoul(order.node.substr(4)));
  SimNetwork& network = *world_->network;
  world_->queue->Note("order", {id_, node, static_cast<uint64_t>(order.kind), order.window,
                                order.offset_or_bytes, order.token, HashBytes(order.payload).low});
  switch (order.kind) {
    case Kind::kSend:
      return network.Send(id_, node, std::move(order.payload));
    case Kind::kSendAfter:
      return network.SendAfter(id_, node, std::move(order.payload), order.window,
                               order.offset_or_bytes);
    case Kind::kOpenWindow:
      return network.OpenWindow(id_, order.window, node, order.ranges);
    case Kind::kCloseWindow:
      return network.CloseWindow(id_, order.window);
    case Kind::kWrite:
      network.Write(id_, node, order.token, order.window, order.offset_or_bytes, order.ranges,
                    ToGlobal(order.deadline));
  }
}

void SimNode::FlushEvents() {
  std::vector<ChunkEvent> events;
  if (!cluster_->TakeEvents(&events)) return world_->fail("more changes than can be told");
  size_t appended = 0;
  for (const ChunkEvent& event : events) {
    if (world_->bugs.forgets_removals && event.tiers == 0 && random_.Below(4) == 0) continue;
    log_->Append(event);
    ++appended;
  }
  cluster_->OnEventsLogged(log_->next_sequence());
  if (appended > 0) world_->log_grew(id_);
}

void SimNode::SetWakeup() {
  const std::optional<MonotonicTime> next = cluster_->next_wakeup();
  if (!next) return;
  // A loop that is told to come back at once does so after a while, too.
  const MonotonicTime time =
      std::max(ToGlobal(*next), world_->queue->now() + absl::Microseconds(100));
  if (wakeup_ > world_->queue->now() && wakeup_ <= time) return;
  wakeup_ = time;
  world_->queue->At(time, [this, life = host_.life(), number = ++wakeups_] {
    if (number == wakeups_) Do(life, [] {});
  });
}

void SimNode::Tick() {
  core_->Tick(Now());
  if (ticks_++ % kTicksPerLook == 0) LookAtMembers();
  world_->queue->After(kTickInterval,
                       [this, life = host_.life()] { Do(life, [this] { Tick(); }); });
}

void SimNode::LookAtMembers() {
  SimEtcd& etcd = *world_->etcd;
  const std::string name = SimNodeName(id_);
  const MonotonicTime real = world_->queue->now();
  if (etcd.Reaches(name)) {
    etcd.KeepAlive(name, real);
    members_->OnList(etcd.List(real), /*more=*/false, Now());
    if (members_->must_publish() && running()) {
      const MemberRecord& self = members_->self();
      members_->OnPublished(self, etcd.Put(name, EncodeMember(self), real));
    }
  } else {
    members_->OnLost("away");
  }
  members_->Tick(Now());
  const MemberView view = members_->View(Now());
  cluster_->SetMembers(view.members, Now());
  others_.clear();
  for (const MemberRecord& member : view.members) {
    if (member.name == name) continue;
    others_.insert(static_cast<SimNodeId>(std::stoul(member.name.substr(4))));
  }
  world_->network->SetPeers(id_, others_);
}

// --- what the network says ---------------------------------------------------------------------

void SimNode::OnPeerUp(SimNodeId node, uint64_t epoch) {
  cluster_->OnPeerUp(SimNodeName(node), epoch, Now());
  Pump();
}

void SimNode::OnPeerDown(SimNodeId node, uint64_t epoch) {
  cluster_->OnPeerDown(SimNodeName(node), epoch, Now());
  Pump();
}

void SimNode::OnMessage(SimNodeId node, std::vector<uint8_t> payload, uint64_t window) {
  const std::string name = SimNodeName(node);
  if (window == 0) {
    const auto kind = KindOf(payload);
    const bool answer = kind.ok() && *kind == PeerMessageKind::kLocated;
    if (world_->bugs.loses_answers && answer && random_.Below(4) == 0) return;
    cluster_->OnMessage(name, payload, nullptr, Now());
    return Pump();
  }
  const auto range = world_->network->WindowRange(id_, window);
  auto fetched = ReadFetched(payload);
  if (!range || !fetched.ok()) return;
  const std::span<const uint8_t> room = arena().subspan(range->offset, range->bytes);
  CheckedArrival arrival = ArrivalCheck(room).Finish(*fetched);
  if (world_->bugs.believes_arrivals) arrival = BelieveArrival(room, *fetched);
  // Summing takes a while, on a thread of its own.
  const auto take = [this, name, payload = std::move(payload), arrival = std::move(arrival)] {
    cluster_->OnMessage(name, payload, &arrival, Now());
  };
  world_->queue->After(absl::Microseconds(random_.Below(200)),
                       [this, take, life = host_.life()] { Do(life, take); });
}

void SimNode::OnWritten(uint64_t token) {
  cluster_->OnWritten(token, Now());
  Pump();
}

void SimNode::OnWindowClosed(uint64_t window) {
  cluster_->OnWindowClosed(window);
  Pump();
}

}  // namespace larder

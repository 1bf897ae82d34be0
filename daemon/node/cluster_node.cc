#include "daemon/node/cluster_node.h"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/random.h"
#include "daemon/node/log.h"
#include "transport/peer/tcp_transport.h"

namespace larder {
namespace {

constexpr size_t kSecretBytesMax = 1024;
// How long a thread of gRPC's waits for the event loop.
constexpr absl::Duration kLoopTimeout = absl::Seconds(5);
// So little is here within a moment; waking up from sleep would add to it.
constexpr uint64_t kSoonBytesMax = 256 << 10;
constexpr absl::Duration kSoon = absl::Microseconds(200);

absl::StatusOr<PeerEngine> ParseEngine(absl::string_view name) {
  if (name == "auto") return PeerEngine::kAuto;
  if (name == "io_uring") return PeerEngine::kUring;
  if (name == "epoll") return PeerEngine::kEpoll;
  return absl::InvalidArgumentError(
      absl::StrCat("cluster.engine: no engine is \"", name, "\"; auto, io_uring or epoll"));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": can't be read, or is empty"));
  }
  if (line.empty() || line.size() > kSecretBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the first line has ", line.size(), " bytes; 1 to ", kSecretBytesMax));
  }
  return line;
}

std::vector<std::string> SplitList(absl::string_view list) {
  return absl::StrSplit(list, absl::ByAnyChar(", "), absl::SkipEmpty());
}

absl::StatusOr<std::unique_ptr<ClusterNode>> ClusterNode::Start(const ClusterNodeOptions& options,
                                                                const ClusterNodeFacts& facts,
                                                                Core* core, const PeerMemory& arena,
                                                                TaskQueue* tasks,
                                                                ClusterCore::OpenSpace open_space) {
  std::unique_ptr<ClusterNode> node(new ClusterNode(options, facts, tasks));
  RETURN_IF_ERROR(node->Init(facts, core, arena, std::move(open_space)));
  return node;
}

ClusterNode::ClusterNode(const ClusterNodeOptions& options, const ClusterNodeFacts& facts,
                         TaskQueue* tasks)
    : options_(options), tasks_(tasks), log_(facts.epoch, options.event_log) {
  if (options_.node.empty()) options_.node = HostName();
}

absl::Status ClusterNode::Init(const ClusterNodeFacts& facts, Core* core, const PeerMemory& arena,
                               ClusterCore::OpenSpace open_space) {
  if (const absl::Status named = CheckMemberName(options_.name); !named.ok()) {
    return Annotate(named, "cluster.name");
  }
  if (const absl::Status named = CheckMemberName(options_.node); !named.ok()) {
    return Annotate(named, "cluster.node");
  }
  ASSIGN_OR_RETURN(secret_, ReadSecretFile(options_.secret_file));
  SystemRandom random;
  ClusterCoreOptions core_options = options_.core;
  core_options.self = options_.node;
  core_options.granule_bytes = facts.granule_bytes;
  core_options.index.entries_max = options_.index_entries_max;
  core_options.index.seed = random.Next();
  ASSIGN_OR_RETURN(cluster_, ClusterCore::Create(core_options, core, std::move(open_space)));
  mailbox_ = std::make_unique<PeerMailbox>(arena.bytes, [this] {
    (void)tasks_->Post([] {});  // Wakes the loop; a full queue means that it is awake.
  });
  PeerTransportOptions transport;
  transport.self = {.cluster = options_.name, .node = options_.node, .epoch = facts.epoch};
  transport.secret = secret_;
  transport.listen = options_.listen;
  transport.connections_per_peer = options_.connections;
  transport.send_file = options_.send_file;
  ASSIGN_OR_RETURN(transport.engine, ParseEngine(options_.engine));
  ASSIGN_OR_RETURN(transport_, StartTcpTransport(transport, arena, mailbox_.get()));
  self_.name = options_.node;
  self_.epoch = facts.epoch;
  self_.peer_address =
      options_.advertise.empty() ? transport_->listen_address() : options_.advertise;
  self_.memory_bytes = facts.memory_bytes;
  self_.disk_bytes = facts.disk_bytes;
  self_.directory = options_.directory;
  self_.version = facts.version;
  LogInfo("cluster", {{"name", options_.name},
                      {"node", options_.node},
                      {"peers_at", transport_->listen_address()},
                      {"engine", std::string(transport_->Stats().engine)}});
  return absl::OkStatus();
}

ClusterNode::~ClusterNode() {
  // Its callbacks go first; then nothing is written into the arena any more.
  transport_ = nullptr;
}

// --- members ------------------------------------------------------------------------------------

MemberRecord ClusterNode::Announce(const std::string& rpc_address,
                                   std::function<void(const MemberRecord&)> changed) {
  std::lock_guard lock(members_mutex_);
  self_.rpc_address = options_.rpc_advertise.empty() ? rpc_address : options_.rpc_advertise;
  self_changed_ = std::move(changed);
  return self_;
}

MemberRecord ClusterNode::self() const {
  std::lock_guard lock(members_mutex_);
  return self_;
}

MemberView ClusterNode::members() const {
  std::lock_guard lock(members_mutex_);
  MemberView view = members_;
  // The source tells of changes; that it is still silent is none.
  if (!view.source_reachable) view.source_silent_for += SystemClock::Get().Now() - members_set_;
  return view;
}

void ClusterNode::SetMembers(MemberView view) {
  {
    std::lock_guard lock(members_mutex_);
    members_ = std::move(view);
    members_set_ = SystemClock::Get().Now();
  }
  (void)tasks_->Post([this] { TakeMembers(SystemClock::Get().Now()); });
}

void ClusterNode::TakeMembers(MonotonicTime now) {
  const MemberView view = members();
  std::vector<PeerAddress> peers;
  for (const MemberRecord& member : view.members) {
    if (member.name == options_.node) continue;
    peers.push_back({.node = member.name, .host_port = member.peer_address});
  }
  cluster_->SetMembers(view.members, now);
  if (const absl::Status set = transport_->SetPeers(std::move(peers)); !set.ok()) {
    LogError("peers not taken", {{"why", std::string(set.message())}});
  }
  next_wakeup_ = now;
}

void ClusterNode::StartDrain(MonotonicTime deadline, MonotonicTime now) {
  MemberRecord self;
  std::function<void(const MemberRecord&)> changed;
  {
    std::lock_guard lock(members_mutex_);
    self_.draining = true;
    self = self_;
    changed = self_changed_;
  }
  if (changed) changed(self);
  cluster_->StartDrain(deadline, now);
  next_wakeup_ = now;
}

// --- the event loop -----------------------------------------------------------------------------

bool ClusterNode::TakeEvents(MonotonicTime now) {
  if (!mailbox_->pending()) return false;
  for (PeerEvent& event : mailbox_->TakeAll()) HandleEvent(event, now);
  cluster_->Step(now);
  NoteWhatIsUnderWay(/*news=*/true, now);
  return true;
}

void ClusterNode::NoteWhatIsUnderWay(bool news, MonotonicTime now) {
  const uint64_t under_way = cluster_->fetching_bytes();
  if (under_way == 0 || under_way > kSoonBytesMax) {
    soon_until_ = {};
  } else if (news) {
    soon_until_ = now + kSoon;
  }
}

bool ClusterNode::Step(bool progress, MonotonicTime now) {
  const bool due = next_wakeup_ && *next_wakeup_ <= now;
  if (!progress && !due) return false;
  const bool was_fetching = cluster_->fetching();
  cluster_->Step(now);
  NoteWhatIsUnderWay(/*news=*/!was_fetching, now);
  std::vector<ClusterOrder> orders = cluster_->TakeOrders();
  for (ClusterOrder& order : orders) CarryOut(order, now);
  const bool published = PublishChanges();
  next_wakeup_ = cluster_->next_wakeup();
  return published || !orders.empty();
}

void ClusterNode::HandleEvent(PeerEvent& event, MonotonicTime now) {
  switch (event.kind) {
    case PeerEvent::Kind::kUp:
      LogInfo("peer up", {{"node", event.node}});
      cluster_->OnPeerUp(event.node, event.epoch, now);
      break;
    case PeerEvent::Kind::kDown:
      LogInfo("peer down", {{"node", event.node}, {"why", event.why}});
      cluster_->OnPeerDown(event.node, event.epoch, now);
      break;
    case PeerEvent::Kind::kMessage:
      if (event.arrival && !event.arrival->problem.empty()) {
        LogError("damaged chunk from a peer",
                 {{"node", event.node}, {"why", event.arrival->problem}});
      }
      cluster_->OnMessage(event.node, event.payload, event.arrival ? &*event.arrival : nullptr,
                          now);
      break;
    case PeerEvent::Kind::kWritten:
      cluster_->OnWritten(event.number, now);
      break;
    case PeerEvent::Kind::kWindowClosed:
      cluster_->OnWindowClosed(event.number);
      break;
  }
}

void ClusterNode::CarryOut(ClusterOrder& order, MonotonicTime now) {
  using Kind = ClusterOrder::Kind;
  // What can't be sent is not sent again: whoever waits for it asks somebody else in time.
  switch (order.kind) {
    case Kind::kSend:
      (void)transport_->Send(order.node, order.payload);
      return;
    case Kind::kSendAfter:
      (void)transport_->SendAfter(order.node, order.payload, order.window, order.offset_or_bytes);
      return;
    case Kind::kOpenWindow:
      mailbox_->SetWindow(order.window, order.ranges[0]);
      (void)transport_->OpenWindow(order.window, order.node, WindowAccess::kWrite,
                                   std::move(order.ranges), PayloadSum::kContent);
      return;
    case Kind::kCloseWindow: {
      const absl::StatusOr<WindowState> state = transport_->CloseWindow(order.window);
      if (state.ok() && *state == WindowState::kClosing) return;
      // One that could not be opened has nothing that is written to it, either.
      mailbox_->ForgetWindow(order.window);
      cluster_->OnWindowClosed(order.window);
      return;
    }
    case Kind::kWrite: {
      const absl::StatusOr<WriteState> state =
          transport_->Write(order.node, {.token = order.token,
                                         .window = order.window,
                                         .window_offset = order.offset_or_bytes,
                                         .local = std::move(order.ranges),
                                         .deadline = order.deadline,
                                         .sum = PayloadSum::kContent});
      if (!state.ok() || *state == WriteState::kDone) cluster_->OnWritten(order.token, now);
      return;
    }
  }
}

// --- those who follow this node -----------------------------------------------------------------

bool ClusterNode::PublishChanges() {
  new_events_.clear();
  const bool complete = cluster_->TakeEvents(&new_events_);
  if (complete && new_events_.empty()) return false;
  std::lock_guard lock(log_mutex_);
  if (!complete) log_.Invalidate();
  for (const ChunkEvent& event : new_events_) log_.Append(event);
  cluster_->OnEventsLogged(log_.next_sequence());
  return true;
}

uint64_t ClusterNode::log_end() const {
  std::lock_guard lock(log_mutex_);
  return log_.next_sequence();
}

EventLog::ReadResult ClusterNode::ReadLog(uint64_t from, size_t limit,
                                          std::vector<ChunkEvent>* events, uint64_t* end) const {
  std::lock_guard lock(log_mutex_);
  *end = log_.next_sequence();
  return log_.Read(from, limit, events);
}

absl::StatusOr<std::optional<uint64_t>> ClusterNode::SnapshotStep(uint64_t cursor, size_t limit,
                                                                  std::vector<ChunkEvent>* events) {
  std::optional<uint64_t> next;
  RETURN_IF_ERROR(tasks_->Call(SystemClock::Get().Now() + kLoopTimeout,
                               [&] { next = cluster_->SnapshotStep(cursor, limit, events); }));
  return next;
}

// --- those whom this node follows ---------------------------------------------------------------

FollowPosition ClusterNode::OnFollowOpen(const std::string& node) {
  FollowPosition position;
  (void)tasks_->Call(SystemClock::Get().Now() + kLoopTimeout,
                     [&] { position = cluster_->OnFollowOpen(node); });
  return position;
}

IndexFollower::Taken ClusterNode::OnFollowBatch(const std::string& node, const FollowBatch& batch) {
  IndexFollower::Taken taken = IndexFollower::Taken::kLater;
  (void)tasks_->Call(SystemClock::Get().Now() + kLoopTimeout, [&] {
    taken = cluster_->OnFollowBatch(node, batch);
    next_wakeup_ = SystemClock::Get().Now();
  });
  return taken;
}

void ClusterNode::OnFollowEnd(const std::string& node, bool broken) {
  (void)tasks_->Call(SystemClock::Get().Now() + kLoopTimeout, [&] {
    cluster_->OnFollowEnd(node, broken);
    next_wakeup_ = SystemClock::Get().Now();
  });
}

}  // namespace larder

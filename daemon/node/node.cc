#include "daemon/node/node.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "daemon/node/log.h"
#include "daemon/node/spaces_file.h"
#include "transport/local/spin.h"

namespace larder {
namespace {

constexpr uint64_t kTasksToken = 1;
constexpr uint64_t kOwnerToken = 2;

constexpr absl::Duration kTickInterval = absl::Seconds(1);
// While reservations may expire, memory is still being backed or a reply is blocked.
constexpr absl::Duration kBusyTickInterval = absl::Milliseconds(20);
// The first put should find room: listening begins when so much memory is backed, or soon anyway.
constexpr uint64_t kFirstMemoryBytes = uint64_t{256} << 20;
constexpr absl::Duration kFirstMemoryTimeout = absl::Milliseconds(300);

// While it polls, the loop looks at the other descriptors once in so many rounds.
constexpr uint32_t kPollsPerEventCheck = 64;

int64_t UnixMs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

// A session takes two descriptors; a thousand of them exceed the usual soft limit.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Node>> Node::Start(const NodeOptions& options) {
  std::unique_ptr<Node> node(new Node(options));
  RETURN_IF_ERROR(node->Init());
  return node;
}

absl::Status Node::Init() {
  RaiseDescriptorLimit();
  SystemRandom random;
  epoch_ = random.Next();
  absl::StatusOr<std::unique_ptr<Arena>> arena = Arena::OpenOrCreate(options_.arena, random);
  if (absl::IsUnavailable(arena.status())) {
    return Annotate(arena.status(), "another daemon owns the arena");
  }
  ASSIGN_OR_RETURN(arena_, std::move(arena));
  const MonotonicTime now = SystemClock::Get().Now();
  started_ = now;
  CoreOptions core_options = options_.core;
  core_options.data_bytes = arena_->data().size();
  core_options.granule_bytes = options_.arena.granule_bytes;
  core_options.backed_bytes = arena_->backed_bytes();
  core_options.hash_seed = random.Next();
  core_options.disk_mode = ParseDiskMode(options_.disk.mode);
  core_options.disk_admission = ParseDiskAdmission(options_.disk.admission);
  core_ = std::make_unique<Core>(core_options, &arena_->blocks(), now, UnixMs());
  core_->SetMover([data = arena_->data()](uint64_t from, uint64_t to, uint64_t bytes) {
    std::memcpy(&data[to], &data[from], bytes);
  });
  spaces_path_ = options_.arena.directory + "/spaces";
  if (arena_->recovered()) RETURN_IF_ERROR(RecoverSpaces());
  recovery_ = core_->RecoverBlocks(now);
  LogInfo("arena open", {{"directory", options_.arena.directory},
                         {"bytes", absl::StrCat(arena_->data().size())},
                         {"recovered_chunks", absl::StrCat(recovery_.chunks)},
                         {"recovered_bytes", absl::StrCat(recovery_.bytes)},
                         {"discarded_blocks", absl::StrCat(recovery_.discarded_blocks)},
                         {"huge_pages", arena_->on_huge_pages() ? "yes" : "no"}});
  return StartServing();
}

absl::Status Node::RecoverSpaces() {
  ASSIGN_OR_RETURN(const std::vector<SpaceDescription> spaces, ReadSpacesFile(spaces_path_));
  for (const SpaceDescription& space : spaces) RETURN_IF_ERROR(core_->OpenSpace(space).status());
  return absl::OkStatus();
}

absl::Status Node::StartServing() {
  ASSIGN_OR_RETURN(Poller poller, Poller::Create());
  poller_ = std::make_unique<Poller>(std::move(poller));
  ASSIGN_OR_RETURN(tasks_, TaskQueue::Create());
  RETURN_IF_ERROR(poller_->Watch(tasks_->fd(), kTasksToken, true));
  RETURN_IF_ERROR(OpenDisk());
  if (options_.owner_fd >= 0) {
    RETURN_IF_ERROR(poller_->Watch(options_.owner_fd, kOwnerToken, true));
  }
  verifier_ = std::make_unique<Verifier>(core_.get(), tasks_.get(), arena_->data());
  handler_ = std::make_unique<RequestHandler>(
      core_.get(), arena_->data(),
      RequestHandlerHooks{
          .open_space = [this](const SpaceDescription& space) { return OpenSpace(space); },
          .report_corrupt = [this](SpaceHandle space,
                                   std::vector<KeyHash> keys) { VerifySoon(space, keys); },
          .replicate = options_.cluster.name.empty() ? decltype(RequestHandlerHooks::replicate)()
                                                     : [this](SpaceHandle space, const KeyHash& key,
                                                              const CopiesWanted& wanted,
                                                              MonotonicTime wanted_at) {
            return cluster_->core()
                .Replicate(space, key, wanted.copies, wanted.node, wanted.deadline, wanted_at)
                .value;
          },
          .node_name = [this](uint16_t node) { return cluster_->core().NameOf(node); }});
  RETURN_IF_ERROR(StartCluster());
  WaitForFirstMemory();
  const ArenaUuid uuid = arena_->uuid();
  Welcome welcome;
  welcome.heartbeat_interval_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.local.heartbeat_interval));
  welcome.daemon_epoch = epoch_;
  welcome.arena_uuid = std::bit_cast<std::array<uint8_t, 16>>(uuid);
  welcome.arena_data_bytes = arena_->data().size();
  welcome.arena_granule_bytes = static_cast<uint32_t>(options_.arena.granule_bytes);
  ASSIGN_OR_RETURN(local_,
                   LocalServer::Start(options_.local, welcome, &arena_->data_fd(), core_.get(),
                                      handler_.get(), poller_.get(), SystemClock::Get().Now()));
  return absl::OkStatus();
}

absl::Status Node::OpenDisk() {
  if (options_.disk.paths.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(disk_, DiskDevices::Open(options_.disk, arena_->data(), tasks_.get()));
  for (const SpaceDescription& space : disk_->ReadSpaces()) {
    const absl::Status opened = core_->OpenSpace(space).status();
    if (!opened.ok()) LogError("space not opened", {{"why", std::string(opened.message())}});
  }
  // Whoever lost its list, memory or a disk, has it again.
  if (!core_->spaces().empty()) WriteSpaces();
  SystemRandom random;
  disk_->AttachTo(*core_, random.Next(), SystemClock::Get().Now());
  return absl::OkStatus();
}

absl::Status Node::StartCluster() {
  if (options_.cluster.name.empty()) return absl::OkStatus();
  ClusterNodeFacts facts;
  facts.epoch = epoch_;
  facts.memory_bytes = arena_->data().size();
  facts.disk_bytes = core_->disk() == nullptr ? 0 : core_->disk()->Stats().capacity_bytes;
  facts.version = options_.version;
  facts.granule_bytes = options_.arena.granule_bytes;
  ASSIGN_OR_RETURN(cluster_, ClusterNode::Start(
                                 options_.cluster, facts, core_.get(),
                                 PeerMemory{.bytes = arena_->data(), .fd = arena_->data_fd().get()},
                                 tasks_.get(), [this](const SpaceDescription& space) {
                                   return OpenSpace(space);
                                 }));
  return absl::OkStatus();
}

void Node::WriteSpaces() {
  std::vector<SpaceDescription> all;
  for (const auto& space : core_->spaces()) all.push_back(space->description);
  if (const absl::Status written = WriteSpacesFile(spaces_path_, all); !written.ok()) {
    // Serving goes on: after a restart a new space's chunks would merely not be found again.
    LogError("spaces file not written", {{"why", std::string(written.message())}});
  }
  if (disk_ != nullptr) disk_->WriteSpaces(all);
}

void Node::WaitForFirstMemory() {
  const uint64_t enough = std::min<uint64_t>(arena_->data().size(), kFirstMemoryBytes);
  const MonotonicTime deadline = SystemClock::Get().Now() + kFirstMemoryTimeout;
  while (arena_->backed_bytes() < enough && !arena_->backing_finished() &&
         SystemClock::Get().Now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Node::~Node() {
  // The sessions end first; then nobody hands the loop's objects work any more.
  local_ = nullptr;
  cluster_ = nullptr;
  if (verifier_ != nullptr) verifier_->Stop();
  disk_ = nullptr;
  if (tasks_ != nullptr) tasks_->Close();
}

void Node::Run() {
  last_activity_ = next_tick_ = SystemClock::Get().Now();
  while (RunOnce()) {
  }
  // What other threads wait for, now or later, ends here rather than at their deadlines.
  tasks_->RunAll();
  tasks_->Close();
}

bool Node::RunOnce() {
  const MonotonicTime now = SystemClock::Get().Now();
  bool active = local_->PollOnce(now);
  bool progress = active;
  if (tasks_->pending()) {
    tasks_->RunAll();
    progress = true;
  }
  if (!backing_reported_) core_->GrowBackedBytes(arena_->backed_bytes());
  if (now >= next_tick_) Tick(now);
  if (disk_ != nullptr && disk_->TakeReports(*core_, now)) progress = active = true;
  if (cluster_ != nullptr && cluster_->TakeEvents(now)) progress = true;
  // Before this node turns to others. And whoever is answered may have more to say.
  if (HasAnswers(now) && AnswerWaiting(now)) active = true;
  // Last, so that nothing that is to be done waits while the loop sleeps.
  if (cluster_ != nullptr && cluster_->Step(progress, now)) progress = true;
  if (disk_ != nullptr && disk_->PassOrders(*core_, now)) progress = active = true;
  if (stop_.load(std::memory_order_relaxed)) return false;
  // Clients and disks are polled for. What comes from other threads and nodes is not: while many
  // bytes are on their way, whoever carries them needs the core more.
  if (active) last_activity_ = now;
  if (HasAnswers(now)) return true;
  const bool polling =
      now >= crowded_until_ && (now - last_activity_ < options_.spin_limit ||
                                (cluster_ != nullptr && cluster_->expects_soon(now)));
  // A little at a time, so that nobody who comes now waits for it.
  if (!polling && core_->insight().Study()) return true;
  if (!polling && local_->PrepareToSleep()) {
    // A client that woke us may have more to say.
    if (HandleEvents(TimeToSleep(now))) last_activity_ = SystemClock::Get().Now();
  } else if (++polls_ % kPollsPerEventCheck == 0) {
    // However much one client sends: others come, go and wake us. And the client that is polled for
    // may be waiting for this core.
    (void)HandleEvents(absl::ZeroDuration());
    if (!progress && OfferProcessor()) crowded_until_ = SystemClock::Get().Now() + kCrowdedRest;
  }
  return true;
}

bool Node::HasAnswers(MonotonicTime now) {
  if (cluster_ != nullptr) {
    for (const ClusterCore::Settled& settled : cluster_->core().TakeSettled()) {
      handler_->OnCopied(settled.wish.value, settled.ok);
    }
  }
  const bool late = handler_->next_deadline() && *handler_->next_deadline() <= now;
  return late || handler_->has_copied() || core_->loads_ended() != loads_ended_seen_;
}

absl::Duration Node::TimeToSleep(MonotonicTime now) const {
  MonotonicTime next = std::min(next_tick_, handler_->next_deadline().value_or(next_tick_));
  if (cluster_ != nullptr) next = std::min(next, cluster_->next_wakeup().value_or(next));
  return std::max(next - now, absl::ZeroDuration());
}

bool Node::HandleEvents(absl::Duration timeout) {
  const std::vector<Poller::Event>& events = poller_->Wait(timeout);
  bool by_client = false;
  const MonotonicTime now = SystemClock::Get().Now();
  for (const Poller::Event& event : events) {
    if ((event.token & LocalServer::kTokenBit) != 0) {
      local_->OnEvent(event, now);
      by_client = true;
    } else if (event.token == kOwnerToken) {
      LogInfo("owner is gone");
      Stop();
    }  // kTasksToken: the queue is looked at in every round.
  }
  return by_client;
}

bool Node::AnswerWaiting(MonotonicTime now) {
  loads_ended_seen_ = core_->loads_ended();
  bool answered = false;
  handler_->AnswerWaiting(
      now, [this](SessionId session) { return local_->CanAnswer(session); },
      [&](SessionId session, const RequestHandler::Reply& reply) {
        local_->AnswerLater(session, reply);
        answered = true;
      });
  return answered;
}

void Node::Tick(MonotonicTime now) {
  core_->Tick(now);
  local_->Tick(now);
  if (handler_->has_waiting()) (void)AnswerWaiting(now);
  const bool backing = !arena_->backing_finished();
  core_->GrowBackedBytes(arena_->backed_bytes());
  if (!backing && !backing_reported_) {
    backing_reported_ = true;
    if (const absl::Status status = arena_->backing_status(); !status.ok()) {
      LogError("arena is smaller than configured",
               {{"usable_bytes", absl::StrCat(arena_->backed_bytes())},
                {"why", std::string(status.message())}});
    }
  }
  const CoreStats stats = core_->Stats();
  const uint64_t writing = stats.reservations - stats.void_reservations;
  const bool moved = cluster_ == nullptr || cluster_->drained();
  if (drain_deadline_.nanoseconds != 0 && ((writing == 0 && moved) || now >= drain_deadline_)) {
    LogInfo("drained", {{"unfinished_reservations", absl::StrCat(writing)}});
    Stop();
  }
  const bool busy = backing || stats.reservations > 0 || local_->has_blocked() ||
                    handler_->has_waiting() || drain_deadline_.nanoseconds != 0;
  next_tick_ = now + (busy ? kBusyTickInterval : kTickInterval);
}

void Node::Stop() {
  stop_.store(true, std::memory_order_relaxed);
  (void)tasks_->Post([] {});  // Wakes the loop; a full queue means that it is awake.
}

void Node::Drain() {
  const absl::Status posted = tasks_->Post([this] {
    if (core_->draining()) return;
    LogInfo("draining");
    core_->StartDraining();
    local_->StopListening();
    const MonotonicTime now = SystemClock::Get().Now();
    drain_deadline_ = now + options_.drain_timeout;
    if (cluster_ != nullptr) cluster_->StartDrain(drain_deadline_, now);
    next_tick_ = now;
  });
  if (!posted.ok()) Stop();
}

absl::Status Node::WithCore(MonotonicTime deadline,
                            std::function<void(Core&, MonotonicTime)> task) {
  return tasks_->Call(deadline,
                      [this, task = std::move(task)] { task(*core_, SystemClock::Get().Now()); });
}

absl::StatusOr<SpaceHandle> Node::OpenSpace(const SpaceDescription& description) {
  const size_t known = core_->spaces().size();
  ASSIGN_OR_RETURN(const SpaceHandle handle, core_->OpenSpace(description));
  if (core_->spaces().size() != known) WriteSpaces();
  return handle;
}

void Node::VerifySoon(SpaceHandle space, std::span<const KeyHash> keys) {
  verifier_->Verify(space, keys, SystemClock::Get().Now());
}

}  // namespace larder

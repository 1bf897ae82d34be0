// Members as etcd knows them. One thread does everything, in sessions with one endpoint at a time:
// list, watch from there on, renew the lease, write the own record when it is not what it should
// be. Whatever goes wrong ends the session; the next one starts with a list.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/clock.h"
#include "common/random.h"
#include "daemon/cluster/etcd_client.h"
#include "daemon/cluster/etcd_endpoint.h"
#include "daemon/cluster/etcd_watch.h"
#include "daemon/cluster/member_source.h"
#include "daemon/cluster/wakeable_queue.h"

namespace larder {
namespace {

// Between rounds over all endpoints; doubled each time, with jitter, so that a thousand nodes do
// not come back in one moment.
constexpr absl::Duration kBackoffMin = absl::Milliseconds(100);
constexpr absl::Duration kBackoffMax = absl::Seconds(2);
constexpr int kBackoffDoublingsMax = 5;
constexpr absl::Duration kCallTimeoutMax = absl::Seconds(5);
// New sessions in a row that are no outage: a token that ran out, changes that were compacted away.
constexpr int kQuietRetriesMax = 3;
// Keys read at most; some may be no members.
constexpr int64_t kListedKeysMax = 2 * kMembersMax;

MonotonicTime Now() { return SystemClock::Get().Now(); }

class EtcdMembers final : public MemberSource {
 public:
  EtcdMembers(const EtcdOptions& options, std::vector<EtcdEndpoint> endpoints,
              const MemberRecord& self, MembersChanged changed)
      : options_(options),
        endpoints_(std::move(endpoints)),
        prefix_(absl::StrCat(options.prefix, options.cluster, "/members/")),
        renewal_interval_(options.lease_ttl / 3),
        call_timeout_(std::min(options.lease_ttl / 3, kCallTimeoutMax)),
        changed_(std::move(changed)),
        errors_(endpoints_.size()),
        table_(self, options.lease_ttl, Now()),
        thread_([this] { Run(); }) {}

  ~EtcdMembers() override;
  void Publish(const MemberRecord& self) override;
  void Withdraw(MonotonicTime deadline) override;
  MemberView View() const override;

 private:
  enum class Event { kNone, kTimeout, kResponse, kEnded };
  enum class Leaving { kNo, kAsked, kDone };

  // On the source's own thread.
  void Run();
  absl::Status RunSession(const EtcdEndpoint& endpoint);
  absl::Status FollowWatch();
  absl::Status Apply(const etcdserverpb::WatchResponse& response);
  absl::Status RenewLease();
  absl::Status BringUpToDate();
  absl::Status PutRecord(const MemberRecord& record);
  absl::Status Leave(MemberRecord record, bool name_taken);
  void CloseWatch();
  Event Pump(MonotonicTime deadline);
  void Lose(size_t endpoint, const absl::Status& why);
  void Pause(int rounds);
  void Notify();
  bool stopping();

  const EtcdOptions options_;
  const std::vector<EtcdEndpoint> endpoints_;
  const std::string prefix_;
  const absl::Duration renewal_interval_;
  const absl::Duration call_timeout_;
  const MembersChanged changed_;

  // The thread's own.
  SystemRandom random_;
  std::optional<EtcdClient> client_;
  std::optional<EtcdWatch> watch_;
  std::string token_;
  int64_t lease_ = 0;
  std::vector<std::string> errors_;  // of each endpoint since the last session
  uint64_t notified_ = 0;

  CallGate gate_;
  WakeableQueue queue_;
  mutable std::mutex mutex_;  // of all below
  MemberTable table_;
  bool stopping_ = false;
  Leaving leaving_ = Leaving::kNo;
  std::condition_variable left_;

  std::thread thread_;  // started last
};

EtcdMembers::~EtcdMembers() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  queue_.Wake();
  gate_.Stop();
  thread_.join();
}

void EtcdMembers::Publish(const MemberRecord& self) {
  std::lock_guard lock(mutex_);
  table_.SetSelf(self);
  queue_.Wake();
}

void EtcdMembers::Withdraw(MonotonicTime deadline) {
  std::unique_lock lock(mutex_);
  if (leaving_ == Leaving::kNo) leaving_ = Leaving::kAsked;
  queue_.Wake();
  const std::chrono::nanoseconds patience = absl::ToChronoNanoseconds(deadline - Now());
  left_.wait_for(lock, patience,
                 [this] { return leaving_ == Leaving::kDone || !table_.reachable(); });
}

MemberView EtcdMembers::View() const {
  std::lock_guard lock(mutex_);
  return table_.View(Now());
}

bool EtcdMembers::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void EtcdMembers::Run() {
  const size_t count = endpoints_.size();
  size_t endpoint = random_.Below(count);
  int quiet_retries = 0;
  size_t failures = 0;
  while (true) {
    const bool had_token = !token_.empty();
    const MonotonicTime began = Now();
    const absl::Status end = RunSession(endpoints_[endpoint]);
    CloseWatch();
    if (stopping()) return;
    if (!absl::IsUnavailable(end) && !absl::IsDeadlineExceeded(end)) token_.clear();
    if (Now() - began >= options_.lease_ttl) {
      quiet_retries = 0;
      failures = 0;
    }
    const bool no_outage = absl::IsOutOfRange(end) || (absl::IsUnauthenticated(end) && had_token);
    if (no_outage && ++quiet_retries <= kQuietRetriesMax) continue;
    Lose(endpoint, end);
    endpoint = (endpoint + 1) % count;
    if (++failures % count == 0) Pause(static_cast<int>(failures / count));
  }
}

void EtcdMembers::Lose(size_t endpoint, const absl::Status& why) {
  errors_[endpoint] = absl::StrCat("etcd at ", endpoints_[endpoint].address, ": ",
                                   absl::StatusCodeToString(why.code()), ": ", why.message());
  // All of them, so that the text is the same after each round.
  std::vector<absl::string_view> known;
  for (const std::string& error : errors_) {
    if (!error.empty()) known.push_back(error);
  }
  {
    std::lock_guard lock(mutex_);
    table_.OnLost(absl::StrJoin(known, "; "));
  }
  left_.notify_all();
  Notify();
}

void EtcdMembers::Pause(int rounds) {
  const absl::Duration full =
      std::min(kBackoffMin * (1 << std::min(rounds, kBackoffDoublingsMax)), kBackoffMax);
  const MonotonicTime end = Now() + full * (0.5 + 0.5 * random_.Unit());
  while (!stopping() && Now() < end) Pump(end);
}

// The callback runs without the lock: it may ask for the view.
void EtcdMembers::Notify() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || table_.revision() == notified_) return;
    notified_ = table_.revision();
  }
  if (changed_) changed_();
}

EtcdMembers::Event EtcdMembers::Pump(MonotonicTime deadline) {
  const std::optional<WakeableQueue::Completion> completion = queue_.Take(deadline);
  if (!completion) return Event::kTimeout;
  if (completion->tag == nullptr) return Event::kNone;
  const EtcdWatch::Step step = watch_->OnCompletion(completion->tag, completion->ok);
  if (step == EtcdWatch::Step::kResponse) return Event::kResponse;
  return step == EtcdWatch::Step::kEnded ? Event::kEnded : Event::kNone;
}

void EtcdMembers::CloseWatch() {
  if (!watch_) return;
  watch_->Cancel();
  while (watch_->busy()) Pump(Now() + call_timeout_);
  watch_.reset();
}

absl::Status EtcdMembers::RunSession(const EtcdEndpoint& endpoint) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                   OpenEtcdChannel(options_, endpoint));
  client_.emplace(channel, call_timeout_, &gate_);
  if (!options_.user.empty() && token_.empty()) {
    ASSIGN_OR_RETURN(token_, client_->Authenticate(options_.user, options_.password));
  }
  client_->set_token(token_);
  ASSIGN_OR_RETURN(const EtcdClient::Listing listing, client_->List(prefix_, kListedKeysMax));
  {
    std::lock_guard lock(mutex_);
    table_.OnList(listing.entries, listing.more, Now());
  }
  std::fill(errors_.begin(), errors_.end(), "");
  Notify();
  watch_.emplace(channel, token_, prefix_, listing.revision + 1, queue_.queue());
  return FollowWatch();
}

absl::Status EtcdMembers::FollowWatch() {
  MonotonicTime renew_at = Now();
  MonotonicTime heard = renew_at;
  const absl::Duration silence_max = renewal_interval_ + call_timeout_;
  while (true) {
    if (Now() >= renew_at) {
      renew_at = Now() + renewal_interval_;
      watch_->AskProgress();
      RETURN_IF_ERROR(RenewLease());
    }
    RETURN_IF_ERROR(BringUpToDate());
    MonotonicTime next = std::min(renew_at, heard + silence_max);
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return absl::CancelledError("stopping");
      table_.Tick(Now());
      next = std::min(next, table_.next_wakeup().value_or(next));
    }
    Notify();
    const Event event = Pump(next);
    if (event == Event::kEnded) return watch_->status();
    if (event == Event::kResponse) {
      heard = Now();
      RETURN_IF_ERROR(Apply(watch_->response()));
      watch_->Continue();
    }
    if (event == Event::kTimeout && Now() - heard >= silence_max) {
      return absl::DeadlineExceededError("the watch is silent");
    }
  }
}

absl::Status EtcdMembers::Apply(const etcdserverpb::WatchResponse& response) {
  if (response.compact_revision() != 0) {
    return absl::OutOfRangeError("changes were compacted away before they were read");
  }
  if (response.canceled()) {
    return absl::AbortedError(
        absl::StrCat("the watch was canceled: ", ShownReason(response.cancel_reason())));
  }
  std::lock_guard lock(mutex_);
  const MonotonicTime now = Now();
  table_.OnHeard(now);
  for (const etcdserverpb::Event& event : response.events()) {
    absl::string_view name = event.kv().key();
    if (!absl::ConsumePrefix(&name, prefix_)) continue;
    const int64_t revision = event.kv().mod_revision();
    if (event.type() == etcdserverpb::Event::DELETE) {
      table_.OnDelete(name, revision, now);
    } else {
      table_.OnPut({std::string(name), event.kv().value(), revision}, now);
    }
  }
  return absl::OkStatus();
}

absl::Status EtcdMembers::RenewLease() {
  if (lease_ == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool alive, client_->RenewLease(lease_));
  std::lock_guard lock(mutex_);
  table_.OnHeard(Now());
  if (alive) return absl::OkStatus();
  lease_ = 0;
  table_.OnUnpublished();
  return absl::OkStatus();
}

// Writes the own record when it is not what it should be, or takes it away.
absl::Status EtcdMembers::BringUpToDate() {
  MemberRecord record;
  bool leave = false, taken = false;
  {
    std::lock_guard lock(mutex_);
    if (leaving_ == Leaving::kDone) return absl::OkStatus();
    leave = leaving_ == Leaving::kAsked;
    if (!leave && !table_.must_publish()) return absl::OkStatus();
    record = table_.self();
    taken = table_.name_taken();
  }
  return leave ? Leave(std::move(record), taken) : PutRecord(record);
}

absl::Status EtcdMembers::PutRecord(const MemberRecord& record) {
  if (lease_ == 0) {
    ASSIGN_OR_RETURN(lease_, client_->GrantLease(options_.lease_ttl));
  }
  const absl::StatusOr<int64_t> revision =
      client_->Put(prefix_ + record.name, EncodeMember(record), lease_);
  if (absl::IsNotFound(revision.status())) {
    // The lease ran out; the record still waits to be written, under the next one.
    lease_ = 0;
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(revision.status());
  std::lock_guard lock(mutex_);
  table_.OnPublished(record, *revision);
  return absl::OkStatus();
}

// First the last word, which others take at once, then the lease with the record.
absl::Status EtcdMembers::Leave(MemberRecord record, bool name_taken) {
  absl::Status status;
  if (lease_ != 0) {
    record.leaving = true;
    if (!name_taken) {
      status.Update(client_->Put(prefix_ + record.name, EncodeMember(record), lease_).status());
    }
    status.Update(client_->RevokeLease(lease_));
    lease_ = 0;
  }
  {
    std::lock_guard lock(mutex_);
    leaving_ = Leaving::kDone;
  }
  left_.notify_all();
  // A lease that ran out took the record along.
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemberSource>> StartEtcdMembers(const EtcdOptions& options,
                                                               const MemberRecord& self,
                                                               MembersChanged changed) {
  ASSIGN_OR_RETURN(std::vector<EtcdEndpoint> endpoints, CheckEtcdOptions(options));
  RETURN_IF_ERROR(Annotate(CheckMember(self), "this node"));
  for (const EtcdEndpoint& endpoint : endpoints) {
    RETURN_IF_ERROR(OpenEtcdChannel(options, endpoint).status());  // reads the files
  }
  return std::make_unique<EtcdMembers>(options, std::move(endpoints), self, std::move(changed));
}

}  // namespace larder

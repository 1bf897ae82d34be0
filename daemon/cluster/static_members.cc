// Members behind a fixed list of addresses, each asked once an interval. One thread, whose calls
// are all under way at the same time.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/async_unary_call.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "daemon/cluster/member_source.h"
#include "daemon/cluster/proof.h"
#include "daemon/cluster/static_table.h"
#include "daemon/cluster/wakeable_queue.h"
#include "proto/larder/v1/cluster.grpc.pb.h"

namespace larder {
namespace {

constexpr absl::Duration kAnswerTimeoutMax = absl::Seconds(1);
constexpr absl::Duration kIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kIntervalMax = absl::Hours(1);
constexpr int kReceivedBytesMax = 64 << 10;

MonotonicTime Now() { return SystemClock::Get().Now(); }

MemberRecord RecordOf(const v1::DescribeResponse& response) {
  return {.name = response.name(),
          .epoch = response.epoch(),
          .peer_address = response.peer_address(),
          .rpc_address = response.rpc_address(),
          .draining = response.draining(),
          .directory = response.directory(),
          .leaving = false,
          .memory_bytes = response.memory_bytes(),
          .disk_bytes = response.disk_bytes(),
          .version = response.version()};
}

// One address, and the question that is under way.
struct Asked {
  std::unique_ptr<v1::Cluster::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;  // null: none under way
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::DescribeResponse>> reader;
  v1::DescribeResponse response;
  grpc::Status status;
};

class StaticMembers final : public MemberSource {
 public:
  StaticMembers(const StaticOptions& options, const MemberRecord& self, MembersChanged changed);
  ~StaticMembers() override;

  void Publish(const MemberRecord& self) override {
    std::lock_guard lock(mutex_);
    table_.SetSelf(self);
    queue_.Wake();
  }
  void Withdraw(MonotonicTime) override {}
  MemberView View() const override {
    std::lock_guard lock(mutex_);
    return table_.view();
  }

 private:
  void Run();
  void Ask(Asked* asked);
  void Take(MonotonicTime deadline);
  void OnEnd(size_t index);
  void Notify();
  bool stopping();

  const absl::Duration poll_interval_;
  const absl::Duration answer_timeout_;
  const MembersChanged changed_;
  v1::DescribeRequest request_;

  // The thread's own.
  std::vector<Asked> asked_;
  size_t under_way_ = 0;
  uint64_t notified_ = 0;

  WakeableQueue queue_;
  mutable std::mutex mutex_;  // of all below
  StaticTable table_;
  bool stopping_ = false;

  std::thread thread_;  // started last
};

StaticMembers::StaticMembers(const StaticOptions& options, const MemberRecord& self,
                             MembersChanged changed)
    : poll_interval_(options.poll_interval),
      answer_timeout_(std::min(options.member_timeout, kAnswerTimeoutMax)),
      changed_(std::move(changed)),
      asked_(options.addresses.size()),
      table_(self, options.addresses, options.member_timeout) {
  request_.set_cluster(options.cluster);
  request_.set_proof(ClusterProof(options.secret, options.cluster));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kReceivedBytesMax);
  // A node that comes back is found by the next question or the one after.
  const int backoff_ms = static_cast<int>(absl::ToInt64Milliseconds(answer_timeout_));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, backoff_ms);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, backoff_ms);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, backoff_ms);
  for (size_t i = 0; i < asked_.size(); ++i) {
    asked_[i].stub = v1::Cluster::NewStub(grpc::CreateCustomChannel(
        options.addresses[i], grpc::InsecureChannelCredentials(), arguments));
  }
  thread_ = std::thread([this] { Run(); });
}

StaticMembers::~StaticMembers() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  queue_.Wake();
  thread_.join();
}

bool StaticMembers::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void StaticMembers::Run() {
  while (!stopping()) {
    for (Asked& asked : asked_) {
      if (asked.context == nullptr) Ask(&asked);
    }
    const MonotonicTime next = Now() + poll_interval_;
    while (!stopping() && Now() < next) {
      Take(next);
      {
        std::lock_guard lock(mutex_);
        table_.Tick(Now());
      }
      Notify();
    }
  }
  for (Asked& asked : asked_) {
    if (asked.context != nullptr) asked.context->TryCancel();
  }
  while (under_way_ > 0) Take(Now() + answer_timeout_);
}

void StaticMembers::Ask(Asked* asked) {
  asked->context = std::make_unique<grpc::ClientContext>();
  asked->context->set_deadline(std::chrono::system_clock::now() +
                               absl::ToChronoNanoseconds(answer_timeout_));
  ++under_way_;
  asked->reader = asked->stub->AsyncDescribe(asked->context.get(), request_, queue_.queue());
  asked->reader->Finish(&asked->response, &asked->status, asked);
}

void StaticMembers::Take(MonotonicTime deadline) {
  const std::optional<WakeableQueue::Completion> completion = queue_.Take(deadline);
  if (!completion || completion->tag == nullptr) return;
  --under_way_;
  OnEnd(static_cast<size_t>(static_cast<Asked*>(completion->tag) - asked_.data()));
}

void StaticMembers::OnEnd(size_t index) {
  Asked& asked = asked_[index];
  {
    std::lock_guard lock(mutex_);
    if (asked.status.ok()) {
      table_.OnAnswer(index, RecordOf(asked.response), Now());
    } else {
      const auto code = static_cast<absl::StatusCode>(asked.status.error_code());
      table_.OnFailure(index,
                       absl::StrCat(absl::StatusCodeToString(code), ": ",
                                    ShownReason(asked.status.error_message())),
                       Now());
    }
  }
  asked.reader.reset();
  asked.context.reset();
}

// The callback runs without the lock: it may ask for the view.
void StaticMembers::Notify() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || table_.view().revision == notified_) return;
    notified_ = table_.view().revision;
  }
  if (changed_) changed_();
}

absl::Status CheckOptions(const StaticOptions& options) {
  if (options.addresses.empty() || options.addresses.size() > kStaticAddressesMax) {
    return absl::InvalidArgumentError(absl::StrCat("peers are ", options.addresses.size(),
                                                   ", must be 1 to ", kStaticAddressesMax));
  }
  for (const std::string& address : options.addresses) {
    RETURN_IF_ERROR(CheckMemberAddress("peer", address));
  }
  RETURN_IF_ERROR(Annotate(CheckMemberName(options.cluster), "cluster"));
  if (options.poll_interval < kIntervalMin || options.poll_interval > kIntervalMax) {
    return absl::InvalidArgumentError(absl::StrCat("poll_interval is not ",
                                                   absl::FormatDuration(kIntervalMin), " to ",
                                                   absl::FormatDuration(kIntervalMax)));
  }
  if (options.member_timeout < options.poll_interval || options.member_timeout > kIntervalMax) {
    return absl::InvalidArgumentError(absl::StrCat("member_timeout is not poll_interval to ",
                                                   absl::FormatDuration(kIntervalMax)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemberSource>> StartStaticMembers(const StaticOptions& options,
                                                                 const MemberRecord& self,
                                                                 MembersChanged changed) {
  RETURN_IF_ERROR(CheckOptions(options));
  RETURN_IF_ERROR(Annotate(CheckMember(self), "this node"));
  return std::make_unique<StaticMembers>(options, self, std::move(changed));
}

}  // namespace larder

#include "daemon/rpc/cluster_link.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "daemon/node/log.h"

namespace larder {
namespace {

constexpr absl::Duration kLeaveTimeout = absl::Seconds(2);

class NodeSource : public ClusterSource {
 public:
  explicit NodeSource(ClusterNode* node) : node_(node) {}

  absl::Status Describe(v1::DescribeResponse* response) override {
    const MemberRecord self = node_->self();
    response->set_name(self.name);
    response->set_epoch(self.epoch);
    response->set_peer_address(self.peer_address);
    response->set_rpc_address(self.rpc_address);
    response->set_draining(self.draining);
    response->set_directory(self.directory);
    response->set_memory_bytes(self.memory_bytes);
    response->set_disk_bytes(self.disk_bytes);
    response->set_version(self.version);
    return absl::OkStatus();
  }

  LogEnd End() override {
    return {.epoch = node_->self().epoch, .next_sequence = node_->log_end()};
  }

  EventLog::ReadResult ReadLog(uint64_t from, size_t limit, std::vector<ChunkEvent>* events,
                               LogEnd* end) override {
    end->epoch = node_->self().epoch;
    return node_->ReadLog(from, limit, events, &end->next_sequence);
  }

  absl::StatusOr<bool> SnapshotStep(uint64_t* cursor, size_t limit,
                                    std::vector<ChunkEvent>* events) override {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> next,
                     node_->SnapshotStep(*cursor, limit, events));
    if (!next) return false;
    *cursor = *next;
    return true;
  }

 private:
  ClusterNode* const node_;
};

class NodeSink : public FollowHandler {
 public:
  explicit NodeSink(ClusterNode* node) : node_(node) {}

  FollowPosition OnStreamOpen(const std::string& node) override {
    return node_->OnFollowOpen(node);
  }
  IndexFollower::Taken OnBatch(const std::string& node, FollowBatch& batch) override {
    return node_->OnFollowBatch(node, batch);
  }
  void OnStreamEnd(const std::string& node, absl::StatusCode code, const std::string& why,
                   bool broken) override {
    if (code != absl::StatusCode::kCancelled) {
      LogInfo("follow ended", {{"node", node}, {"why", why}});
    }
    node_->OnFollowEnd(node, broken);
  }

 private:
  ClusterNode* const node_;
};

}  // namespace

std::unique_ptr<ClusterSource> MakeClusterSource(ClusterNode* node) {
  return std::make_unique<NodeSource>(node);
}

ClusterLink::ClusterLink(ClusterNode* node)
    : node_(node), sink_(std::make_unique<NodeSink>(node)) {}

absl::StatusOr<std::unique_ptr<ClusterLink>> ClusterLink::Start(ClusterNode* node,
                                                                const std::string& rpc_address) {
  if (rpc_address.empty() || rpc_address.rfind("unix:", 0) == 0) {
    return absl::InvalidArgumentError(
        "grpc.listen: a node of a cluster is followed over gRPC and needs a HOST:PORT");
  }
  std::unique_ptr<ClusterLink> link(new ClusterLink(node));
  IndexFollowersOptions options;
  options.self = node->self().name;
  options.cluster = node->options().name;
  options.secret = node->secret();
  link->followers_ = std::make_unique<IndexFollowers>(options, link->sink_.get());
  RETURN_IF_ERROR(link->StartMembers(rpc_address));
  return link;
}

absl::Status ClusterLink::StartMembers(const std::string& rpc_address) {
  const ClusterNodeOptions& options = node_->options();
  const std::vector<std::string> peers = SplitList(options.peers);
  const std::vector<std::string> endpoints = SplitList(options.etcd);
  if (!peers.empty() && !endpoints.empty()) {
    return absl::InvalidArgumentError("cluster.peers and cluster.etcd are both set; one says it");
  }
  const MemberRecord self = node_->Announce(rpc_address, [this](const MemberRecord& changed) {
    if (members_ != nullptr) members_->Publish(changed);
  });
  const auto changed = [this] { OnMembersChanged(); };
  if (endpoints.empty()) {
    StaticOptions fixed;
    fixed.addresses = peers;
    fixed.cluster = options.name;
    fixed.secret = node_->secret();
    fixed.member_timeout = options.member_timeout;
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(members_, StartStaticMembers(fixed, self, changed));
  } else {
    EtcdOptions etcd;
    etcd.endpoints = endpoints;
    etcd.prefix = options.etcd_prefix;
    etcd.cluster = options.name;
    etcd.user = options.etcd_user;
    ASSIGN_OR_RETURN(etcd.password, ReadSecretFile(options.etcd_password_file));
    etcd.ca_file = options.etcd_ca_file;
    etcd.certificate_file = options.etcd_certificate_file;
    etcd.key_file = options.etcd_key_file;
    etcd.lease_ttl = options.lease_ttl;
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(members_, StartEtcdMembers(etcd, self, changed));
  }
  OnMembersChanged();
  return absl::OkStatus();
}

void ClusterLink::OnMembersChanged() {
  MemberSource* source = nullptr;
  {
    const std::lock_guard lock(mutex_);
    source = members_.get();
  }
  MemberView view = source->View();
  std::vector<FollowedNode> followed;
  const std::string self = node_->self().name;
  const bool follows = !AsksDirectory(self, view.members);
  for (const MemberRecord& member : view.members) {
    if (member.name == self || !follows) continue;
    followed.push_back(
        {.name = member.name, .epoch = member.epoch, .rpc_address = member.rpc_address});
  }
  node_->SetMembers(std::move(view));
  followers_->SetNodes(followed);
}

ClusterLink::~ClusterLink() {
  if (members_ != nullptr) members_->Withdraw(SystemClock::Get().Now() + kLeaveTimeout);
  members_ = nullptr;
}

}  // namespace larder

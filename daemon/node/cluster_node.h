// This node among others: carries what the cluster's pure core decides to the peer transport, to
// those who follow this node's index, and back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/status.h"
#include "daemon/cluster/cluster_core.h"
#include "daemon/cluster/members.h"
#include "daemon/index/event_log.h"
#include "daemon/node/peer_mailbox.h"
#include "daemon/node/task_queue.h"
#include "transport/peer/peer_transport.h"

namespace larder {

// What settings say; the file names are read at the start.
struct ClusterNodeOptions {
  std::string name;  // of the cluster; empty: this node is alone
  std::string node;  // this node's name; empty: the host's
  std::string secret_file;
  std::string listen = "127.0.0.1:7413";  // of the peer transport
  // HOST:PORT at which others reach this node; empty: where it listens.
  std::string advertise, rpc_advertise;
  // Where the members are known: the nodes' gRPC addresses, or etcd's endpoints, with commas.
  std::string peers, etcd;
  std::string etcd_prefix = "/larder/", etcd_user, etcd_password_file;
  std::string etcd_ca_file, etcd_certificate_file, etcd_key_file;
  absl::Duration lease_ttl = absl::Seconds(10);
  absl::Duration member_timeout = absl::Seconds(5);
  std::string engine = "auto";  // of the sockets: auto, io_uring, epoll
  uint32_t connections = 1;     // to each peer
  bool send_file = false;       // see PeerTransportOptions
  bool directory = false;
  uint32_t event_log = 1 << 20;
  uint64_t index_entries_max = 64'000'000;
  ClusterCoreOptions core = {};  // its name, granule and index are filled in
};

// The first line of a file that holds a secret; nothing for no file. INVALID_ARGUMENT when it can't
// be read, is empty or too long.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);
// The parts of a list with commas, without empty ones.
std::vector<std::string> SplitList(absl::string_view list);

// What others are to know of this node besides.
struct ClusterNodeFacts {
  uint64_t epoch = 0;
  uint64_t memory_bytes = 0, disk_bytes = 0;
  uint64_t granule_bytes = 4096;
  std::string version;
};

// Who this node's members are comes from outside (SetMembers), so that neither gRPC nor etcd is
// needed here. Functions marked "loop" are for the event loop's thread, all others for any.
class ClusterNode {
 public:
  // Listens to peers; nobody is known before SetMembers. What is passed outlives it.
  static absl::StatusOr<std::unique_ptr<ClusterNode>> Start(const ClusterNodeOptions& options,
                                                            const ClusterNodeFacts& facts,
                                                            Core* core, const PeerMemory& arena,
                                                            TaskQueue* tasks,
                                                            ClusterCore::OpenSpace open_space);
  // REQUIRES: no other thread calls it any more.
  ~ClusterNode();

  // What this node says of itself, with its gRPC address. `changed` is called with it whenever it
  // changes later, on the loop's thread.
  MemberRecord Announce(const std::string& rpc_address,
                        std::function<void(const MemberRecord&)> changed);
  void SetMembers(MemberView view);
  MemberView members() const;

  // Loop. Takes in what has come from others. True if anything has.
  bool TakeEvents(MonotonicTime now);
  // Loop. Carries out what the core has to say to others. `progress`: it has done something since
  // the last call. True if anything happened.
  bool Step(bool progress, MonotonicTime now);
  // Loop. When Step has to be called at the latest.
  std::optional<MonotonicTime> next_wakeup() const { return next_wakeup_; }
  // Loop. A chunk is on its way and may be here so soon that sleeping does not pay.
  bool expects_soon(MonotonicTime now) const { return now < soon_until_; }
  // Loop. Offers what is here to others and says so to the members.
  void StartDrain(MonotonicTime deadline, MonotonicTime now);
  // Loop. Nothing is left to offer.
  bool drained() const {
    return cluster_->drain().state == Replication::DrainProgress::State::kDone;
  }
  // Loop.
  ClusterCore& core() { return *cluster_; }

  const ClusterNodeOptions& options() const { return options_; }
  const std::string& secret() const { return secret_; }
  PeerTransportStats TransportStats() const { return transport_->Stats(); }
  uint64_t dropped_messages() const { return mailbox_->dropped(); }

  // This node's own record.
  MemberRecord self() const;

  // This node's log, for those who follow it.
  uint64_t log_end() const;
  // As EventLog::Read; `*end` is the log's at that moment.
  EventLog::ReadResult ReadLog(uint64_t from, size_t limit, std::vector<ChunkEvent>* events,
                               uint64_t* end) const;
  // As ClusterCore::SnapshotStep, on the loop. UNAVAILABLE when the node stops, DEADLINE_EXCEEDED
  // when the loop is too busy.
  absl::StatusOr<std::optional<uint64_t>> SnapshotStep(uint64_t cursor, size_t limit,
                                                       std::vector<ChunkEvent>* events);

  // Streams of other nodes' logs, as ClusterCore takes them; answered by the loop. kLater when it
  // is too busy.
  FollowPosition OnFollowOpen(const std::string& node);
  IndexFollower::Taken OnFollowBatch(const std::string& node, const FollowBatch& batch);
  void OnFollowEnd(const std::string& node, bool broken);

 private:
  ClusterNode(const ClusterNodeOptions& options, const ClusterNodeFacts& facts, TaskQueue* tasks);
  absl::Status Init(const ClusterNodeFacts& facts, Core* core, const PeerMemory& arena,
                    ClusterCore::OpenSpace open_space);
  void HandleEvent(PeerEvent& event, MonotonicTime now);
  void NoteWhatIsUnderWay(bool news, MonotonicTime now);
  void CarryOut(ClusterOrder& order, MonotonicTime now);
  bool PublishChanges();
  void TakeMembers(MonotonicTime now);

  ClusterNodeOptions options_;
  std::string secret_;
  TaskQueue* const tasks_;
  std::unique_ptr<PeerMailbox> mailbox_;
  std::unique_ptr<ClusterCore> cluster_;
  std::unique_ptr<PeerTransport> transport_;
  std::optional<MonotonicTime> next_wakeup_;
  MonotonicTime soon_until_;

  mutable std::mutex members_mutex_;
  MemberRecord self_;
  MemberView members_;
  MonotonicTime members_set_ = SystemClock::Get().Now();
  std::function<void(const MemberRecord&)> self_changed_;

  mutable std::mutex log_mutex_;
  EventLog log_;
  std::vector<ChunkEvent> new_events_;  // kept between calls
};

}  // namespace larder

// Where the members of the cluster come from: etcd, or a fixed list of addresses.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/cluster/members.h"

namespace larder {

// Thread-safe. Has one thread of its own; destroying it ends that thread within a bounded time,
// whatever the other side does, and does not withdraw this node.
class MemberSource {
 public:
  virtual ~MemberSource() = default;

  // This node's record from now on, with the same name and epoch. One that is not valid
  // (CheckMember) or of another name or epoch is not published and becomes the view's problem.
  virtual void Publish(const MemberRecord& self) = 0;

  // Leaves: the record goes at once, nothing is published any more. Returns when that is done, when
  // the source is away (the lease then runs out by itself), or at the deadline.
  virtual void Withdraw(MonotonicTime deadline) = 0;

  virtual MemberView View() const = 0;
};

// Called on the source's thread after View() has changed; must not block, may call the source
// except for Withdraw. Not called before Start... has returned nor after the source is destroyed.
using MembersChanged = std::function<void()>;

struct EtcdOptions {
  // HOST:PORT, also http:// or https:// and HOST:PORT; at least one, at most kEtcdEndpointsMax.
  // Tried in turn from a random one on.
  std::vector<std::string> endpoints;
  std::string prefix = "/larder/";  // of all keys; printable, ends in '/'
  std::string cluster;              // like a node's name; clusters of other names are not seen
  std::string user;                 // empty: no authentication
  std::string password;
  // PEM files. Any of them, or https:// endpoints, means TLS; read again for each new connection.
  std::string ca_file;           // empty: the system's authorities
  std::string certificate_file;  // both or neither: what this node shows
  std::string key_file;
  // How long a node that is killed stays a member; whole seconds, 2 s to 1 h. It also bounds how
  // long an etcd that hangs goes unnoticed: two thirds of it.
  absl::Duration lease_ttl = absl::Seconds(10);
};
inline constexpr size_t kEtcdEndpointsMax = 16;

// Returns without waiting for etcd. INVALID_ARGUMENT for bad options or files that can't be read.
absl::StatusOr<std::unique_ptr<MemberSource>> StartEtcdMembers(const EtcdOptions& options,
                                                               const MemberRecord& self,
                                                               MembersChanged changed);

struct StaticOptions {
  // gRPC addresses (HOST:PORT) of the nodes, at most kStaticAddressesMax; this node's own may be
  // among them.
  std::vector<std::string> addresses;
  std::string cluster;
  std::string secret;  // proves to the others that this node belongs to the cluster
  absl::Duration poll_interval =
      absl::Seconds(1);  // also how long an answer may take; 10 ms to 1 h
  absl::Duration member_timeout = absl::Seconds(5);  // not heard for so long: gone
};
inline constexpr size_t kStaticAddressesMax = 256;

// Asks each address for what it is. Others learn that this node leaves by its silence, so Withdraw
// has nothing to do. INVALID_ARGUMENT for bad options.
absl::StatusOr<std::unique_ptr<MemberSource>> StartStaticMembers(const StaticOptions& options,
                                                                 const MemberRecord& self,
                                                                 MembersChanged changed);

}  // namespace larder

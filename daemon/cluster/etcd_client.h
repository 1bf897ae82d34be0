// The calls of etcd that answer once: each waits for its answer, with a deadline.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/status.h"
#include "daemon/cluster/members.h"
#include "proto/etcd/etcd.grpc.pb.h"

namespace larder {

// gRPC numbers its codes alike.
absl::Status FromEtcd(const grpc::Status& status);

// The first key after all those that start with `prefix`. REQUIRES: prefix ends in '/'.
std::string EndOfPrefix(absl::string_view prefix);

// Ends the call that another thread waits for. Thread-safe; outlives the clients that use it.
class CallGate {
 public:
  // Cancels the call under way and every later one.
  void Stop();

 private:
  friend class EtcdClient;

  // False once stopped.
  bool Enter(grpc::ClientContext* context);
  void Leave();

  std::mutex mutex_;
  bool stopped_ = false;
  grpc::ClientContext* current_ = nullptr;
};

// One connection. Not thread-safe: one thread calls.
class EtcdClient {
 public:
  EtcdClient(std::shared_ptr<grpc::Channel> channel, absl::Duration call_timeout, CallGate* gate);

  // Of all later calls; empty for none.
  void set_token(std::string token) { token_ = std::move(token); }
  absl::StatusOr<std::string> Authenticate(const std::string& user, const std::string& password);

  struct Listing {
    std::vector<MemberTable::Entry> entries;  // names without the prefix
    bool more = false;
    int64_t revision = 0;  // of the store
  };
  absl::StatusOr<Listing> List(const std::string& prefix, int64_t limit);

  // The store's revision after the change.
  absl::StatusOr<int64_t> Put(const std::string& key, const std::string& value, int64_t lease);

  absl::StatusOr<int64_t> GrantLease(absl::Duration ttl);
  // False: there is no such lease any more.
  absl::StatusOr<bool> RenewLease(int64_t lease);
  absl::Status RevokeLease(int64_t lease);

 private:
  // Runs call(&context) under the deadline, with the token.
  template <typename Call>
  absl::Status Run(const Call& call);

  const absl::Duration call_timeout_;
  CallGate* const gate_;
  std::string token_;
  std::unique_ptr<etcdserverpb::KV::Stub> values_;
  std::unique_ptr<etcdserverpb::Lease::Stub> leases_;
  std::unique_ptr<etcdserverpb::Auth::Stub> auth_;
};

}  // namespace larder

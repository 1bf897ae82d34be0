// Nodes as members of a cluster in a real etcd, without the rest of a node.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/cluster/member_source.h"
#include "tests/e2e/etcd_process.h"

namespace larder {

inline MemberRecord TestMember(absl::string_view name, uint64_t epoch) {
  return {.name = std::string(name),
          .epoch = epoch,
          .peer_address = "127.0.0.1:7420",
          .rpc_address = "127.0.0.1:7411",
          .memory_bytes = 1 << 30,
          .version = "test"};
}

// One member, which watches its own view. Thread-safe where MemberSource is.
class TestNode {
 public:
  TestNode(const EtcdOptions& options, absl::string_view name, uint64_t epoch = 1);
  // Ends it as a kill would: without a word to etcd.
  ~TestNode() { source_.reset(); }

  MemberSource& source() { return *source_; }
  MemberView View() const { return source_->View(); }
  std::vector<std::string> Names() const;
  // Waits until it sees exactly these.
  bool Sees(const std::vector<std::string>& names, absl::Duration patience = kPatience) const;
  bool Reaches(bool reachable, absl::Duration patience = kPatience) const;
  // From now on; how few members a view has had since.
  void ResetFewest();
  size_t fewest() const;

 private:
  void OnChange();

  mutable std::mutex mutex_;
  size_t fewest_ = SIZE_MAX;
  MemberSource* watched_ = nullptr;
  std::unique_ptr<MemberSource> source_;
};

// An etcd of its own for each test, or a skipped test.
class MembersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = EtcdProcess::WhyNot(); !why.empty()) GTEST_SKIP() << why;
  }
  void StartEtcd(EtcdProcessOptions options = {});
  EtcdOptions Options() const;
  static std::string KeyOf(absl::string_view name);

  static constexpr absl::Duration kLease = absl::Seconds(3);

  SharedDirectory directory_;
  std::unique_ptr<EtcdProcess> etcd_;
};

}  // namespace larder

#include "tests/e2e/members_fixture.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace larder {

TestNode::TestNode(const EtcdOptions& options, absl::string_view name, uint64_t epoch) {
  absl::StatusOr<std::unique_ptr<MemberSource>> source =
      StartEtcdMembers(options, TestMember(name, epoch), [this] { OnChange(); });
  EXPECT_TRUE(source.ok()) << source.status();
  std::lock_guard lock(mutex_);
  source_ = *std::move(source);
  watched_ = source_.get();
}

void TestNode::OnChange() {
  std::lock_guard lock(mutex_);
  if (watched_ != nullptr) fewest_ = std::min(fewest_, watched_->View().members.size());
}

void TestNode::ResetFewest() {
  std::lock_guard lock(mutex_);
  fewest_ = watched_->View().members.size();
}

size_t TestNode::fewest() const {
  std::lock_guard lock(mutex_);
  return fewest_;
}

std::vector<std::string> TestNode::Names() const {
  std::vector<std::string> names;
  for (const MemberRecord& member : View().members) names.push_back(member.name);
  return names;
}

bool TestNode::Sees(const std::vector<std::string>& names, absl::Duration patience) const {
  return Eventually([&] { return Names() == names; }, patience);
}

bool TestNode::Reaches(bool reachable, absl::Duration patience) const {
  return Eventually([&] { return View().source_reachable == reachable; }, patience);
}

void MembersTest::StartEtcd(EtcdProcessOptions options) {
  etcd_ = std::make_unique<EtcdProcess>(directory_.path(), std::move(options));
  etcd_->Start();
}

EtcdOptions MembersTest::Options() const {
  EtcdOptions options;
  options.endpoints = {etcd_->endpoint()};
  options.cluster = "test";
  options.lease_ttl = kLease;
  return options;
}

std::string MembersTest::KeyOf(absl::string_view name) {
  return absl::StrCat("/larder/test/members/", name);
}

}  // namespace larder

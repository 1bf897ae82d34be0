// Membership in a real etcd: what becomes of members as nodes and etcd come, go and hang.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "tests/e2e/members_fixture.h"

namespace larder {
namespace {

using testing::HasSubstr;

using Names = std::vector<std::string>;

MonotonicTime In(absl::Duration duration) { return SystemClock::Get().Now() + duration; }

// How long `what` took, also among the properties of --gtest_output.
absl::Duration TimeOf(const std::string& property, const std::function<void()>& what) {
  const absl::Time began = absl::Now();
  what();
  const absl::Duration took = absl::Now() - began;
  testing::Test::RecordProperty(property + "_ms",
                                static_cast<int>(absl::ToInt64Milliseconds(took)));
  return took;
}

TEST_F(MembersTest, NodesJoinChangeAndLeave) {
  StartEtcd();
  TestNode a(Options(), "a");
  ASSERT_TRUE(a.Reaches(true));
  std::optional<TestNode> joining;
  TimeOf("joined", [&] {
    joining.emplace(Options(), "b", 77);
    ASSERT_TRUE(a.Sees({"a", "b"}));
  });
  TestNode& b = *joining;
  ASSERT_TRUE(b.Sees({"a", "b"}));
  EXPECT_EQ(a.View().members[1], TestMember("b", 77));
  EXPECT_EQ(a.View().problem, "");

  MemberRecord draining = TestMember("b", 77);
  draining.draining = true;
  b.source().Publish(draining);
  EXPECT_TRUE(Eventually([&] { return a.View().members[1].draining; }));

  const absl::Duration left = TimeOf("left", [&] {
    b.source().Withdraw(In(kPatience));
    EXPECT_TRUE(a.Sees({"a"}));
  });
  EXPECT_LT(left, kLease / 2) << "went by its lease, not by its word";
  b.source().Publish(draining);  // too late
  b.source().Withdraw(In(kPatience));
  EXPECT_EQ(etcd_->Control({"get", "--keys-only", KeyOf("b")}), "");
  EXPECT_TRUE(b.Sees({"a", "b"}));
}

TEST_F(MembersTest, AKilledNodeGoesWithItsLease) {
  StartEtcd();
  TestNode a(Options(), "a");
  auto b = std::make_unique<TestNode>(Options(), "b");
  ASSERT_TRUE(a.Sees({"a", "b"}));
  b.reset();
  const absl::Duration gone = TimeOf("gone", [&] { EXPECT_TRUE(a.Sees({"a"})); });
  EXPECT_GT(gone, kLease / 2);
  // It may have lived for a third of its lease since the last renewal; the rest is etcd's slowness.
  EXPECT_LT(gone, kLease * 2);
}

TEST_F(MembersTest, ANodeThatStartsAgainReplacesItsRecord) {
  StartEtcd();
  TestNode a(Options(), "a");
  auto b = std::make_unique<TestNode>(Options(), "b", 1);
  ASSERT_TRUE(a.Sees({"a", "b"}));
  b.reset();
  TestNode again(Options(), "b", 2);
  EXPECT_TRUE(Eventually([&] { return a.View().members.back().epoch == 2; }));
  a.ResetFewest();
  absl::SleepFor(kLease * 1.5);  // the lease of its earlier life runs out
  EXPECT_EQ(a.fewest(), 2);
  EXPECT_EQ(a.Names(), (Names{"a", "b"}));
  EXPECT_EQ(again.View().problem, "");
}

TEST_F(MembersTest, TheEarlierOfTwoNodesWithOneNameYields) {
  StartEtcd();
  TestNode first(Options(), "a", 1);
  ASSERT_TRUE(first.Reaches(true));
  TestNode watcher(Options(), "w");
  ASSERT_TRUE(watcher.Sees({"a", "w"}));
  auto second = std::make_unique<TestNode>(Options(), "a", 2);
  EXPECT_TRUE(Eventually([&] { return watcher.View().members[0].epoch == 2; }));
  EXPECT_TRUE(Eventually([&] { return !first.View().problem.empty(); }));
  EXPECT_THAT(first.View().problem, HasSubstr("another node took the name a"));
  second->source().Withdraw(In(kPatience));
  EXPECT_TRUE(Eventually([&] { return watcher.View().members[0].epoch == 1; }));
  EXPECT_TRUE(Eventually([&] { return first.View().problem.empty(); }));
}

TEST_F(MembersTest, ALostLeaseIsMadeAgain) {
  StartEtcd();
  TestNode a(Options(), "a");
  TestNode b(Options(), "b");
  ASSERT_TRUE(a.Sees({"a", "b"}));
  const std::string leases = etcd_->Control({"lease", "list"});  // "found 2 leases", then each
  size_t revoked = 0;
  for (absl::string_view line : absl::StrSplit(leases, '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "found")) continue;
    etcd_->Control({"lease", "revoke", std::string(line)});
    ++revoked;
  }
  EXPECT_EQ(revoked, 2);
  EXPECT_TRUE(Eventually([&] {
    const std::string keys = etcd_->Control({"get", "--prefix", "--keys-only", "/larder/"});
    return absl::StrContains(keys, KeyOf("a")) && absl::StrContains(keys, KeyOf("b"));
  }));
  EXPECT_TRUE(a.Sees({"a", "b"}));
  EXPECT_TRUE(b.Sees({"a", "b"}));
}

TEST_F(MembersTest, WhatAStrangerWritesIsReportedAndIgnored) {
  StartEtcd();
  etcd_->Control({"put", KeyOf("stranger"), "garbage"});
  etcd_->Control({"put", "/larder/test/members0", "beyond the prefix"});
  etcd_->Control({"put", "/larder/other/members/x", EncodeMember(TestMember("x", 1))});
  TestNode a(Options(), "a");
  TestNode b(Options(), "b");
  ASSERT_TRUE(a.Sees({"a", "b"}));
  EXPECT_EQ(a.View().problem, "record \"stranger\" is no JSON");
  a.ResetFewest();
  etcd_->Control({"put", KeyOf("b"), std::string(100'000, 'x')});  // b puts it right
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(etcd_->Control({"get", KeyOf("b")}), "\"epoch\":");
  }));
  etcd_->Control({"del", KeyOf("stranger")});
  EXPECT_TRUE(Eventually([&] { return a.View().problem.empty(); })) << a.View().problem;
  EXPECT_EQ(a.fewest(), 2);
}

TEST_F(MembersTest, KilledEtcdLeavesTheMembersAsTheyAre) {
  StartEtcd();
  TestNode a(Options(), "a");
  TestNode b(Options(), "b");
  ASSERT_TRUE(a.Sees({"a", "b"}) && b.Sees({"a", "b"}));
  etcd_->Kill();
  ASSERT_TRUE(a.Reaches(false));
  EXPECT_THAT(a.View().problem, HasSubstr(absl::StrCat("etcd at ", etcd_->endpoint())));
  EXPECT_LT(TimeOf("withdraw_without_etcd", [&] { b.source().Withdraw(In(kPatience)); }),
            absl::Seconds(1) + kLease);
  absl::SleepFor(kLease * 1.2);
  EXPECT_GE(a.View().source_silent_for, kLease);
  EXPECT_EQ(a.Names(), (Names{"a", "b"}));
  TestNode c(Options(), "c");  // started meanwhile: alone, and says so
  EXPECT_EQ(c.Names(), (Names{"c"}));
  EXPECT_FALSE(c.View().source_reachable);
  etcd_->Start();
  const absl::Duration back = TimeOf("back", [&] { EXPECT_TRUE(a.Reaches(true)); });
  EXPECT_LT(back, absl::Seconds(4));
  EXPECT_TRUE(a.Sees({"a", "c"})) << "b withdrew, and does so as soon as it can";
}

TEST_F(MembersTest, LeasesThatRanOutInAnOutageDropNobody) {
  StartEtcd();
  TestNode a(Options(), "a");
  TestNode b(Options(), "b");
  auto killed = std::make_unique<TestNode>(Options(), "killed");
  ASSERT_TRUE(a.Sees({"a", "b", "killed"}) && b.Sees({"a", "b", "killed"}));
  etcd_->process().Freeze();
  const absl::Duration noticed = TimeOf("noticed", [&] { EXPECT_TRUE(a.Reaches(false)); });
  EXPECT_LT(noticed, kLease);
  const absl::Duration ended = TimeOf("ended", [&] { killed.reset(); });
  EXPECT_LT(ended, absl::Seconds(1)) << "destroying a source waits for etcd";
  absl::SleepFor(kLease * 1.5);
  a.ResetFewest();
  b.ResetFewest();
  etcd_->process().Thaw();
  const absl::Duration back = TimeOf("registered_again", [&] {
    EXPECT_TRUE(Eventually([&] {
      const std::string keys = etcd_->Control({"get", "--prefix", "--keys-only", "/larder/"});
      return absl::StrContains(keys, KeyOf("a")) && absl::StrContains(keys, KeyOf("b"));
    }));
  });
  EXPECT_LT(back, kLease + absl::Seconds(3));
  ASSERT_TRUE(a.Reaches(true) && b.Reaches(true));
  EXPECT_TRUE(a.Sees({"a", "b"})) << "the killed one goes in the end";
  EXPECT_TRUE(b.Sees({"a", "b"}));
  EXPECT_EQ(a.fewest(), 2);
  EXPECT_EQ(b.fewest(), 2);
}

TEST_F(MembersTest, EtcdThatLostItsDataIsFilledAgain) {
  StartEtcd();
  TestNode a(Options(), "a");
  TestNode b(Options(), "b");
  ASSERT_TRUE(a.Sees({"a", "b"}) && b.Sees({"a", "b"}));
  a.ResetFewest();
  etcd_->Kill();
  std::filesystem::remove_all(directory_.path() + "/etcd");
  etcd_->Start();
  EXPECT_TRUE(Eventually([&] {
    const std::string keys = etcd_->Control({"get", "--prefix", "--keys-only", "/larder/"});
    return absl::StrContains(keys, KeyOf("a")) && absl::StrContains(keys, KeyOf("b"));
  }));
  EXPECT_EQ(a.fewest(), 2);
}

TEST_F(MembersTest, CompactionWhileDisconnectedLosesNoChange) {
  StartEtcd();
  TestNode a(Options(), "a");
  ASSERT_TRUE(a.Reaches(true));
  etcd_->Control({"put", KeyOf("old"), EncodeMember(TestMember("old", 1))});
  ASSERT_TRUE(a.Sees({"a", "old"}));
  etcd_->Kill();
  {
    EtcdProcess elsewhere(directory_.path());  // the same data, out of the node's reach
    elsewhere.Start();
    elsewhere.Control({"del", KeyOf("old")});
    elsewhere.Control({"put", KeyOf("new"), EncodeMember(TestMember("new", 1))});
    elsewhere.Control({"put", KeyOf("new"), EncodeMember(TestMember("new", 2))});
    elsewhere.Control({"compact", "5"});
    elsewhere.Kill();
  }
  etcd_->Start();
  EXPECT_TRUE(a.Sees({"a", "new"}));
  EXPECT_EQ(a.View().members[1].epoch, 2);
}

TEST_F(MembersTest, AnotherEndpointTakesOver) {
  StartEtcd();
  FileDescriptor hung(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(hung.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(hung.get(), 16), 0);
  ASSERT_EQ(getsockname(hung.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EtcdOptions options = Options();
  options.endpoints.push_back(absl::StrCat("127.0.0.1:", FreePort()));  // nobody is there
  options.endpoints.push_back(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)));
  std::vector<std::unique_ptr<TestNode>> nodes;
  Names names;
  for (int i = 0; i < 4; ++i) {  // each begins at a random endpoint
    names.push_back(absl::StrCat("n", i));
    nodes.push_back(std::make_unique<TestNode>(options, names.back()));
  }
  for (const auto& node : nodes) EXPECT_TRUE(node->Sees(names)) << node->View().problem;
  for (const auto& node : nodes) EXPECT_EQ(node->View().problem, "");
}

}  // namespace
}  // namespace larder

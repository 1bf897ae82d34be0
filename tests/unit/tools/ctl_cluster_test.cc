// What larderctl says of a cluster, from messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tools/ctl/cluster_text.h"
#include "tools/ctl/proto_json.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::ClusterMember* AddMember(v1::ClusterResponse& cluster, const std::string& name, bool up) {
  v1::ClusterMember* member = cluster.add_members();
  member->set_name(name);
  member->set_epoch(0xabc);
  member->set_up(up);
  member->set_in_sync(up);
  member->set_breaker(v1::BREAKER_STATE_CLOSED);
  return member;
}

// This node, one that is well, one that is not.
v1::ClusterResponse Typical() {
  v1::ClusterResponse cluster;
  cluster.set_cluster("demo");
  cluster.set_source_reachable(true);
  AddMember(cluster, "n1", false)->set_self(true);
  v1::ClusterMember* well = AddMember(cluster, "n2", true);
  well->set_chunks(1234);
  well->set_memory_bytes(1 << 20);
  well->set_disk_bytes(1 << 30);
  well->set_predicted_latency_us(150);
  well->set_bytes_per_second(2.0 * (1 << 30));
  well->set_fetched_bytes(3 << 20);
  well->set_served_bytes(5 << 20);
  v1::ClusterMember* away = AddMember(cluster, "n3", false);
  away->set_last_error("connection refused");
  away->set_breaker(v1::BREAKER_STATE_OPEN);
  cluster.set_index_entries(1234);
  cluster.set_fetched_chunks(77);
  cluster.set_hedged_fetches(2);
  cluster.set_fetch_failures(3);
  cluster.set_offered_chunks(9);
  cluster.set_taken_chunks(8);
  return cluster;
}

// The line of the members' table that begins with `name`.
std::string LineOf(const std::string& text, const std::string& name) {
  const size_t begin = text.find("\n" + name + " ");
  if (begin == std::string::npos) return "";
  return text.substr(begin + 1, text.find('\n', begin + 1) - begin - 1);
}

TEST(CtlCluster, ShowsMembersAndFlows) {
  const std::string text = ClusterText(Typical());
  EXPECT_THAT(text, HasSubstr("demo, 3 members"));
  EXPECT_THAT(text, HasSubstr("77 chunks"));
  EXPECT_THAT(text, HasSubstr("3 failed, 2 asked twice, 0 damaged"));
  EXPECT_THAT(text, HasSubstr("8 taken of 9 offered"));
  EXPECT_THAT(LineOf(text, "n1"), HasSubstr("this node"));
  const std::string well = LineOf(text, "n2");
  for (const char* part : {"up", "0000000000000abc", "in sync", "1,234", "1.00 MiB", "1.00 GiB",
                           "150 us", "2.00 GiB/s", "3.00 MiB", "5.00 MiB"}) {
    EXPECT_THAT(well, HasSubstr(part));
  }
  EXPECT_THAT(LineOf(text, "n3"), HasSubstr("down, left alone"));
  EXPECT_THAT(LineOf(text, "n3"), HasSubstr("not in sync"));
  EXPECT_THAT(text, HasSubstr("n3: connection refused\n"));
  EXPECT_THAT(text, Not(HasSubstr("as last known")));
}

TEST(CtlCluster, SaysHowFarANodeIsBehindAndThatItLeaves) {
  v1::ClusterResponse cluster = Typical();
  cluster.mutable_members(1)->set_index_lag(4321);
  cluster.mutable_members(1)->set_draining(true);
  cluster.mutable_members(1)->set_breaker(v1::BREAKER_STATE_TRIAL);
  const std::string line = LineOf(ClusterText(cluster), "n2");
  EXPECT_THAT(line, HasSubstr("4,321 behind"));
  EXPECT_THAT(line, HasSubstr("up, draining, on trial"));
}

TEST(CtlCluster, SaysThatMembersAreAsLastKnown) {
  v1::ClusterResponse cluster = Typical();
  cluster.set_source_reachable(false);
  cluster.set_source_silent_ms(2500);
  cluster.set_source_problem("no etcd\x1b[2J");
  v1::RefusedPeers* refused = cluster.add_refused();
  refused->set_reason("does not know the secret");
  refused->set_count(12);
  const std::string text = ClusterText(cluster);
  EXPECT_THAT(text, HasSubstr("as last known 2.50 s ago: no etcd?[2J"));
  EXPECT_THAT(text, HasSubstr("12 connections: does not know the secret"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(CtlCluster, SaysWhoIsADirectoryNodeAndWhatWasAsked) {
  v1::ClusterResponse cluster = Typical();
  EXPECT_THAT(ClusterText(cluster), Not(HasSubstr("directory")));
  cluster.mutable_members(1)->set_directory(true);
  cluster.set_answered_questions(5);
  cluster.set_answered_keys(60);
  std::string text = ClusterText(cluster);
  EXPECT_THAT(LineOf(text, "n2"), HasSubstr("up, directory"));
  EXPECT_THAT(text, HasSubstr("5 questions for 60 chunks"));
  EXPECT_THAT(text, Not(HasSubstr("unanswered")));
  cluster.set_asks_directory(true);
  cluster.set_directory_questions(12);
  cluster.set_directory_unanswered(3);
  cluster.set_directory_found(40);
  cluster.set_directory_nowhere(7);
  text = ClusterText(cluster);
  EXPECT_THAT(text, HasSubstr("12 questions, 3 unanswered; 40 chunks found, 7 nowhere"));
  EXPECT_THAT(LineOf(text, "n2"), Not(HasSubstr("in sync")));  // It is not followed.
}

TEST(CtlCluster, JsonFollowsTheMessage) {
  const Json json = ToJson(Typical());
  EXPECT_EQ(json["cluster"], "demo");
  ASSERT_EQ(json["members"].size(), 3u);
  EXPECT_EQ(json["members"][0]["self"], true);
  EXPECT_EQ(json["members"][1]["epoch"], "0000000000000abc");
  EXPECT_EQ(json["members"][1]["chunks"], 1234);
  EXPECT_EQ(json["members"][1]["bytes_per_second"], 2.0 * (1 << 30));
  EXPECT_EQ(json["members"][2]["breaker"], "open");
  EXPECT_EQ(json["members"][2]["last_error"], "connection refused");
  EXPECT_EQ(json["refused"], Json::array());
}

v1::ChunkHolder* AddHolder(v1::ChunkHolders* chunk, const std::string& node, bool in_memory,
                           bool on_disk) {
  v1::ChunkHolder* holder = chunk->add_holders();
  holder->set_node(node);
  holder->set_in_memory(in_memory);
  holder->set_on_disk(on_disk);
  return holder;
}

v1::WhereResponse TypicalPlaces() {
  v1::WhereResponse where;
  v1::ChunkHolders* held = where.add_chunks();
  held->set_key_hash("fedc");
  AddHolder(held, "n1", true, true);
  AddHolder(held, "n2", false, true)->set_predicted_us(1500);
  AddHolder(held, "n\x1b", true, false)->set_predicted_us(20);
  where.add_chunks()->set_key_hash("beef");
  return where;
}

TEST(CtlWhere, NamesEveryHolder) {
  EXPECT_EQ(WhereText(TypicalPlaces()),
            "fedc: n1 (memory, disk), n2 (disk, 1.50 ms away), n? (memory, 20.0 us away)\n"
            "beef: nowhere\n");
  EXPECT_EQ(WhereText(v1::WhereResponse()), "");
}

TEST(CtlWhere, JsonFollowsTheMessage) {
  const Json json = ToJson(TypicalPlaces());
  ASSERT_EQ(json["chunks"].size(), 2u);
  EXPECT_EQ(json["chunks"][0]["key_hash"], "fedc");
  EXPECT_EQ(json["chunks"][0]["holders"][1]["node"], "n2");
  EXPECT_EQ(json["chunks"][0]["holders"][1]["in_memory"], false);
  EXPECT_EQ(json["chunks"][0]["holders"][1]["predicted_us"], 1500);
  EXPECT_EQ(json["chunks"][1]["holders"], Json::array());
}

}  // namespace
}  // namespace larder

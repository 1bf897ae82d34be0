#include "daemon/cluster/members.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/random.h"
#include "daemon/cluster/proof.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

MemberRecord Member(absl::string_view name, uint64_t epoch = 7) {
  return {.name = std::string(name),
          .epoch = epoch,
          .peer_address = "10.0.0.1:7420",
          .rpc_address = "[fd00::1]:7411",
          .memory_bytes = uint64_t{64} << 30,
          .disk_bytes = ~uint64_t{0},
          .version = "0.1.0"};
}

// --- records ---

TEST(MemberRecordTest, ComesBackAsItWas) {
  MemberRecord record = Member("node-1.rack_2", 0xfedcba9876543210);
  EXPECT_EQ(*DecodeMember("node-1.rack_2", EncodeMember(record)), record);
  record.draining = record.directory = record.leaving = true;
  record.version.clear();
  EXPECT_EQ(*DecodeMember("node-1.rack_2", EncodeMember(record)), record);
}

// The example of docs/formats/member.md.
TEST(MemberRecordTest, IsWrittenAsDocumented) {
  const MemberRecord record{.name = "node-1",
                            .epoch = 0x0123456789abcdef,
                            .peer_address = "10.0.0.1:7420",
                            .rpc_address = "10.0.0.1:7411",
                            .memory_bytes = 68719476736,
                            .disk_bytes = 0,
                            .version = "0.1.0"};
  const std::string value =
      R"({"disk_bytes":0,"epoch":"0123456789abcdef","format":1,"memory_bytes":68719476736,)"
      R"("name":"node-1","peer_address":"10.0.0.1:7420","rpc_address":"10.0.0.1:7411",)"
      R"("version":"0.1.0"})";
  EXPECT_EQ(EncodeMember(record), value);
  EXPECT_EQ(*DecodeMember("node-1", value), record);
}

TEST(MemberRecordTest, OfKnownBytesAndUnknownFields) {
  const std::string value =
      R"({"format":1,"name":"a","epoch":"00000000000000ff","peer_address":"h:1",)"
      R"("rpc_address":"h:2","memory_bytes":3,"disk_bytes":4,"version":"v","later":{"x":[1]}})";
  const absl::StatusOr<MemberRecord> record = DecodeMember("a", value);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(*record, (MemberRecord{.name = "a",
                                   .epoch = 255,
                                   .peer_address = "h:1",
                                   .rpc_address = "h:2",
                                   .memory_bytes = 3,
                                   .disk_bytes = 4,
                                   .version = "v"}));
}

std::string DecodeError(absl::string_view name, absl::string_view value) {
  const absl::StatusOr<MemberRecord> record = DecodeMember(name, value);
  EXPECT_TRUE(absl::IsInvalidArgument(record.status())) << record.status();
  return std::string(record.status().message());
}

TEST(MemberRecordTest, OfOthersIsRefusedWithAReason) {
  EXPECT_THAT(DecodeError("a/b", "{}"), HasSubstr("name \"a/b\""));
  EXPECT_THAT(DecodeError("", "{}"), HasSubstr("name \"\""));
  EXPECT_THAT(DecodeError("a\xff", "{}"), HasSubstr("name \"a\\xff\""));
  EXPECT_THAT(DecodeError(std::string(100'000, 'a'), "{}"), HasSubstr("...\""));
  EXPECT_THAT(DecodeError("a", ""), HasSubstr("no JSON"));
  EXPECT_THAT(DecodeError("a", "\xff\xfe"), HasSubstr("no JSON"));
  EXPECT_THAT(DecodeError("a", "[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(DecodeError("a", std::string(kMemberBytesMax, '[')), HasSubstr("no JSON"));
  EXPECT_THAT(DecodeError("a", std::string(kMemberBytesMax + 1, ' ')), HasSubstr("4097 bytes"));
  EXPECT_THAT(DecodeError("a", EncodeMember(Member("b"))), HasSubstr("another name, \"b\""));
}

TEST(MemberRecordTest, FieldsAreChecked) {
  const struct {
    const char* field;
    nlohmann::json value;
    const char* error;
  } cases[] = {
      {"format", 2, "format 2"},
      {"format", "1", "format is missing"},
      {"name", 5, "name is missing"},
      {"epoch", 5, "epoch is missing"},
      {"epoch", "0x00000000000001", "epoch is not 16"},
      {"epoch", "123", "epoch is not 16"},
      {"peer_address", "nowhere", "peer_address \"nowhere\" is not HOST:PORT"},
      {"peer_address", ":1", "peer_address"},
      {"peer_address", "h:0", "peer_address"},
      {"peer_address", "h:65536", "peer_address"},
      {"peer_address", "h h:1", "peer_address"},
      {"rpc_address", std::string(254, 'h') + ":1", "rpc_address"},
      {"rpc_address", nullptr, "rpc_address is missing"},
      {"memory_bytes", -1, "memory_bytes"},
      {"memory_bytes", 1.5, "memory_bytes"},
      {"disk_bytes", "1", "disk_bytes"},
      {"draining", 1, "draining is neither"},
      {"version", std::string(65, 'v'), "version"},
      {"version", "line\nbreak", "version"},
  };
  for (const auto& test : cases) {
    nlohmann::json object = nlohmann::json::parse(EncodeMember(Member("a")));
    object[test.field] = test.value;
    SCOPED_TRACE(object.dump());
    EXPECT_THAT(DecodeError("a", object.dump()), HasSubstr(test.error));
  }
  for (const char* field : {"format", "name", "epoch", "peer_address", "rpc_address",
                            "memory_bytes", "disk_bytes", "version"}) {
    nlohmann::json object = nlohmann::json::parse(EncodeMember(Member("a")));
    object.erase(field);
    EXPECT_THAT(DecodeError("a", object.dump()), HasSubstr(field));
  }
}

TEST(MemberRecordTest, AnyDamageIsARecordOrAnError) {
  SeededRandom random(20240601);
  const std::string good = EncodeMember(Member("a"));
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string value = good.substr(0, good.size() - random.Below(i % 2 == 0 ? 1 : good.size()));
    for (uint64_t edits = 1 + random.Below(4); edits > 0; --edits) {
      value[random.Below(value.size())] = static_cast<char>(random.Next());
    }
    const absl::StatusOr<MemberRecord> record = DecodeMember("a", value);
    if (record.ok()) {
      EXPECT_TRUE(CheckMember(*record).ok()) << value;
    } else {
      ++refused;
      EXPECT_FALSE(record.status().message().empty());
    }
  }
  EXPECT_GT(refused, 10'000);
}

TEST(ClusterProofTest, IsTheHmacOfTheClustersName) {
  // printf 'larder cluster prod' | openssl dgst -sha256 -hmac secret
  EXPECT_EQ(ClusterProof("secret", "prod"),
            "7e89fade2444b77450d91d533de17e5f50df97393846dac42a6b814ebe9e7462");
  EXPECT_TRUE(ProvesCluster(ClusterProof("secret", "prod"), "secret", "prod"));
  EXPECT_FALSE(ProvesCluster(ClusterProof("secret", "prod"), "secret", "test"));
  EXPECT_FALSE(ProvesCluster(ClusterProof("secret", "prod"), "other", "prod"));
  EXPECT_FALSE(ProvesCluster("", "secret", "prod"));
  EXPECT_EQ(ClusterProof("", "prod").size(), 64);
}

// --- the table ---

constexpr absl::Duration kGrace = absl::Seconds(10);

class MemberTableTest : public testing::Test {
 protected:
  MonotonicTime now() const { return MonotonicTime{} + since_start_; }
  void Pass(absl::Duration time) {
    since_start_ += time;
    table_.Tick(now());
  }
  MemberTable::Entry Entry(const MemberRecord& record) {
    return {record.name, EncodeMember(record), ++revision_};
  }
  void List(const std::vector<MemberRecord>& records) {
    std::vector<MemberTable::Entry> entries;
    for (const MemberRecord& record : records) entries.push_back(Entry(record));
    table_.OnList(entries, false, now());
  }
  void Put(const MemberRecord& record) { table_.OnPut(Entry(record), now()); }
  void Delete(absl::string_view name) { table_.OnDelete(name, ++revision_, now()); }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const MemberRecord& member : table_.View(now()).members) names.push_back(member.name);
    return names;
  }
  std::string Problem() const { return table_.View(now()).problem; }

  absl::Duration since_start_ = absl::Seconds(100);
  int64_t revision_ = 0;
  MemberTable table_{Member("m"), kGrace, now()};
};

TEST_F(MemberTableTest, BeginsWithThisNodeAloneAndOutOfReach) {
  EXPECT_THAT(Names(), ElementsAre("m"));
  Pass(absl::Seconds(3));
  const MemberView view = table_.View(now());
  EXPECT_FALSE(view.source_reachable);
  EXPECT_EQ(view.source_silent_for, absl::Seconds(3));
  EXPECT_EQ(view.problem, "not reached yet");
}

TEST_F(MemberTableTest, MembersComeChangeAndGoWithTheirRecords) {
  List({Member("z"), Member("a")});
  EXPECT_THAT(Names(), ElementsAre("a", "m", "z"));
  EXPECT_TRUE(table_.View(now()).source_reachable);
  EXPECT_EQ(table_.View(now()).source_silent_for, absl::ZeroDuration());
  EXPECT_EQ(Problem(), "");
  MemberRecord draining = Member("a");
  draining.draining = true;
  Put(draining);
  EXPECT_EQ(table_.View(now()).members[0], draining);
  Put(Member("n", 9));
  EXPECT_THAT(Names(), ElementsAre("a", "m", "n", "z"));
  Delete("a");
  Delete("nobody");
  EXPECT_THAT(Names(), ElementsAre("m", "n", "z"));
  List({Member("n", 10)});  // changes were missed, the source was not away
  EXPECT_THAT(Names(), ElementsAre("m", "n"));
  EXPECT_EQ(table_.View(now()).members[1].epoch, 10);
}

TEST_F(MemberTableTest, RevisionGrowsWithEveryChangeAndOnlyThen) {
  uint64_t last = table_.revision();
  const auto changed = [&] { return std::exchange(last, table_.revision()) != last; };
  List({Member("a")});
  EXPECT_TRUE(changed());
  Put(Member("a"));
  Delete("nobody");
  Pass(absl::Hours(1));
  List({Member("a")});
  EXPECT_FALSE(changed());
  Put(Member("a", 8));
  EXPECT_TRUE(changed());
  Put(Member("b"));
  EXPECT_TRUE(changed());
  Delete("b");
  EXPECT_TRUE(changed());
  table_.OnLost("away");
  EXPECT_TRUE(changed());
  table_.OnLost("away");
  EXPECT_FALSE(changed());
  table_.OnLost("still away");
  EXPECT_TRUE(changed());
  table_.SetSelf(table_.self());
  EXPECT_FALSE(changed());
  List({Member("a", 8)});
  EXPECT_TRUE(changed());
  EXPECT_EQ(table_.View(now()).revision, last);
}

TEST_F(MemberTableTest, NobodyGoesWhileTheSourceIsAway) {
  List({Member("a"), Member("b")});
  table_.OnLost("etcd: UNAVAILABLE");
  Pass(absl::Hours(24));
  const MemberView view = table_.View(now());
  EXPECT_THAT(Names(), ElementsAre("a", "b", "m"));
  EXPECT_FALSE(view.source_reachable);
  EXPECT_EQ(view.source_silent_for, absl::Hours(24));
  EXPECT_EQ(view.problem, "etcd: UNAVAILABLE");
  EXPECT_EQ(table_.next_wakeup(), std::nullopt);
}

TEST_F(MemberTableTest, AfterAnOutageMembersHaveTimeToComeAgain) {
  List({Member("a"), Member("b"), Member("c")});
  table_.OnLost("away");
  Pass(absl::Minutes(30));
  List({Member("c")});  // the other leases ran out meanwhile
  EXPECT_THAT(Names(), ElementsAre("a", "b", "c", "m"));
  Pass(absl::Seconds(2));
  Put(Member("a"));
  Delete("c");  // its lease ran out just now: the same
  Pass(kGrace - absl::Seconds(2) - absl::Nanoseconds(1));
  EXPECT_THAT(Names(), ElementsAre("a", "b", "c", "m"));
  ASSERT_TRUE(table_.next_wakeup().has_value());
  EXPECT_EQ(*table_.next_wakeup() - now(), absl::Nanoseconds(1));
  Pass(absl::Nanoseconds(1));
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
  EXPECT_EQ(table_.next_wakeup(), std::nullopt);
  Delete("a");  // from now on as ever
  EXPECT_THAT(Names(), ElementsAre("m"));
}

TEST_F(MemberTableTest, ASourceThatComesAndGoesDropsNobody) {
  List({Member("a")});
  for (int i = 0; i < 5; ++i) {
    table_.OnLost("away");
    Pass(absl::Minutes(1));
    List({});
    Pass(kGrace / 2);
    EXPECT_THAT(Names(), ElementsAre("a", "m"));
  }
  Pass(kGrace / 2);
  EXPECT_THAT(Names(), ElementsAre("m"));
}

TEST_F(MemberTableTest, TheFirstListIsNoReturn) {
  table_.OnLost("not there yet");
  List({Member("a")});
  Delete("a");
  EXPECT_THAT(Names(), ElementsAre("m"));
}

TEST_F(MemberTableTest, WhoSaysThatItLeavesGoesAtOnce) {
  List({Member("a"), Member("b")});
  table_.OnLost("away");
  MemberRecord leaving = Member("a");
  leaving.leaving = true;
  List({leaving, Member("b")});
  EXPECT_THAT(Names(), ElementsAre("b", "m"));
  leaving = Member("b");
  leaving.leaving = true;
  Put(leaving);
  EXPECT_THAT(Names(), ElementsAre("m"));
  Delete("b");
  EXPECT_THAT(Names(), ElementsAre("m"));
}

TEST_F(MemberTableTest, WhatIsNoRecordIsReportedAndIgnored) {
  List({Member("a")});
  table_.OnPut({"stranger", "garbage", 50}, now());
  table_.OnPut({"x/y", EncodeMember(Member("x")), 51}, now());
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
  EXPECT_EQ(Problem(),
            "record \"stranger\" is no JSON; record \"x/y\" name \"x/y\" is not 1 to 64 "
            "bytes of letters, digits, '.', '_' and '-'");
  table_.OnDelete("x/y", 52, now());
  Put(Member("stranger"));
  EXPECT_EQ(Problem(), "");
  EXPECT_THAT(Names(), ElementsAre("a", "m", "stranger"));
}

TEST_F(MemberTableTest, AnOverwrittenMemberHasTimeToPutItRight) {
  List({Member("a"), Member("b")});
  table_.OnPut({"a", "garbage", 50}, now());
  table_.OnPut({"b", "garbage", 51}, now());
  Put(Member("a"));
  Pass(kGrace);
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
}

TEST_F(MemberTableTest, MembersAndProblemsAreBounded) {
  std::vector<MemberTable::Entry> entries;
  for (size_t i = 0; i < kMembersMax + 20; ++i) {
    entries.push_back(Entry(Member(absl::StrFormat("a%05d", i))));
  }
  table_.OnList(entries, true, now());
  EXPECT_EQ(Names().size(), kMembersMax + 1);
  EXPECT_THAT(Problem(), HasSubstr("one member too many"));
  EXPECT_THAT(Problem(), HasSubstr("20 such records in all"));
  EXPECT_THAT(Problem(), HasSubstr("more records than are read"));
  EXPECT_LT(Problem().size(), 500);
}

TEST_F(MemberTableTest, ThisNodeWritesItsRecordWhenItIsNotThere) {
  List({});
  EXPECT_TRUE(table_.must_publish());
  table_.OnPublished(table_.self(), 60);
  EXPECT_FALSE(table_.must_publish());
  table_.OnPut({"m", EncodeMember(Member("m")), 60}, now());
  EXPECT_FALSE(table_.must_publish());
  table_.OnDelete("m", 61, now());  // its lease was lost
  EXPECT_TRUE(table_.must_publish());
  EXPECT_THAT(Names(), ElementsAre("m"));
  table_.OnPublished(table_.self(), 62);
  table_.OnDelete("m", 61, now());  // old news
  EXPECT_FALSE(table_.must_publish());
  table_.OnPut({"m", "garbage", 63}, now());
  EXPECT_TRUE(table_.must_publish());
  table_.OnPublished(table_.self(), 64);
  table_.OnUnpublished();
  EXPECT_TRUE(table_.must_publish());
}

TEST_F(MemberTableTest, ThisNodesChangesAreWritten) {
  List({});
  const MemberRecord before = table_.self();
  table_.OnPublished(before, 60);
  MemberRecord draining = before;
  draining.draining = true;
  table_.SetSelf(draining);
  EXPECT_TRUE(table_.must_publish());
  EXPECT_TRUE(table_.View(now()).members[0].draining);
  table_.OnPublished(before, 61);  // was under way when it changed
  EXPECT_TRUE(table_.must_publish());
  table_.OnPublished(draining, 62);
  EXPECT_FALSE(table_.must_publish());
  table_.OnPut({"m", EncodeMember(before), 61}, now());  // old news
  EXPECT_FALSE(table_.must_publish());
}

TEST_F(MemberTableTest, ThisNodesBadRecordsAreRefused) {
  List({});
  MemberRecord bad = Member("m");
  bad.rpc_address = "nowhere";
  table_.SetSelf(bad);
  EXPECT_THAT(Problem(), HasSubstr("rpc_address \"nowhere\""));
  EXPECT_EQ(table_.View(now()).members[0], Member("m"));
  table_.SetSelf(Member("m", 8));
  EXPECT_THAT(Problem(), HasSubstr("epoch changed"));
  table_.SetSelf(Member("m"));
  EXPECT_EQ(Problem(), "");
}

TEST_F(MemberTableTest, ARestartedNodeTakesItsNameOver) {
  List({Member("m", 6), Member("a")});  // what it wrote before it was killed
  EXPECT_TRUE(table_.must_publish());
  EXPECT_EQ(Problem(), "");
  table_.OnPublished(table_.self(), 60);
  EXPECT_FALSE(table_.must_publish());
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
}

TEST_F(MemberTableTest, OfTwoNodesWithOneNameTheEarlierYields) {
  List({});
  table_.OnPublished(table_.self(), 60);
  table_.OnPut({"m", EncodeMember(Member("m", 8)), 61}, now());
  EXPECT_FALSE(table_.must_publish());
  EXPECT_TRUE(table_.name_taken());
  EXPECT_THAT(Problem(), HasSubstr("another node took the name m (at 10.0.0.1:7420, epoch 8)"));
  table_.OnUnpublished();  // its own lease ran out: no reason to come back
  EXPECT_FALSE(table_.must_publish());
  List({Member("m", 8)});
  EXPECT_FALSE(table_.must_publish());
  Delete("m");
  EXPECT_TRUE(table_.must_publish());
  EXPECT_EQ(Problem(), "");
}

TEST_F(MemberTableTest, ItsOwnLastWordOfAnEarlierLifeIsNoOtherNode) {
  MemberRecord leaving = Member("m", 6);
  leaving.leaving = true;
  List({leaving});
  EXPECT_TRUE(table_.must_publish());
  EXPECT_FALSE(table_.name_taken());
}

// A store with leases that comes and goes, and one that follows it through random events: nobody is
// dropped while it is away nor for `kGrace` after, and in quiet times the members are what it has.
TEST(MemberTablePropertyTest, FollowsAStoreThatComesAndGoes) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    MonotonicTime now{0};
    MemberTable table(Member("self"), kGrace, now);
    std::map<std::string, MemberTable::Entry> store;
    bool connected = false, ever_connected = false;
    MonotonicTime settled{0};
    int64_t revision = 0;
    const auto names = [&] {
      std::set<std::string> result;
      for (const MemberRecord& member : table.View(now).members) result.insert(member.name);
      return result;
    };
    for (int step = 0; step < 300; ++step) {
      const std::set<std::string> before = names();
      const std::string name = absl::StrCat("n", random.Below(8));
      switch (random.Below(8)) {
        case 0:
        case 1:
        case 2:
          store[name] = {name, EncodeMember(Member(name, random.Below(3))), ++revision};
          if (connected) table.OnPut(store[name], now);
          break;
        case 3:
        case 4:
          store.erase(name);
          if (connected) table.OnDelete(name, ++revision, now);
          break;
        case 5:
          connected = false;
          table.OnLost("away");
          break;
        default:
          now = now + absl::Milliseconds(random.Below(4000));
          table.Tick(now);
      }
      if (!connected && ever_connected) {
        EXPECT_TRUE(std::ranges::includes(names(), before)) << "dropped while away";
      } else if (now < settled) {
        EXPECT_TRUE(std::ranges::includes(names(), before)) << "dropped just after an outage";
      }
      if (!connected && random.Below(4) == 0) {
        settled = ever_connected ? now + kGrace : now;
        connected = ever_connected = true;
        std::vector<MemberTable::Entry> entries;
        for (const auto& [key, entry] : store) entries.push_back(entry);
        table.OnList(entries, false, now);
      }
      if (connected && now >= settled) {
        std::set<std::string> expected = {"self"};
        for (const auto& [key, entry] : store) expected.insert(key);
        EXPECT_EQ(names(), expected);
      }
    }
  }
}

}  // namespace
}  // namespace larder

#include "daemon/cluster/static_table.h"

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
          .rpc_address = "10.0.0.1:7411",
          .version = "0.1.0"};
}

class StaticTableTest : public testing::Test {
 protected:
  void Answer(size_t address, const MemberRecord& record) {
    table_.OnAnswer(address, record, now_);
  }
  void Pass(absl::Duration time) {
    now_ = now_ + time;
    table_.Tick(now_);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const MemberRecord& member : table_.view().members) names.push_back(member.name);
    return names;
  }

  MonotonicTime now_{1'000'000'000'000};
  StaticTable table_{Member("m"), {"a:1", "b:1", "c:1"}, absl::Seconds(5)};
};

TEST_F(StaticTableTest, AnswersAreMembersUntilTheyStop) {
  EXPECT_THAT(Names(), ElementsAre("m"));
  EXPECT_TRUE(table_.view().source_reachable);
  EXPECT_THAT(table_.view().problem, HasSubstr("a:1: not reached yet"));
  Answer(0, Member("z"));
  Answer(1, Member("m"));  // this node
  Answer(2, Member("a"));
  EXPECT_THAT(Names(), ElementsAre("a", "m", "z"));
  EXPECT_EQ(table_.view().problem, "");
  Pass(absl::Seconds(4));
  Answer(0, Member("z"));
  table_.OnFailure(2, "UNAVAILABLE: no", now_);
  EXPECT_THAT(Names(), ElementsAre("a", "m", "z"));
  EXPECT_EQ(table_.view().problem, "c:1: UNAVAILABLE: no");
  Pass(absl::Seconds(1));
  EXPECT_THAT(Names(), ElementsAre("m", "z"));
  Pass(absl::Seconds(4));
  EXPECT_THAT(Names(), ElementsAre("m"));
  EXPECT_THAT(table_.view().problem, HasSubstr("a:1: silent"));
}

TEST_F(StaticTableTest, RevisionGrowsWithChangesOnly) {
  Answer(0, Member("a"));
  uint64_t revision = table_.view().revision;
  Answer(0, Member("a"));
  Pass(absl::Seconds(1));
  EXPECT_EQ(table_.view().revision, revision);
  MemberRecord draining = Member("a");
  draining.draining = true;
  Answer(0, draining);
  EXPECT_GT(table_.view().revision, revision);
  EXPECT_TRUE(table_.view().members[0].draining);
  revision = table_.view().revision;
  table_.SetSelf(Member("m", 8));
  EXPECT_GT(table_.view().revision, revision);
  EXPECT_EQ(table_.view().members[1].epoch, 7);
  EXPECT_THAT(table_.view().problem, HasSubstr("epoch changed"));
}

TEST_F(StaticTableTest, TwoAddressesOfOneNodeAreOneMember) {
  Answer(0, Member("a"));
  Answer(1, Member("a"));
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
  Pass(absl::Seconds(4));
  Answer(1, Member("a"));
  Pass(absl::Seconds(4));
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
}

TEST_F(StaticTableTest, TwoNodesOfOneNameAreAProblem) {
  Answer(0, Member("a", 1));
  Answer(1, Member("a", 2));
  Answer(2, Member("m", 9));
  EXPECT_THAT(Names(), ElementsAre("a", "m"));
  EXPECT_EQ(table_.view().members[0].epoch, 1);
  EXPECT_EQ(table_.view().members[1].epoch, 7);
  EXPECT_EQ(table_.view().problem,
            "two nodes are called a: the one at b:1 is left out; "
            "two nodes are called m: the one at c:1 is left out");
}

TEST_F(StaticTableTest, AnAnswerThatIsNoRecordIsAFailure) {
  Answer(0, Member("a"));
  MemberRecord bad = Member("../etc");
  Answer(0, bad);
  EXPECT_THAT(table_.view().problem, HasSubstr("a:1: name \"../etc\""));
  Pass(absl::Seconds(5));
  EXPECT_THAT(Names(), ElementsAre("m"));
}

}  // namespace
}  // namespace larder

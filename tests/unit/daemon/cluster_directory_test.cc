#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/cluster/directory.h"
#include "tests/unit/daemon/cluster_testing.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::Duration kAnswerTimeout = DirectoryOptions{}.answer_timeout;

// --- whole nodes --------------------------------------------------------------------------------

class DirectoryCluster : public TestCluster {
 public:
  DirectoryCluster(int count, int directories) : TestCluster(count, 64, {}, {}, directories) {}

  bool IsLocating(TestNode& node, const std::vector<uint64_t>& numbers) {
    std::vector<KeyHash> keys;
    for (uint64_t number : numbers) keys.push_back(HashOf(number));
    return node.harness.core()
        .Match(node.space, keys, {.may_wait = true}, node.harness.now)
        ->locating;
  }
  // What a client is told that waits for answers.
  uint32_t MatchWaiting(TestNode& node, const std::vector<uint64_t>& numbers) {
    if (IsLocating(node, numbers)) Run();
    return node.Match(numbers);
  }
  // From now on nothing that is sent to this node arrives.
  void Silence(const std::string& name) {
    on_order = [name](TestNode&, ClusterOrder& order) { return order.node != name; };
  }
};

TEST(DirectoryMode, FindsAndFetchesThroughADirectoryNode) {
  DirectoryCluster cluster(4, 1);
  EXPECT_FALSE(cluster[0].cluster->asks());
  EXPECT_TRUE(cluster[3].cluster->asks());
  ASSERT_TRUE(cluster[0].Put(1));  // the directory node's own
  ASSERT_TRUE(cluster[1].Put(2, 1, 1));
  ASSERT_TRUE(cluster[2].Put(3, 2, 2));
  cluster.Run();
  EXPECT_EQ(cluster[3].cluster->GetStats().index.entries, 0u);
  EXPECT_EQ(cluster.MatchWaiting(cluster[3], {1, 2, 3, 4}), 3u);
  // Now it is known, and nobody has to be asked.
  EXPECT_FALSE(cluster.IsLocating(cluster[3], {1, 2, 3, 4}));
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.questions, 1u);
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.answers, 1u);
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.found, 3u);
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.nowhere, 1u);
  EXPECT_EQ(cluster[0].cluster->GetStats().answered_questions, 1u);
  EXPECT_EQ(cluster[0].cluster->GetStats().answered_keys, 4u);
  EXPECT_EQ(cluster[3].Load({1, 2, 3, 4}), 3u);
  cluster.Run();
  for (uint64_t number : {1, 2, 3}) EXPECT_TRUE(cluster[3].HoldsRightBytes(number)) << number;
}

TEST(DirectoryMode, ALoadAsksByItself) {
  DirectoryCluster cluster(3, 1);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  EXPECT_EQ(cluster[2].Load({1, 2}), 2u);  // perhaps
  EXPECT_TRUE(cluster[2].cluster->fetching());
  const uint64_t ended = cluster[2].harness.core().loads_ended();
  cluster.Run();
  EXPECT_GT(cluster[2].harness.core().loads_ended(), ended);
  EXPECT_EQ(cluster[2].Load({1, 2}), 1u);
  cluster.Run();
  EXPECT_TRUE(cluster[2].HoldsRightBytes(1));
  EXPECT_FALSE(cluster[2].cluster->fetching());
}

TEST(DirectoryMode, WhatNobodyHoldsIsAMissThatIsNotAskedForAgainAtOnce) {
  DirectoryCluster cluster(2, 1);
  EXPECT_EQ(cluster.MatchWaiting(cluster[1], {7}), 0u);
  EXPECT_FALSE(cluster.IsLocating(cluster[1], {7}));
  EXPECT_EQ(cluster[1].cluster->GetStats().directory.questions, 1u);
  ASSERT_TRUE(cluster[0].Put(7));
  cluster.Advance(DirectoryOptions{}.nowhere_for);
  EXPECT_EQ(cluster.MatchWaiting(cluster[1], {7}), 1u);
}

TEST(DirectoryMode, AnswersAreBelievedForATimeAndThenRemoved) {
  DirectoryCluster cluster(3, 1);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  EXPECT_EQ(cluster.MatchWaiting(cluster[2], {1}), 1u);
  const KeyHash key = HashOf(1);
  ASSERT_EQ(*cluster[1].harness.core().Remove(cluster[1].space, {&key, 1}, RemovalCause::kRemoved),
            1u);
  cluster.Advance(DirectoryOptions{}.found_for - absl::Milliseconds(1));
  EXPECT_EQ(cluster.MatchWaiting(cluster[2], {1}), 1u);
  cluster.Advance(absl::Milliseconds(1));
  EXPECT_EQ(cluster[2].cluster->GetStats().index.entries, 0u);
  EXPECT_EQ(cluster.MatchWaiting(cluster[2], {1}), 0u);
}

TEST(DirectoryMode, WhatIsGoneIsAskedForAgain) {
  DirectoryCluster cluster(4, 1);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  EXPECT_EQ(cluster.MatchWaiting(cluster[3], {1}), 1u);
  const KeyHash key = HashOf(1);
  ASSERT_EQ(*cluster[1].harness.core().Remove(cluster[1].space, {&key, 1}, RemovalCause::kRemoved),
            1u);
  ASSERT_TRUE(cluster[2].Put(1));
  cluster.Run();
  EXPECT_EQ(cluster[3].Load({1}), 1u);
  cluster.Run();
  EXPECT_EQ(cluster[3].cluster->GetStats().index.entries, 0u);
  cluster.Advance(absl::Seconds(1));  // the pause after a failed fetch
  EXPECT_EQ(cluster.MatchWaiting(cluster[3], {1}), 1u);
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.questions, 2u);
}

TEST(DirectoryMode, ALostDirectoryNodeIsReplacedByAnotherAndThenByNobody) {
  DirectoryCluster cluster(4, 2);
  for (uint64_t number = 1; number <= 8; ++number) ASSERT_TRUE(cluster[2].Put(number));
  cluster.Run();
  cluster.Cut(cluster[0], cluster[3]);
  for (uint64_t number = 1; number <= 4; ++number) {
    EXPECT_EQ(cluster.MatchWaiting(cluster[3], {number}), 1u) << number;
  }
  EXPECT_EQ(cluster[0].cluster->GetStats().answered_questions, 0u);
  cluster.Cut(cluster[1], cluster[3]);
  // At once: there is nobody to wait for.
  EXPECT_FALSE(cluster.IsLocating(cluster[3], {5}));
  EXPECT_EQ(cluster[3].Match({5}), 0u);
  EXPECT_EQ(cluster[3].Load({5}), 0u);
  EXPECT_EQ(cluster[3].Match({1}), 1u);  // is still known
}

TEST(DirectoryMode, WhatADirectoryNodeDoesNotKnowYetAnotherIsAsked) {
  DirectoryCluster cluster(4, 2);
  for (uint64_t number = 1; number <= 8; ++number) ASSERT_TRUE(cluster[2].Put(number));
  cluster.Run();
  // As after its start: it has not been told yet.
  cluster[0].cluster->OnFollowEnd("node2", /*broken=*/true);
  cluster.Run();
  for (uint64_t number = 1; number <= 8; ++number) {
    EXPECT_EQ(cluster.MatchWaiting(cluster[3], {number}), 1u) << number;
  }
  EXPECT_GT(cluster[0].cluster->GetStats().answered_questions, 0u);
  EXPECT_EQ(cluster[1].cluster->GetStats().answered_questions, 8u);
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.found, 8u);
  // With nobody else to ask it is a miss, at once.
  cluster.Cut(cluster[1], cluster[3]);
  EXPECT_EQ(cluster.MatchWaiting(cluster[3], {9}), 0u);
  EXPECT_FALSE(cluster.IsLocating(cluster[3], {9}));
  EXPECT_EQ(cluster[3].cluster->GetStats().directory.given_up, 1u);
}

TEST(DirectoryMode, ASilentDirectoryNodeCostsOneTimeout) {
  DirectoryCluster cluster(3, 1);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  cluster.Silence("node0");
  EXPECT_TRUE(cluster.IsLocating(cluster[2], {1}));
  cluster.Run();
  EXPECT_TRUE(cluster.IsLocating(cluster[2], {1}));
  ASSERT_TRUE(cluster[2].cluster->next_wakeup().has_value());
  EXPECT_LE(*cluster[2].cluster->next_wakeup(), cluster[2].harness.now + kAnswerTimeout);
  cluster.Advance(kAnswerTimeout);
  EXPECT_FALSE(cluster.IsLocating(cluster[2], {1}));
  EXPECT_EQ(cluster[2].Match({1}), 0u);
  // It is left alone for a while, whatever is asked.
  EXPECT_FALSE(cluster.IsLocating(cluster[2], {2}));
  cluster.on_order = nullptr;
  cluster.Advance(DirectoryOptions{}.silent_pause);
  EXPECT_EQ(cluster.MatchWaiting(cluster[2], {1}), 1u);
}

TEST(DirectoryMode, AnswersThatNobodyAskedForAreDropped) {
  DirectoryCluster cluster(4, 1);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  TestNode& node = cluster[3];
  const auto answer = [&](const std::string& from, uint64_t question, uint32_t key,
                          const std::string& holder) {
    const PeerLocated located{
        .question = question,
        .items = {{.key = key, .pages = 1, .tiers = kTierMemory, .node = holder}}};
    node.cluster->OnMessage(from, WriteMessage(located), nullptr, node.harness.now);
    node.cluster->Step(node.harness.now);
  };
  answer("node0", 1, 0, "node2");
  EXPECT_EQ(node.cluster->GetStats().directory.unwanted, 1u);
  EXPECT_EQ(node.cluster->GetStats().index.entries, 0u);
  EXPECT_TRUE(cluster.IsLocating(node, {1}));
  node.cluster->Step(node.harness.now);
  // From another than the one that was asked.
  answer("node2", 1, 0, "node2");
  EXPECT_EQ(node.cluster->GetStats().directory.unwanted, 2u);
  EXPECT_TRUE(cluster.IsLocating(node, {1}));
  // Of a key that is not in the question.
  answer("node0", 1, 1, "node2");
  EXPECT_EQ(node.cluster->GetStats().bad_messages, 1u);
  EXPECT_EQ(node.cluster->GetStats().index.entries, 0u);
  // Of a node that is no member.
  cluster.Advance(DirectoryOptions{}.nowhere_for);
  EXPECT_TRUE(cluster.IsLocating(node, {1}));
  node.cluster->Step(node.harness.now);
  answer("node0", 2, 0, "stranger");
  EXPECT_EQ(node.cluster->GetStats().index.entries, 0u);
  EXPECT_EQ(node.Match({1}), 0u);
}

TEST(DirectoryMode, TooManyKeysInAQuestionAreABadMessage) {
  DirectoryCluster cluster(2, 1);
  const PeerLocate locate{
      .space = {}, .question = 1, .keys = std::vector<KeyHash>(kLocateKeysMax + 1)};
  cluster[0].cluster->OnMessage("node1", WriteMessage(locate), nullptr, cluster[0].harness.now);
  EXPECT_EQ(cluster[0].cluster->GetStats().bad_messages, 1u);
  EXPECT_EQ(cluster[0].cluster->GetStats().answered_questions, 0u);
}

TEST(DirectoryMode, BeginsAndEndsWithTheDirectoryNodes) {
  DirectoryCluster cluster(3, 0);
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  TestNode& node = cluster[2];
  std::vector<MemberRecord> members(3);
  for (int i = 0; i < 3; ++i) members[i].name = absl::StrCat("node", i);
  EXPECT_EQ(node.Match({1}), 1u);
  members[0].directory = true;
  node.cluster->SetMembers(members, node.harness.now);
  cluster.Run();  // What was followed is forgotten.
  EXPECT_EQ(node.cluster->GetStats().index.entries, 0u);
  EXPECT_EQ(node.Match({1}), 0u);
  EXPECT_EQ(cluster.MatchWaiting(node, {1}), 1u);
  members[0].directory = false;
  node.cluster->SetMembers(members, node.harness.now);
  EXPECT_EQ(node.Match({1}), 0u);
  EXPECT_FALSE(node.cluster->asks());
}

// --- the table ----------------------------------------------------------------------------------

class DirectoryTest : public ::testing::Test {
 protected:
  static FetchName Name(uint64_t number) { return {.space = 1, .key = {.low = number, .high = 1}}; }

  // Asks for the chunk and answers at once.
  void AskAndLearn(Directory& directory, uint64_t number, const Directory::Holders& holders) {
    EXPECT_EQ(directory.Look(Name(number), now_), Directory::Known::kAsked);
    for (const Directory::Question& question : directory.TakeQuestions(now_)) {
      ASSERT_TRUE(directory.TakeAnswered(question.node, question.number).has_value());
      for (const KeyHash& key : question.keys) directory.Learn({1, key}, holders, now_);
    }
  }

  MonotonicTime now_{1'000'000};
};

TEST_F(DirectoryTest, AsksForEachChunkOnceAndSpreadsQuestions) {
  Directory directory({.question_keys_max = 2});
  directory.SetNodes({4, 5}, now_);
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (uint64_t number = 0; number < 5; ++number) {
      EXPECT_EQ(directory.Look(Name(number), now_), Directory::Known::kAsked);
    }
  }
  const auto questions = directory.TakeQuestions(now_);
  ASSERT_EQ(questions.size(), 3u);
  EXPECT_EQ(questions[0].keys.size(), 2u);
  EXPECT_EQ(questions[2].keys.size(), 1u);
  EXPECT_THAT(directory.TakeQuestions(now_), IsEmpty());
  AskAndLearn(directory, 101, {});
  EXPECT_EQ(directory.Look(Name(101), now_), Directory::Known::kNowhere);
  // Whom it asks follows from the question's first chunk.
  EXPECT_EQ(questions[0].node, 4);
  EXPECT_EQ(directory.Look(Name(103), now_), Directory::Known::kAsked);
  EXPECT_EQ(directory.TakeQuestions(now_)[0].node, 5);
}

TEST_F(DirectoryTest, ASecondOneIsAskedAndThenNobody) {
  Directory directory(DirectoryOptions{});
  directory.SetNodes({4, 5, 6}, now_);
  EXPECT_EQ(directory.Look(Name(0), now_), Directory::Known::kAsked);
  const auto first = directory.TakeQuestions(now_);
  ASSERT_EQ(first.size(), 1u);
  now_ = now_ + kAnswerTimeout;
  directory.Tick(now_);
  EXPECT_FALSE(directory.TakeGivenUp());
  const auto second = directory.TakeQuestions(now_);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_NE(second[0].node, first[0].node);
  EXPECT_EQ(second[0].keys, first[0].keys);
  // The first one's answer is too late.
  EXPECT_FALSE(directory.TakeAnswered(first[0].node, first[0].number).has_value());
  now_ = now_ + kAnswerTimeout;
  directory.Tick(now_);
  EXPECT_TRUE(directory.TakeGivenUp());
  EXPECT_THAT(directory.TakeQuestions(now_), IsEmpty());
  EXPECT_EQ(directory.Look(Name(0), now_), Directory::Known::kNowhere);
  EXPECT_EQ(directory.stats().unanswered, 2u);
  EXPECT_EQ(directory.stats().given_up, 1u);
  EXPECT_EQ(directory.stats().nowhere, 0u);
  EXPECT_FALSE(directory.asking());
  EXPECT_EQ(directory.next_wakeup(), std::nullopt);
}

TEST_F(DirectoryTest, WhatALostNodeWasAskedGoesToTheNextAtOnce) {
  Directory directory(DirectoryOptions{});
  directory.SetNodes({4, 5}, now_);
  EXPECT_EQ(directory.Look(Name(0), now_), Directory::Known::kAsked);
  ASSERT_EQ(directory.TakeQuestions(now_)[0].node, 4);
  directory.SetNodes({5}, now_);
  const auto again = directory.TakeQuestions(now_);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].node, 5);
  directory.SetNodes({}, now_);
  EXPECT_TRUE(directory.TakeGivenUp());
  EXPECT_EQ(directory.Look(Name(1), now_), Directory::Known::kNothing);
}

TEST_F(DirectoryTest, ItsTablesAreBounded) {
  Directory directory({.known_max = 3, .asked_max = 4});
  directory.SetNodes({4}, now_);
  for (uint64_t number = 0; number < 10; ++number) AskAndLearn(directory, number, {7, 8});
  EXPECT_EQ(directory.stats().known, 3u);
  const auto expired = directory.TakeExpired();
  ASSERT_EQ(expired.size(), 7u);
  EXPECT_EQ(expired[0].first, Name(0));
  EXPECT_THAT(expired[0].second, ElementsAre(7, 8));
  for (uint64_t number = 10; number < 20; ++number) AskAndLearn(directory, number, {});
  EXPECT_EQ(directory.stats().known, 6u);
  for (uint64_t number = 30; number < 34; ++number) {
    EXPECT_EQ(directory.Look(Name(number), now_), Directory::Known::kAsked);
  }
  EXPECT_EQ(directory.Look(Name(34), now_), Directory::Known::kNothing);
  EXPECT_EQ(directory.stats().asked, 4u);
}

TEST_F(DirectoryTest, WhatWasForgottenAndLearnedAgainLivesItsWholeTime) {
  Directory directory(DirectoryOptions{});
  directory.SetNodes({4}, now_);
  AskAndLearn(directory, 1, {7});
  now_ = now_ + absl::Seconds(3);
  directory.Forget(Name(1));
  EXPECT_EQ(directory.TakeExpired().size(), 1u);
  AskAndLearn(directory, 1, {8});
  now_ = now_ + absl::Seconds(3);
  directory.Tick(now_);
  EXPECT_EQ(directory.Look(Name(1), now_), Directory::Known::kFound);
  now_ = now_ + absl::Seconds(2);
  directory.Tick(now_);
  const auto expired = directory.TakeExpired();
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_THAT(expired[0].second, ElementsAre(8));
  EXPECT_EQ(directory.Look(Name(1), now_), Directory::Known::kAsked);
}

}  // namespace
}  // namespace larder

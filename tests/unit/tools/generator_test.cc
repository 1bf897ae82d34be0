#include "tools/workload/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/hash.h"
#include "common/random.h"
#include "tools/workload/token_chain.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Request> Generate(absl::string_view kind, uint64_t seed,
                              const GeneratorOptions& options) {
  std::vector<Request> requests;
  auto source = MakeGenerator(kind, seed, options);
  EXPECT_TRUE(source.ok()) << source.status();
  if (!source.ok()) return requests;
  EXPECT_EQ((*source)->total_hint(), options.requests);
  while (true) {
    auto request = (*source)->Next();
    EXPECT_TRUE(request.ok()) << request.status();
    if (!request.ok() || !request->has_value()) return requests;
    requests.push_back(**request);
  }
}

// Of every field of every request.
uint64_t Digest(const std::vector<Request>& requests) {
  std::vector<uint64_t> words;
  for (const Request& request : requests) {
    words.push_back(std::bit_cast<uint64_t>(request.timestamp_ms));
    words.push_back(request.input_tokens);
    words.push_back(request.output_tokens);
    words.push_back(request.session);
    words.push_back(request.block_ids.size());
    words.insert(words.end(), request.block_ids.begin(), request.block_ids.end());
  }
  return HashBytes({reinterpret_cast<const uint8_t*>(words.data()), words.size() * 8}).low;
}

// The share of blocks that some earlier request had.
double ReuseRatio(const std::vector<Request>& requests) {
  std::unordered_set<uint64_t> seen;
  uint64_t accesses = 0;
  uint64_t reused = 0;
  for (const Request& request : requests) {
    for (const uint64_t id : request.block_ids) {
      ++accesses;
      reused += seen.insert(id).second ? 0 : 1;
    }
  }
  return static_cast<double>(reused) / static_cast<double>(accesses);
}

class AllKinds : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Generator, AllKinds, testing::Values("conversation", "agents", "rag"));

TEST_P(AllKinds, IsAFunctionOfTheSeed) {
  const GeneratorOptions options = {.requests = 1500};
  const uint64_t digest = Digest(Generate(GetParam(), 7, options));
  EXPECT_EQ(Digest(Generate(GetParam(), 7, options)), digest);
  EXPECT_NE(Digest(Generate(GetParam(), 8, options)), digest);
}

TEST_P(AllKinds, EqualIdsHaveEqualPredecessorsAndDepths) {
  constexpr uint64_t kSeed = 11;
  const std::vector<Request> requests = Generate(GetParam(), kSeed, {.requests = 4000});
  std::unordered_map<uint64_t, std::pair<uint64_t, size_t>> places;
  for (const Request& request : requests) {
    uint64_t previous = 0;
    for (size_t depth = 0; depth < request.block_ids.size(); ++depth) {
      const uint64_t id = request.block_ids[depth];
      const auto [known, is_new] = places.try_emplace(id, previous, depth);
      ASSERT_EQ(known->second, std::make_pair(previous, depth)) << "seed " << kSeed;
      previous = id;
    }
  }
  EXPECT_GT(places.size(), 1000u);
}

TEST_P(AllKinds, ComesInOrderWithFullBlocksOnly) {
  for (const uint32_t tokens_per_block : {16u, 512u}) {
    const GeneratorOptions options = {.requests = 2000, .tokens_per_block = tokens_per_block};
    const std::vector<Request> requests = Generate(GetParam(), 3, options);
    ASSERT_EQ(requests.size(), options.requests);
    double last_ms = 0;
    for (const Request& request : requests) {
      ASSERT_GE(request.timestamp_ms, last_ms);
      last_ms = request.timestamp_ms;
      ASSERT_EQ(request.block_ids.size(), request.input_tokens / tokens_per_block);
      ASSERT_GT(request.input_tokens, 0u);
      ASSERT_GT(request.output_tokens, 0u);
      ASSERT_LT(request.session, requests.size());
    }
  }
}

TEST_P(AllKinds, KeepsTheMeanRate) {
  GeneratorOptions options = {.requests = 20'000, .requests_per_second = 50, .users = 20};
  const std::vector<Request> requests = Generate(GetParam(), 5, options);
  const double seconds = requests.back().timestamp_ms / 1000;
  EXPECT_NEAR(static_cast<double>(requests.size()) / seconds, 50, 5);
}

TEST(Generator, ConversationsGrowTurnByTurn) {
  const std::vector<Request> requests = Generate("conversation", 1, {.requests = 4000});
  std::unordered_map<uint64_t, const Request*> last;
  std::set<uint64_t> first_blocks;
  for (const Request& request : requests) {
    if (!request.block_ids.empty()) first_blocks.insert(request.block_ids[0]);
    const Request*& before = last[request.session];
    if (before != nullptr) {
      ASSERT_GT(request.input_tokens, before->input_tokens + before->output_tokens);
      ASSERT_TRUE(std::equal(before->block_ids.begin(), before->block_ids.end(),
                             request.block_ids.begin()));
    }
    before = &request;
  }
  // Four turns a session, and a few system prompts for all of them.
  EXPECT_NEAR(static_cast<double>(requests.size()) / static_cast<double>(last.size()), 4, 0.6);
  EXPECT_LE(first_blocks.size(), 20u);
  EXPECT_GT(ReuseRatio(requests), 0.6);
}

TEST(Generator, AgentsMostlyExtendTheirContextAndSometimesFork) {
  const std::vector<Request> requests = Generate("agents", 2, {.requests = 6000, .users = 16});
  std::unordered_map<uint64_t, const Request*> last;
  uint64_t turns = 0;
  uint64_t forks = 0;
  for (const Request& request : requests) {
    const Request*& before = last[request.session];
    if (before != nullptr) {
      ++turns;
      const bool extends =
          request.block_ids.size() >= before->block_ids.size() &&
          std::equal(before->block_ids.begin(), before->block_ids.end(), request.block_ids.begin());
      // Even a fork begins with the session's system prompt.
      ASSERT_EQ(request.block_ids[0], before->block_ids[0]);
      forks += extends ? 0 : 1;
    }
    before = &request;
  }
  // Forks and returns from them; a return extends nothing either.
  EXPECT_GT(forks, turns / 50);
  EXPECT_LT(forks, turns / 10);
  EXPECT_GT(ReuseRatio(requests), 0.9);
}

TEST(Generator, RagSharesAnInstructionAndPopularDocuments) {
  const std::vector<Request> requests = Generate("rag", 4, {.requests = 3000});
  std::set<std::vector<uint64_t>> prompts;
  for (const Request& request : requests) {
    ASSERT_EQ(request.block_ids[0], requests[0].block_ids[0]);
    ASSERT_EQ(request.block_ids[1], requests[0].block_ids[1]);
    prompts.insert(request.block_ids);
  }
  EXPECT_GT(prompts.size(), requests.size() * 9 / 10);
  EXPECT_GT(ReuseRatio(requests), 0.2);
  EXPECT_LT(ReuseRatio(requests), 0.8);
}

TEST(Generator, RefusesBadOptionsByName) {
  const auto error = [](absl::string_view kind, const GeneratorOptions& options) {
    const absl::Status status = MakeGenerator(kind, 1, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(error("poetry", {}), "no workload 'poetry'; there are conversation, agents, rag");
  EXPECT_EQ(error("rag", {.requests = 0}), "requests must be from 1 to 1000000000, not 0");
  EXPECT_EQ(error("rag", {.tokens_per_block = 15}),
            "tokens_per_block must be from 16 to 65536, not 15");
  EXPECT_EQ(error("rag", {.users = 100'001}), "users must be from 1 to 100000, not 100001");
  EXPECT_THAT(error("rag", {.requests_per_second = 0}), HasSubstr("requests_per_second"));
  EXPECT_THAT(error("rag", {.requests_per_second = std::numeric_limits<double>::quiet_NaN()}),
              HasSubstr("requests_per_second"));
}

TEST(TokenChain, IdsNamePrefixes) {
  constexpr TextId kFirst = {1};
  constexpr TextId kSecond = {2};
  TokenChain chain(16);
  chain.Append(kFirst, 40);
  EXPECT_EQ(chain.block_ids().size(), 2u);
  EXPECT_EQ(chain.tokens(), 40u);

  // More of the same text: the same blocks in front.
  TokenChain longer(16);
  longer.Append(kFirst, 50);
  EXPECT_THAT(longer.block_ids(), ElementsAre(chain.block_ids()[0], chain.block_ids()[1],
                                              testing::Not(chain.block_ids()[1])));

  // A branch shares what was there and nothing after.
  TokenChain branch = chain;
  branch.Append(kSecond, 24);
  chain.Append(kFirst, 24);
  EXPECT_EQ(branch.block_ids()[1], chain.block_ids()[1]);
  EXPECT_NE(branch.block_ids()[2], chain.block_ids()[2]);
  EXPECT_NE(branch.block_ids()[3], chain.block_ids()[3]);

  // The same text behind another prefix, or shifted by one token, has other ids.
  TokenChain shifted(16);
  shifted.Append(kSecond, 1);
  shifted.Append(kFirst, 47);
  EXPECT_EQ(shifted.block_ids().size(), 3u);
  for (const uint64_t id : shifted.block_ids()) {
    EXPECT_THAT(longer.block_ids(), testing::Not(testing::Contains(id)));
  }
}

}  // namespace
}  // namespace larder

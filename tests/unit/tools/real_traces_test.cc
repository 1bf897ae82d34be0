// The public traces, where they are present, against the counts published with them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "tools/workload/trace_reader.h"

namespace larder {
namespace {

struct Counts {
  uint64_t requests = 0;
  uint64_t accesses = 0;
  uint64_t unique = 0;
  // Blocks whose id was seen before behind another block: their ids would not name prefixes.
  uint64_t broken_prefixes = 0;
};

std::string TracesFolder() {
  const char* folder = std::getenv("LARDER_TRACES");
  return folder != nullptr ? folder : LARDER_SOURCE_DIR "/../shared/traces";
}

void CountTrace(const std::string& path, Counts& counts) {
  constexpr uint64_t kNoPredecessor = ~uint64_t{0};
  auto source = OpenTrace(path);
  ASSERT_TRUE(source.ok()) << source.status();
  std::unordered_map<uint64_t, uint64_t> predecessors;
  while (true) {
    const auto request = (*source)->Next();
    ASSERT_TRUE(request.ok()) << request.status();
    if (!request->has_value()) break;
    ++counts.requests;
    uint64_t previous = kNoPredecessor;
    for (const uint64_t id : (*request)->block_ids) {
      ++counts.accesses;
      const auto [known, is_new] = predecessors.try_emplace(id, previous);
      if (!is_new && known->second != previous) ++counts.broken_prefixes;
      previous = id;
    }
  }
  counts.unique = predecessors.size();
}

void ExpectCounts(const char* name, uint64_t requests, uint64_t accesses, uint64_t unique) {
  const std::string path = absl::StrCat(TracesFolder(), "/", name);
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is not there; set LARDER_TRACES to the folder of the public traces";
  }
  Counts counts;
  ASSERT_NO_FATAL_FAILURE(CountTrace(path, counts));
  EXPECT_EQ(counts.requests, requests);
  EXPECT_EQ(counts.accesses, accesses);
  EXPECT_EQ(counts.unique, unique);
  EXPECT_EQ(counts.broken_prefixes, 0u);
}

TEST(RealTraces, MooncakeConversation) {
  ExpectCounts("mooncake_conversation.jsonl.xz", 12'031, 288'500, 182'790);
}

TEST(RealTraces, LmcacheMiniswe) { ExpectCounts("lmcache_miniswe.jsonl.xz", 402, 37'984, 2'766); }

// The table that comes with the traces rounds this one's blocks; these are the file's own.
TEST(RealTraces, Agentic) { ExpectCounts("agentic_a.jsonl.xz", 20'598, 4'849'268, 184'127); }

}  // namespace
}  // namespace larder

// Public traces, where they are present, through larder-bench and a daemon of its own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/daemon_process.h"

namespace larder {
namespace {

using Json = nlohmann::json;

// Requests of the long trace; LARDER_TRACE_REQUESTS=12031 is all of it.
constexpr int kRequests = 3000;

std::string TraceFile(const std::string& name) {
  const char* folder = std::getenv("LARDER_TRACES");
  return absl::StrCat(folder != nullptr ? folder : LARDER_SOURCE_DIR "/../shared/traces", "/", name,
                      ".jsonl.xz");
}

// Replays, and checks what holds for every trace: all that was fetched is right.
Json Replay(const std::string& trace, const std::vector<std::string>& options) {
  std::vector<std::string> arguments = {LARDER_BENCH_PATH, "replay",    "--trace",    trace,
                                        "--private",       "--larderd", LARDERD_PATH, "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const auto bench = ChildProcess::Start(arguments);
  const auto end = bench->WaitForEnd(absl::Minutes(10));
  EXPECT_EQ(end, "exit 0") << bench->Output();
  Json json = Json::parse(bench->Output(), nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(json.is_object()) << bench->Output();
  if (!json.is_object()) return Json::object();
  EXPECT_EQ(json["corrupt"], 0) << bench->Output();
  EXPECT_EQ(json["errors"], 0) << bench->Output();
  EXPECT_GT(json["hit_ratio"], 0) << bench->Output();
  EXPECT_GT(json["bytes_fetched"], 0) << bench->Output();
  std::printf("%s: %s requests, hit ratio %s, %s chunks evicted, %s s\n", trace.c_str(),
              json["requests"].dump().c_str(), json["hit_ratio"].dump().c_str(),
              json["evicted_chunks"].dump().c_str(), json["elapsed_s"].dump().c_str());
  return json;
}

TEST(TraceTest, MooncakeConversationUnderEviction) {
  const std::string trace = TraceFile("mooncake_conversation");
  if (!std::filesystem::exists(trace)) GTEST_SKIP() << "there is no " << trace;
  const int requests = NumberFromEnvironment("LARDER_TRACE_REQUESTS", kRequests);
  const Json json = Replay(
      trace, {"--limit", absl::StrCat(requests), "--arena-bytes", "1GiB", "--concurrency", "2"});
  EXPECT_EQ(json["requests"], requests);
  EXPECT_GT(json["evicted_chunks"], 0);
}

TEST(TraceTest, LmcacheMinisweWithRoomForAll) {
  const std::string trace = TraceFile("lmcache_miniswe");
  if (!std::filesystem::exists(trace)) GTEST_SKIP() << "there is no " << trace;
  const Json json = Replay(trace, {"--tokens-per-block", "64", "--arena-bytes", "256MiB"});
  EXPECT_EQ(json["requests"], 402);
  EXPECT_EQ(json["evicted_chunks"], 0);
  // With room for everything and one request at a time the hits are a property of the trace.
  EXPECT_EQ(json["blocks"], 37'582);
  EXPECT_EQ(json["hit_blocks"], 35'216);
  EXPECT_EQ(json["stored_chunks"], 37'582 - 35'216);
}

}  // namespace
}  // namespace larder

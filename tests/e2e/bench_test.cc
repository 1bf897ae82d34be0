// Small runs of larder-bench, so that it never rots: what it prints is read back and checked.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "common/hash.h"
#include "tools/bench/geometry.h"
#include "tools/workload/content.h"

namespace larder {
namespace {

using Json = nlohmann::json;

struct Outcome {
  int exit_code = -1;
  std::string output;  // standard output and standard error
};

// Runs larder-bench with `arguments` in a shell, which has nothing to quote in them.
Outcome RunBench(const std::string& arguments, bool with_errors = false) {
  const std::string command =
      absl::StrCat(LARDER_BENCH_PATH, " ", arguments, with_errors ? " 2>&1" : "");
  FILE* pipe = popen(command.c_str(), "r");
  Outcome outcome;
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (size_t size; (size = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    outcome.output.append(buffer, size);
  }
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

Json ParseOutput(const Outcome& outcome) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  Json json = Json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(json.is_object()) << outcome.output;
  return json;
}

class BenchTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(setenv("LARDERD", LARDERD_PATH, 1), 0); }
};

TEST_F(BenchTest, ReplayOfAWorkloadChecksEveryByte) {
  const Json json = ParseOutput(RunBench(
      "replay --generate conversation --seed 3 --limit 60 --arena-bytes 64MiB --concurrency 2 "
      "--json"));
  EXPECT_EQ(json["requests"], 60);
  EXPECT_EQ(json["corrupt"], 0);
  EXPECT_EQ(json["errors"], 0);
  EXPECT_GT(json["hit_tokens"], 0);
  EXPECT_GT(json["bytes_fetched"], 0);
  EXPECT_GT(json["bytes_put"], 0);
  // The workload is larger than the arena.
  EXPECT_GT(json["evicted_chunks"], 0);
  EXPECT_EQ(json["bytes_fetched"], json["hit_blocks"].get<uint64_t>() * 256 * 1024);
  EXPECT_DOUBLE_EQ(json["hit_ratio"],
                   json["hit_tokens"].get<double>() / json["tokens"].get<double>());
  EXPECT_GE(json["match_us"]["p99"], json["match_us"]["p50"]);
}

TEST_F(BenchTest, ReplayOfCodedBlocksChecksThemToo) {
  for (const std::string codec : {"lossless", "larder --levels 2"}) {
    SCOPED_TRACE(codec);
    const Json json = ParseOutput(
        RunBench("replay --generate conversation --seed 3 --limit 8 --arena-bytes 256MiB "
                 "--bytes-per-token 8192 --tokens-per-block 64 --json --codec " +
                 codec));
    EXPECT_EQ(json["corrupt"], 0);
    EXPECT_EQ(json["errors"], 0);
    EXPECT_GT(json["bytes_fetched"], 0);
    EXPECT_GT(json["container_bytes_put"], 0);
    EXPECT_LT(json["container_bytes_put"].get<double>(), 0.8 * json["bytes_put"].get<double>());
  }
  const Outcome wrong = RunBench("replay --generate conversation --limit 1 --codec zip",
                                 /*with_errors=*/true);
  EXPECT_NE(wrong.exit_code, 0);
  EXPECT_NE(wrong.output.find("none of raw, lossless"), std::string::npos) << wrong.output;
  const Outcome levels =
      RunBench("replay --generate conversation --limit 1 --codec lossless --levels 2",
               /*with_errors=*/true);
  EXPECT_NE(levels.exit_code, 0);
  EXPECT_NE(levels.output.find("codec lossless has 1"), std::string::npos) << levels.output;
}

TEST_F(BenchTest, DiskComparesADeviceWithThePlainLoop) {
  // The build folder: the temporary directory may have no O_DIRECT.
  const Outcome outcome = RunBench(absl::StrCat(
      "disk --quick --json --path ", std::filesystem::current_path().string(), " 2>/dev/null"));
  const Json json = ParseOutput(outcome);
  for (const char* figure : {"read_1mib", "read_4mib", "write_1mib", "write_4mib"}) {
    SCOPED_TRACE(figure);
    const double device = json["raw"][absl::StrCat(figure, "_gb_per_s")];
    const double loop = json["raw"][absl::StrCat(figure, "_raw_gb_per_s")];
    EXPECT_GT(device, 0);
    EXPECT_GT(loop, 0);
    EXPECT_DOUBLE_EQ(json[absl::StrCat(figure, "_ratio")], device / loop);
  }
  EXPECT_FALSE(json["run"]["file_system"].get<std::string>().empty());
  for (const auto& entry : std::filesystem::directory_iterator(".")) {
    EXPECT_FALSE(absl::StartsWith(entry.path().filename().string(), "larder-bench-"));
  }
}

TEST_F(BenchTest, ReplayOfATraceLeavesOutPartialBlocks) {
  const std::string trace = absl::StrCat(testing::TempDir(), "/bench_test_", getpid(), ".jsonl");
  std::ofstream(trace)
      << R"({"timestamp": 0, "input_length": 1100, "output_length": 1, "hash_ids": [1, 2, 3]})"
      << "\n"
      << R"({"timestamp": 0, "input_length": 1540, "output_length": 1, "hash_ids": [1, 2, 4, 5]})"
      << "\n";
  const Json json = ParseOutput(RunBench(absl::StrCat("replay ", trace, " --json")));
  EXPECT_EQ(json["requests"], 2);
  EXPECT_EQ(json["tokens"], 1100 + 1540);
  EXPECT_EQ(json["blocks"], 5);
  EXPECT_EQ(json["partial_blocks_skipped"], 2);
  EXPECT_EQ(json["hit_blocks"], 2);
  EXPECT_EQ(json["hit_tokens"], 1024);
  EXPECT_EQ(json["blocks_put"], 3);

  const Outcome wrong_size =
      RunBench(absl::StrCat("replay ", trace, " --tokens-per-block 1024"), /*with_errors=*/true);
  EXPECT_EQ(wrong_size.exit_code, 2) << wrong_size.output;
  EXPECT_TRUE(absl::StrContains(wrong_size.output, "--tokens-per-block")) << wrong_size.output;
  std::filesystem::remove(trace);
}

// Puts a block under the key that a replay of `trace` gives `block_id`, with other contents.
void PutWrongContents(Client& client, const std::string& trace, uint64_t block_id) {
  const auto manifest = ManifestOfSize(512, 512);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  auto space = client.Open(*manifest);
  ASSERT_TRUE(space.ok()) << space.status();
  const std::vector<Sha256Digest> keys = {KeyBytes(absl::StrCat("trace ", trace), block_id)};
  std::vector<uint8_t> contents(512 * 512);
  FillContent(HashKey(keys[0]), 0, contents);
  contents[100'000] ^= 1;
  const ConstSegment segment = {contents.data(), contents.size()};
  const GatherList source(&segment, 1);
  const PutResult put = space->Put(keys, std::span(&source, 1));
  ASSERT_EQ(put.stored, 1u) << put.status;
}

TEST_F(BenchTest, ReplayFailsWhenAByteIsWrong) {
  auto client = Client::StartPrivate({});
  ASSERT_TRUE(client.ok()) << client.status();
  const std::string trace = absl::StrCat(testing::TempDir(), "/wrong_byte_", getpid(), ".jsonl");
  std::ofstream(trace)
      << R"({"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [7, 8]})"
      << "\n";
  ASSERT_NO_FATAL_FAILURE(PutWrongContents(**client, trace, 7));
  const Outcome outcome =
      RunBench(absl::StrCat("replay ", trace, " --json --socket ", (*client)->socket_path()));
  EXPECT_EQ(outcome.exit_code, 1);
  const Json json = Json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
  EXPECT_EQ(json["corrupt"], 1) << outcome.output;
  EXPECT_EQ(json["hit_tokens"], 0) << outcome.output;
  std::filesystem::remove(trace);
}

TEST_F(BenchTest, WrongUsageIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"replay", "name a trace file"},
      {"replay --generate poetry", "poetry"},
      {"replay no-such-file.jsonl", "no-such-file.jsonl"},
      {"replay --generate rag --bytes-per-token 6", "multiple of 4"},
      {"replay --generate rag --arena-bytes many", "--arena-bytes"},
      {"replay --generate rag --concurrency 0", "concurrency"},
      {"replay --generate rag --socket no-such-socket --limit 1", "no-such-socket"},
      {"micro --only copy_1mib,everything", "everything"},
      {"disk-metadata --directory /nowhere", "/nowhere"},
  };
  for (const auto& [arguments, wanted] : cases) {
    const Outcome outcome = RunBench(arguments, /*with_errors=*/true);
    EXPECT_GT(outcome.exit_code, 0) << arguments;
    EXPECT_TRUE(absl::StrContains(outcome.output, wanted)) << arguments << ": " << outcome.output;
  }
}

TEST_F(BenchTest, MicroGivesEveryFigure) {
  const Json json = ParseOutput(RunBench("micro --quick --json"));
  for (const char* name :
       {"fetch_copy_1mib_ratio", "fetch_copy_8mib_ratio", "put_1mib_ratio", "put_8mib_ratio",
        "view_p50_us", "view_idle_p50_us", "view_p99_us", "view64_over_view1", "match1000_p50_us",
        "match1_p50_us", "bytes_per_chunk", "restart_8gib_s"}) {
    ASSERT_TRUE(json.contains(name)) << name;
    EXPECT_GT(json[name], 0) << name;
  }
  EXPECT_EQ(json["raw"]["restart_chunks_verified"], 128);
}

TEST_F(BenchTest, DiskMetadataReadsEveryRecordBack) {
  const Json json = ParseOutput(RunBench(
      absl::StrCat("disk-metadata --records 5000 --json --directory ", testing::TempDir())));
  EXPECT_GT(json["open_and_read_s"], 0);
  EXPECT_EQ(json["raw"]["records"], 5000);
  EXPECT_GT(json["raw"]["write_us_per_record"], 0);
  EXPECT_GT(json["raw"]["bytes_per_record"], 128);
}

TEST_F(BenchTest, IndexGivesEveryFigure) {
  const Json json = ParseOutput(RunBench("index --entries 50000 --json"));
  for (const char* name : {"bytes_per_entry", "match1000_p50_us", "match_growth_ratio",
                           "events_per_s", "follower_sync_10m_s"}) {
    ASSERT_TRUE(json.contains(name)) << name;
    EXPECT_GT(json[name], 0) << name;
  }
  EXPECT_EQ(json["raw"]["entries"], 50000);
  EXPECT_EQ(json["raw"]["follower_sync_entries"], 50000);
  EXPECT_GT(json["raw"]["wire_bytes_per_event"], 23);
}

}  // namespace
}  // namespace larder

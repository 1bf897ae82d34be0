// larder-sim as a program: what it prints, and what it says about bad usage.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

struct Outcome {
  int exit_code;
  std::string output;  // standard output and error together
};

Outcome RunSim(const std::string& arguments) {
  FILE* pipe = popen(absl::StrCat(LARDER_SIM, " ", arguments, " 2>&1").c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  Outcome outcome{.exit_code = -1, .output = ""};
  char buffer[4096];
  size_t count;
  while ((count = fread(buffer, 1, sizeof(buffer), pipe)) > 0) outcome.output.append(buffer, count);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

TEST(SimProgramTest, PrintsJsonForEachPolicyAndCapacity) {
  const Outcome outcome =
      RunSim("--generate rag --limit 200 --policy larder,lru,min --capacity-pct 5,50 --json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(json["results"].size(), 6u);
  EXPECT_EQ(json["results"][0]["policy"], "larder");
  EXPECT_EQ(json["results"][1]["capacity_pct"], 50.0);
  EXPECT_EQ(json["requests"], 200);
}

TEST(SimProgramTest, WritesAPlot) {
  for (const auto& [ending, magic] : {std::pair(".svg", "<svg"), std::pair(".png", "\x89PNG")}) {
    const std::string path = absl::StrCat(testing::TempDir(), "/larder_sim_plot", ending);
    const Outcome outcome =
        RunSim(absl::StrCat("--generate agents --limit 100 --policy lru --plot ", path));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    std::ifstream file(path, std::ios::binary);
    std::string beginning(4, ' ');
    file.read(beginning.data(), 4);
    EXPECT_EQ(beginning, magic);
    std::filesystem::remove(path);
  }
}

TEST(SimProgramTest, ComparesTheDaemonsEstimatesWithTheSimulator) {
  const Outcome table = RunSim("--generate rag --limit 300 --insight --capacity-pct 10");
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.output.find("mean error"), std::string::npos) << table.output;
  const Outcome outcome = RunSim(
      "--generate rag --limit 300 --insight --capacity-pct 10,20 --disk-capacity-pct 40 "
      "--json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["results"].size(), 2u * (7 + 2 + 1));
  EXPECT_GT(json["insight_ns_per_access"], 0);
}

TEST(SimProgramTest, BadUsageIsNamed) {
  const struct {
    const char* arguments;
    const char* named;
  } kCases[] = {
      {"", "name a trace file"},
      {"/does/not/exist", "/does/not/exist"},
      {"--generate rag --policy magic", "'magic'"},
      {"--generate rag --router dice", "'dice'"},
      {"--generate rag --capacity-pct 101", "--capacity-pct"},
      {"--generate rag --limit 50 --capacity-pct 0.0001", "less than one"},
      {"--generate rag --capacity-bytes 1KiB", "less than a block"},
      {"--generate rag --capacity-bytes 1KiB --capacity-pct 5", "--capacity-"},
      {"--generate rag --nodes 0", "--nodes"},
      {"--generate rag --block-tokens 0", "--block-tokens"},
      {"--generate tea", "tea"},
      {"--generate rag --plot curves.gif", "curves.gif"},
      {"--no-such-flag", "--no-such-flag"},
  };
  for (const auto& test_case : kCases) {
    const Outcome outcome = RunSim(test_case.arguments);
    EXPECT_NE(outcome.exit_code, 0) << test_case.arguments;
    EXPECT_NE(outcome.output.find(test_case.named), std::string::npos)
        << test_case.arguments << ": " << outcome.output;
  }
}

TEST(SimProgramTest, ABadTraceLineIsNamed) {
  const std::string path = testing::TempDir() + "/larder_sim_bad.jsonl";
  std::ofstream(path) << R"({"timestamp":0,"input_length":9,"output_length":1,"hash_ids":[1]})"
                      << "\n{\"timestamp\": 5}\n";
  const Outcome outcome = RunSim(path);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.output.find(path), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("2"), std::string::npos) << outcome.output;
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace larder

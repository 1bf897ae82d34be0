// larder-sim: replays a trace against cache policies, ours and others.
// Exit codes: 0 done, 1 something failed, 2 bad usage or a bad trace.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status.h"
#include "tools/console/units.h"
#include "tools/sim/block_trace.h"
#include "tools/sim/cache_model.h"
#include "tools/sim/insight_check.h"
#include "tools/sim/report.h"
#include "tools/sim/simulation.h"
#include "tools/workload/generator.h"
#include "tools/workload/trace_reader.h"

namespace larder {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kGeneratedRequests = 10'000;
constexpr uint32_t kTokensPerBlockMax = 65'536;
constexpr uint64_t kBytesPerTokenMax = 1 << 24;
constexpr size_t kRowsMax = 1000;

struct Flags {
  std::string trace, generate;
  GeneratorOptions generator;
  uint64_t seed = 1;
  uint32_t block_tokens = 512;
  uint64_t bytes_per_token = 131'072;
  std::optional<uint64_t> limit;
  std::vector<double> capacity_pct;
  std::vector<std::string> capacity_bytes;
  std::vector<std::string> policies;
  std::optional<double> disk_capacity_pct;
  SimulationOptions options;
  bool insight = false;
  bool json = false;
  std::string plot;
};

void DeclareWorkload(CLI::App& app, Flags& flags) {
  auto* trace = app.add_option("trace,--trace", flags.trace,
                               "Trace file: .jsonl, also compressed as .xz or .zst")
                    ->type_name("FILE");
  app.add_option("--generate", flags.generate,
                 absl::StrCat("Generated workload instead: ", kGeneratorKinds))
      ->excludes(trace)
      ->type_name("KIND");
  app.add_option("--seed", flags.seed, "Of the generated workload")->capture_default_str();
  app.add_option("--users", flags.generator.users, "Of the generated workload")
      ->capture_default_str();
  app.add_option("--block-tokens", flags.block_tokens, "Tokens of a block; a trace's own number")
      ->check(CLI::Range(uint32_t{1}, kTokensPerBlockMax))
      ->capture_default_str();
  app.add_option("--bytes-per-token", flags.bytes_per_token,
                 "Bytes that the cache takes for a token; the default is Llama 3 8B in 16 bits")
      ->check(CLI::Range(uint64_t{1}, kBytesPerTokenMax))
      ->capture_default_str();
  app.add_option("--limit", flags.limit,
                 absl::StrCat("Ends after so many requests (a generated workload: ",
                              kGeneratedRequests, ")"))
      ->check(CLI::PositiveNumber)
      ->type_name("COUNT");
  app.add_option("--attention-equals-rest-tokens", flags.options.cost.attention_equals_rest_tokens,
                 "Cost model: where attention takes as much work as all else")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void DeclareCaches(CLI::App& app, Flags& flags) {
  auto* percent = app.add_option("--capacity-pct", flags.capacity_pct,
                                 "Capacities in % of the unique blocks (default 1,2,5,10,20,40)")
                      ->delimiter(',')
                      ->check(CLI::Range(0.0, 100.0))
                      ->type_name("LIST");
  app.add_option("--capacity-bytes", flags.capacity_bytes, "Capacities instead, as 64GiB,1TiB")
      ->delimiter(',')
      ->excludes(percent)
      ->type_name("LIST");
  app.add_option("--policy", flags.policies,
                 absl::StrCat("Policies (default larder,lru,min): ", kPolicyNames))
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--nodes", flags.options.nodes, "Nodes, which share the capacity")
      ->check(CLI::Range(uint32_t{1}, kNodesMax))
      ->capture_default_str();
  app.add_option("--router", flags.options.router,
                 absl::StrCat("Which node serves a request: ", kRouterNames))
      ->capture_default_str()
      ->type_name("NAME");
  app.add_flag("--pooled", flags.options.pooled, "One cache for all nodes instead of one each");
  app.add_option("--disk-capacity-pct", flags.disk_capacity_pct,
                 "A second tier of so many % of the unique blocks")
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("PERCENT");
  app.add_option("--disk-admission", flags.options.disk_admission,
                 absl::StrCat("What is written to it: ", kDiskAdmissionNames))
      ->capture_default_str()
      ->type_name("NAME");
  app.add_flag("--insight", flags.insight,
               "Compare the daemon's estimates for memory of these capacities with the simulator");
  app.add_flag("--json", flags.json, "Print one JSON object instead of a table");
  app.add_option("--plot", flags.plot, "Also write the curves as a picture, .svg or .png")
      ->type_name("FILE");
}

absl::StatusOr<BlockTrace> LoadWorkload(Flags& flags) {
  std::unique_ptr<RequestSource> source;
  if (!flags.trace.empty()) {
    ASSIGN_OR_RETURN(source, OpenTrace(flags.trace));
  } else if (!flags.generate.empty()) {
    flags.generator.requests = flags.limit.value_or(kGeneratedRequests);
    flags.generator.tokens_per_block = flags.block_tokens;
    ASSIGN_OR_RETURN(source, MakeGenerator(flags.generate, flags.seed, flags.generator));
  } else {
    return absl::InvalidArgumentError("name a trace file, or --generate a workload");
  }
  return LoadBlockTrace(*source, flags.block_tokens,
                        flags.limit.value_or(std::numeric_limits<uint64_t>::max()));
}

struct Capacity {
  size_t blocks;   // at least one
  double percent;  // of the unique blocks
};

absl::StatusOr<std::vector<Capacity>> Capacities(const Flags& flags, uint64_t block_bytes,
                                                 size_t unique_blocks) {
  const auto unique = static_cast<double>(unique_blocks);
  std::vector<Capacity> capacities;
  for (const std::string& text : flags.capacity_bytes) {
    const absl::StatusOr<uint64_t> bytes = ParseBytes(text);
    if (!bytes.ok()) return Annotate(bytes.status(), "--capacity-bytes");
    if (*bytes < block_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("--capacity-bytes: ", text, " is less than a block of ", block_bytes, " B"));
    }
    const size_t blocks = *bytes / block_bytes;
    capacities.push_back({blocks, static_cast<double>(blocks) / unique * 100});
  }
  if (!capacities.empty()) return capacities;
  const std::vector<double> standard = {1, 2, 5, 10, 20, 40};
  for (const double percent : flags.capacity_pct.empty() ? standard : flags.capacity_pct) {
    const double blocks = unique * percent / 100;
    if (blocks < 1) {
      return absl::InvalidArgumentError(absl::StrCat("--capacity-pct: ", percent, " % of ",
                                                     unique_blocks, " blocks is less than one"));
    }
    capacities.push_back({static_cast<size_t>(blocks), percent});
  }
  return capacities;
}

absl::StatusOr<InsightCheck> RunInsightCheck(Flags& flags) {
  ASSIGN_OR_RETURN(const BlockTrace trace, LoadWorkload(flags));
  flags.options.block_bytes = flags.block_tokens * flags.bytes_per_token;
  ASSIGN_OR_RETURN(const std::vector<Capacity> capacities,
                   Capacities(flags, flags.options.block_bytes, trace.unique_blocks()));
  flags.options.disk_capacity_blocks = static_cast<size_t>(
      static_cast<double>(trace.unique_blocks()) * flags.disk_capacity_pct.value_or(0) / 100);
  InsightCheck check;
  for (const Capacity& capacity : capacities) {
    flags.options.capacity_blocks = capacity.blocks;
    RETURN_IF_ERROR(AddInsightCheck(trace, flags.options, capacity.percent, flags.seed,
                                    SystemClock::Get(), &check));
  }
  check.ns_per_access /= static_cast<double>(capacities.size());
  return check;
}

absl::StatusOr<PlotFormat> PlotFormatOf(const std::string& path) {
  if (absl::EndsWith(path, ".svg")) return PlotFormat::kSvg;
  if (absl::EndsWith(path, ".png")) return PlotFormat::kPng;
  return absl::InvalidArgumentError(
      absl::StrCat("--plot: '", path, "' ends neither with .svg nor with .png"));
}

absl::StatusOr<SimulationReport> Run(Flags& flags) {
  // Before the work, not after it.
  if (!flags.plot.empty()) RETURN_IF_ERROR(PlotFormatOf(flags.plot).status());
  ASSIGN_OR_RETURN(const BlockTrace trace, LoadWorkload(flags));
  SimulationReport report{.workload = flags.trace.empty() ? flags.generate : flags.trace,
                          .requests = trace.requests.size(),
                          .accesses = trace.accesses.size(),
                          .unique_blocks = trace.unique_blocks(),
                          .block_bytes = flags.block_tokens * flags.bytes_per_token,
                          .has_disk = flags.disk_capacity_pct.has_value(),
                          .rows = {}};
  const auto unique = static_cast<double>(report.unique_blocks);
  ASSIGN_OR_RETURN(const std::vector<Capacity> capacities,
                   Capacities(flags, report.block_bytes, report.unique_blocks));
  flags.options.block_bytes = report.block_bytes;
  flags.options.disk_capacity_blocks =
      static_cast<size_t>(unique * flags.disk_capacity_pct.value_or(0) / 100);
  if (flags.policies.empty()) flags.policies = {"larder", "lru", "min"};
  if (flags.policies.size() * capacities.size() > kRowsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kRowsMax, " pairs of policy and capacity"));
  }
  for (const std::string& policy : flags.policies) {
    flags.options.policy = policy;
    for (const Capacity& capacity : capacities) {
      flags.options.capacity_blocks = capacity.blocks;
      ASSIGN_OR_RETURN(const SimulationResult result,
                       Simulate(trace, flags.options, SystemClock::Get()));
      report.rows.push_back({.policy = policy,
                             .capacity_pct = capacity.percent,
                             .capacity_bytes = capacity.blocks * report.block_bytes,
                             .result = result});
    }
  }
  return report;
}

absl::Status WritePlot(const SimulationReport& report, const std::string& path) {
  ASSIGN_OR_RETURN(const PlotFormat format, PlotFormatOf(path));
  std::ofstream file(path, std::ios::binary);
  file << SimulationPlot(report, format);
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "larder-sim: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure;
}

int PrintInsight(Flags& flags) {
  const absl::StatusOr<InsightCheck> check = RunInsightCheck(flags);
  if (!check.ok()) return Fail(check.status());
  if (flags.json) {
    std::printf("%s\n", InsightCheckJson(*check).c_str());
  } else {
    PrintInsightCheck(*check, stdout);
  }
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Replays a trace against cache policies, Larder's own and others.", "larder-sim");
  app.footer("Exit codes: 0 done, 1 something failed, 2 bad usage or a bad trace.");
  Flags flags;
  DeclareWorkload(app, flags);
  DeclareCaches(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (flags.insight) return PrintInsight(flags);
  const absl::StatusOr<SimulationReport> report = Run(flags);
  if (!report.ok()) return Fail(report.status());
  if (flags.json) {
    std::printf("%s\n", SimulationReportJson(*report).c_str());
  } else {
    PrintSimulationReport(*report, stdout);
  }
  if (!flags.plot.empty()) {
    if (const absl::Status status = WritePlot(*report, flags.plot); !status.ok()) {
      return Fail(status);
    }
  }
  return 0;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main(argc, argv); }

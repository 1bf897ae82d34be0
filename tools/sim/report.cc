#include "tools/sim/report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/console/table.h"
#include "tools/console/units.h"

namespace larder {
namespace {

double Share(double part, double whole) { return whole <= 0 ? 0 : part / whole; }

struct Figures {
  explicit Figures(const SimulationReport& report, const SimulationRow& row) {
    const SimulationResult& result = row.result;
    const auto accesses = static_cast<double>(result.accesses);
    block_hit = Share(static_cast<double>(result.hit_blocks), accesses);
    disk_hit = Share(static_cast<double>(result.disk_hit_blocks), accesses);
    token_hit = Share(static_cast<double>(result.hit_tokens), static_cast<double>(result.tokens));
    prefill_flops_saved = Share(result.saved_work, result.work);
    memory_bytes_written = result.memory_blocks_written * report.block_bytes;
    disk_bytes_written = result.disk_blocks_written * report.block_bytes;
    nanoseconds = Share(absl::ToDoubleNanoseconds(result.elapsed), accesses);
  }

  double block_hit, disk_hit, token_hit, prefill_flops_saved, nanoseconds;
  uint64_t memory_bytes_written, disk_bytes_written;
};

std::string Percent(double share) { return absl::StrFormat("%.2f", share * 100); }

}  // namespace

std::string SimulationReportJson(const SimulationReport& report) {
  nlohmann::ordered_json json = {{"workload", report.workload},
                                 {"requests", report.requests},
                                 {"block_accesses", report.accesses},
                                 {"unique_blocks", report.unique_blocks},
                                 {"block_bytes", report.block_bytes}};
  json["results"] = nlohmann::ordered_json::array();
  for (const SimulationRow& row : report.rows) {
    const Figures figures(report, row);
    json["results"].push_back({{"policy", row.policy},
                               {"capacity_pct", row.capacity_pct},
                               {"capacity_bytes", row.capacity_bytes},
                               {"block_hit", figures.block_hit},
                               {"disk_block_hit", figures.disk_hit},
                               {"token_hit", figures.token_hit},
                               {"prefill_flops_saved", figures.prefill_flops_saved},
                               {"bytes_written", report.has_disk ? figures.disk_bytes_written
                                                                 : figures.memory_bytes_written},
                               {"memory_bytes_written", figures.memory_bytes_written},
                               {"disk_bytes_written", figures.disk_bytes_written},
                               {"ns_per_access", figures.nanoseconds}});
  }
  // The workload's name may hold bytes that are not UTF-8.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void PrintSimulationReport(const SimulationReport& report, FILE* file) {
  std::fprintf(file, "%s: %s requests, %s block accesses, %s unique blocks of %s\n",
               Printable(report.workload).c_str(), FormatCount(report.requests).c_str(),
               FormatCount(report.accesses).c_str(), FormatCount(report.unique_blocks).c_str(),
               FormatBytes(report.block_bytes).c_str());
  Table table;
  table.AddColumn("policy");
  for (const char* header : {"capacity %", "capacity", "block hit %", "token hit %", "work saved %",
                             "memory written", "disk written", "ns/access"}) {
    table.AddColumn(header, Align::kRight);
  }
  for (const SimulationRow& row : report.rows) {
    const Figures figures(report, row);
    table.AddRow({row.policy, absl::StrFormat("%.4g", row.capacity_pct),
                  FormatBytes(row.capacity_bytes), Percent(figures.block_hit),
                  Percent(figures.token_hit), Percent(figures.prefill_flops_saved),
                  FormatBytes(figures.memory_bytes_written),
                  report.has_disk ? FormatBytes(figures.disk_bytes_written) : "-",
                  absl::StrFormat("%.0f", figures.nanoseconds)});
  }
  table.Print(file);
}

}  // namespace larder

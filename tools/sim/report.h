// What a simulation came to, for people, for programs and as a picture.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tools/sim/simulation.h"

namespace larder {

struct SimulationRow {
  std::string policy;
  double capacity_pct = 0;  // of all unique blocks
  uint64_t capacity_bytes = 0;
  SimulationResult result;
};

struct SimulationReport {
  std::string workload;
  uint64_t requests = 0;
  uint64_t accesses = 0;
  uint64_t unique_blocks = 0;
  uint64_t block_bytes = 0;
  bool has_disk = false;
  std::vector<SimulationRow> rows;
};

// One JSON object; its `results` has an object for each row. docs/POLICY.md explains the fields.
std::string SimulationReportJson(const SimulationReport& report);

void PrintSimulationReport(const SimulationReport& report, FILE* file);

// A picture's file: the block hit ratio over the capacity, a line for each policy.
enum class PlotFormat { kSvg, kPng };
std::string SimulationPlot(const SimulationReport& report, PlotFormat format);

}  // namespace larder

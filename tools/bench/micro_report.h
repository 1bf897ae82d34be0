// What the micro-benchmark says, for people and for programs.
#pragma once

#include <cstdio>
#include <string>

#include "tools/bench/micro.h"

namespace larder {

// One JSON object: the figures by name, under "raw" what they were made of, and under "run", where
// there are any, the run's settings.
std::string MicroReportJson(const MicroReport& report);

// A row a figure: its value, its goal, what limits it; then the raw figures.
void PrintMicroReport(const MicroReport& report, FILE* file);

}  // namespace larder

// What a replay says, for people and for programs.
#pragma once

#include <cstdio>
#include <string>

#include "tools/bench/replay.h"

namespace larder {

// One JSON object; docs/BENCHMARKS.md lists its fields.
std::string ReplayReportJson(const ReplayReport& report);

// A table in plain words.
void PrintReplayReport(const ReplayReport& report, FILE* file);

}  // namespace larder

// What is going on in a daemon: two samples of its counters and what lies between them. All pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "proto/larder/v1/admin.pb.h"
#include "tools/ctl/proto_json.h"

namespace larder {

struct TopSample {
  MonotonicTime time;
  v1::StatusResponse status;
  std::vector<v1::SpaceStatus> spaces;
};

struct TopRates {
  double lookups_per_s = 0;
  std::optional<double> hit_ratio;  // of the tokens looked up; none were: no ratio
  double stored_gb_per_s = 0, fetched_gb_per_s = 0;
};

// Of one space; `before` may be null when the space is new.
TopRates SpaceRates(const v1::SpaceStatus* before, const v1::SpaceStatus& now,
                    absl::Duration interval);

// All spaces together. Zero when the daemon was started anew between the samples.
TopRates TotalRates(const TopSample& before, const TopSample& now);

// A screenful of at most `rows` lines, the busiest spaces first.
std::string TopText(const TopSample& before, const TopSample& now, const std::string& address,
                    size_t rows);

Json TopJson(const TopSample& before, const TopSample& now);

}  // namespace larder

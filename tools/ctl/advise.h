// What the daemon's insight means, in plain words. Pure.
#pragma once

#include <string>
#include <vector>

#include "proto/larder/v1/admin.pb.h"

namespace larder {

// Fewer chunks in the sample say nothing.
inline constexpr double kSampledUsesMin = 2000;
// Smaller differences, in points of the hit ratio, may be chance (docs/POLICY.md has the errors).
inline constexpr double kPointsMin = 0.5;

// What sizes and policies are worth, a sentence each; that nothing can be said yet, and why.
std::vector<std::string> Advice(const v1::InsightResponse& insight);

// That, and the figures behind it.
std::string AdviseText(const v1::InsightResponse& insight);

}  // namespace larder

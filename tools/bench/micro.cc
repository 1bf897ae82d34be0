#include "tools/bench/micro.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/bench/micro_parts.h"

namespace larder {
namespace {

struct MicroPart {
  absl::string_view name;
  std::function<absl::Status(const MicroOptions&, MicroReport*)> run;
};

// Of 16 tokens, 8 heads and 64 elements, in bfloat16.
constexpr uint32_t kLayersOfOneMebibyte = 32;
constexpr uint32_t kLayersOfEightMebibytes = 256;

// In the order of kMicroParts.
std::vector<MicroPart> Parts() {
  return {
      {"copy_1mib",
       [](const MicroOptions& options, MicroReport* report) {
         return MeasureCopies(options, kLayersOfOneMebibyte, "1mib", report);
       }},
      {"copy_8mib",
       [](const MicroOptions& options, MicroReport* report) {
         return MeasureCopies(options, kLayersOfEightMebibytes, "8mib", report);
       }},
      {"view", MeasureViews},
      {"match", MeasureMatches},
      {"restart", MeasureRestart},
  };
}

}  // namespace

absl::StatusOr<MicroReport> RunMicro(const MicroOptions& options) {
  const std::vector<MicroPart> parts = Parts();
  for (const std::string& name : options.only) {
    if (std::none_of(parts.begin(), parts.end(),
                     [&](const MicroPart& part) { return part.name == name; })) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no part '", name, "'; the parts are ", kMicroParts));
    }
  }
  MicroReport report;
  for (const MicroPart& part : parts) {
    const bool wanted = options.only.empty() || std::find(options.only.begin(), options.only.end(),
                                                          part.name) != options.only.end();
    if (!wanted) continue;
    if (options.on_step) options.on_step(part.name);
    RETURN_IF_ERROR(Annotate(part.run(options, &report), part.name));
  }
  return report;
}

}  // namespace larder

#include "tools/sim/cache_model.h"

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace larder {

absl::StatusOr<std::unique_ptr<CacheModel>> MakeCacheModel(absl::string_view policy,
                                                           const CacheModelOptions& options) {
  if (policy == "larder") return MakeLarderModel(options);
  if (policy == "min") return MakeOptimumModel(options);
  for (const auto make : {MakeRecencyModel, MakeQueueModel, MakePriorityModel}) {
    if (std::unique_ptr<CacheModel> model = make(policy, options)) return model;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no policy '", policy, "', only ", kPolicyNames));
}

}  // namespace larder

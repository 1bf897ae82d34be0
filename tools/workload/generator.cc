#include "tools/workload/generator.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status.h"
#include "tools/workload/distributions.h"
#include "tools/workload/workload_model.h"

namespace larder {
namespace {

constexpr uint64_t kRequestsMax = 1'000'000'000;
constexpr uint32_t kTokensPerBlockMin = 16;
constexpr uint32_t kTokensPerBlockMax = 65'536;
constexpr double kRequestsPerSecondMax = 1e6;
constexpr uint32_t kUsersMax = 100'000;
constexpr double kMillisecondsPerSecond = 1000;

// Every user asks, pauses for a log-normal time and asks again, so that the rate follows from the
// number of users and the mean pause, whatever the users talk about.
class Generator final : public RequestSource {
 public:
  Generator(std::unique_ptr<WorkloadModel> model, const SeededRandom& random,
            const GeneratorOptions& options)
      : model_(std::move(model)), random_(random), requests_(options.requests) {
    const double mean_pause_ms =
        options.users / options.requests_per_second * kMillisecondsPerSecond;
    const double sigma = model_->gap_sigma();
    pause_ms_ = {mean_pause_ms * std::exp(-sigma * sigma / 2), sigma};
    users_.reserve(options.users);
    for (uint32_t user = 0; user < options.users; ++user) {
      users_.push_back(model_->NewUser());
      turns_.push_back({random_.Unit() * mean_pause_ms, user});
    }
    std::make_heap(turns_.begin(), turns_.end(), std::greater<>());
  }

  absl::StatusOr<std::optional<Request>> Next() override {
    if (given_ == requests_) return std::nullopt;
    ++given_;
    std::pop_heap(turns_.begin(), turns_.end(), std::greater<>());
    Turn& turn = turns_.back();
    Request request = users_[turn.user]->Ask(random_, sessions_);
    if (request.session == sessions_) ++sessions_;
    request.timestamp_ms = turn.time_ms;
    turn.time_ms += pause_ms_.Draw(random_);
    std::push_heap(turns_.begin(), turns_.end(), std::greater<>());
    return request;
  }

  std::optional<uint64_t> total_hint() const override { return requests_; }

 private:
  // When a user asks next; equal times are ordered by the user.
  struct Turn {
    double time_ms;
    uint32_t user;

    friend auto operator<=>(const Turn&, const Turn&) = default;
  };

  const std::unique_ptr<WorkloadModel> model_;
  SeededRandom random_;
  const uint64_t requests_;
  uint64_t given_ = 0;
  uint64_t sessions_ = 0;
  LogNormal pause_ms_;
  std::vector<std::unique_ptr<WorkloadUser>> users_;
  std::vector<Turn> turns_;  // a heap, the earliest in front
};

absl::Status CheckOptions(const GeneratorOptions& options) {
  const auto bad = [](absl::string_view field, auto value, auto minimum, auto maximum) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be from ", minimum, " to ", maximum, ", not ", value));
  };
  if (options.requests < 1 || options.requests > kRequestsMax) {
    return bad("requests", options.requests, 1, kRequestsMax);
  }
  if (options.tokens_per_block < kTokensPerBlockMin ||
      options.tokens_per_block > kTokensPerBlockMax) {
    return bad("tokens_per_block", options.tokens_per_block, kTokensPerBlockMin,
               kTokensPerBlockMax);
  }
  // Written so that it refuses NaN too.
  if (!(options.requests_per_second > 0 && options.requests_per_second <= kRequestsPerSecondMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("requests_per_second must be more than 0 and at most ", kRequestsPerSecondMax,
                     ", not ", options.requests_per_second));
  }
  if (options.users < 1 || options.users > kUsersMax) {
    return bad("users", options.users, 1, kUsersMax);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WorkloadModel>> MakeModel(absl::string_view kind,
                                                         uint32_t tokens_per_block,
                                                         Random& random) {
  if (kind == "conversation") return MakeConversationModel(tokens_per_block, random);
  if (kind == "agents") return MakeAgentsModel(tokens_per_block, random);
  if (kind == "rag") return MakeRagModel(tokens_per_block, random);
  return absl::InvalidArgumentError(
      absl::StrCat("no workload '", kind, "'; there are ", kGeneratorKinds));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RequestSource>> MakeGenerator(absl::string_view kind, uint64_t seed,
                                                             const GeneratorOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  SeededRandom random(seed);
  ASSIGN_OR_RETURN(std::unique_ptr<WorkloadModel> model,
                   MakeModel(kind, options.tokens_per_block, random));
  return std::make_unique<Generator>(std::move(model), random, options);
}

}  // namespace larder

#include "tools/sim/router.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/status.h"
#include "tools/sim/simulation.h"

namespace larder {
namespace {

class RoundRobinRouter final : public Router {
 public:
  explicit RoundRobinRouter(uint32_t nodes) : nodes_(nodes) {}

  uint32_t Choose(const BlockTrace&, const TraceRequest&,
                  absl::FunctionRef<uint32_t(uint32_t)>) override {
    return static_cast<uint32_t>(next_++ % nodes_);
  }
  void Reset() override { next_ = 0; }

 private:
  uint32_t nodes_;
  uint64_t next_ = 0;
};

class SessionRouter final : public Router {
 public:
  explicit SessionRouter(uint32_t nodes) : nodes_(nodes) {}

  uint32_t Choose(const BlockTrace& trace, const TraceRequest& request,
                  absl::FunctionRef<uint32_t(uint32_t)>) override {
    uint64_t name = request.session;
    if (name == kNoSession) name = request.blocks > 0 ? trace.blocks_of(request).front() : 0;
    const Hash128 hash = HashBytes({reinterpret_cast<const uint8_t*>(&name), sizeof(name)});
    return static_cast<uint32_t>(hash.low % nodes_);
  }

 private:
  uint32_t nodes_;
};

// The longest prefix wins; what a node has computed beyond the least loaded one's counts against
// it.
class PrefixRouter final : public Router {
 public:
  explicit PrefixRouter(uint32_t nodes) : load_blocks_(nodes) {}

  uint32_t Choose(const BlockTrace&, const TraceRequest& request,
                  absl::FunctionRef<uint32_t(uint32_t)> hits_at) override {
    const double idlest = *std::min_element(load_blocks_.begin(), load_blocks_.end());
    uint32_t best = 0, best_hits = 0;
    double best_worth = 0;
    for (uint32_t node = 0; node < load_blocks_.size(); ++node) {
      const uint32_t hits = hits_at(node);
      const double worth = hits - (load_blocks_[node] - idlest) * kLoadWeight;
      if (node == 0 || worth > best_worth) {
        best = node;
        best_worth = worth;
        best_hits = hits;
      }
    }
    for (double& load : load_blocks_) load *= kLoadDecay;
    load_blocks_[best] += request.blocks - best_hits;
    return best;
  }
  bool is_static() const override { return false; }

 private:
  // Work is forgotten over about so many requests.
  static constexpr double kLoadDecay = 1 - 1.0 / 256;
  static constexpr double kLoadWeight = 0.1;

  std::vector<double> load_blocks_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Router>> MakeRouter(absl::string_view name, uint32_t nodes) {
  std::unique_ptr<Router> router;
  if (name == "round-robin") router = std::make_unique<RoundRobinRouter>(nodes);
  if (name == "session") router = std::make_unique<SessionRouter>(nodes);
  if (name == "prefix") router = std::make_unique<PrefixRouter>(nodes);
  if (router == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no router '", name, "', only ", kRouterNames));
  }
  return router;
}

}  // namespace larder

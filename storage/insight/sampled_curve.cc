#include "storage/insight/sampled_curve.h"

#include <algorithm>

namespace larder {
namespace {

// The sample is thinned until only this share of it would fit in the capacity that matters.
constexpr size_t kCapacityShare = 8;
// A request may take no more than this share of the sample.
constexpr size_t kRequestShare = 2;
// Each thinning leaves so much.
constexpr double kThinningFactor = 7.0 / 8;
// A sample that is thinner than it should be by this factor starts anew; then not before it was
// faded so often, and twice as often each time, for a load that is used in other sizes than it is
// sampled in.
constexpr double kTooThinFactor = 8;
constexpr uint32_t kFirstWaitFades = 32;
constexpr uint32_t kWaitFadesMax = kFirstWaitFades << 10;

}  // namespace

SampledCurve::SampledCurve(size_t keys_max, uint64_t capacity_bytes)
    : capacity_bytes_(std::max<uint64_t>(capacity_bytes, 1)), stack_(keys_max) {}

void SampledCurve::Begin(uint64_t total, uint64_t total_bytes, std::vector<SampledChunk>* chunks,
                         Forget forget) {
  request_chunks_max_ = std::max(request_chunks_max_, total);
  uses_ += static_cast<double>(total);
  used_bytes_ += static_cast<double>(total_bytes);
  const size_t chunks_max = stack_.keys_max() / kRequestShare;
  while (static_cast<double>(total) * rate() > static_cast<double>(chunks_max)) Thin(forget);
  const auto leave_sampled = [&] {
    std::erase_if(*chunks, [this](const SampledChunk& chunk) { return !Samples(chunk.hash); });
    if (chunks->size() > chunks_max) chunks->resize(chunks_max);
  };
  leave_sampled();
  while (stack_.size() + chunks->size() > stack_.keys_max()) {
    if (CapacityKeys() * kCapacityShare > static_cast<double>(stack_.keys_max())) {
      Thin(forget);
      leave_sampled();
    } else {
      const uint32_t oldest = stack_.oldest();
      forget(oldest);
      stack_.Remove(oldest);
    }
  }
}

void SampledCurve::Use(std::span<SampledChunk> chunks, PolicyTicks now) {
  // What is found depends on what was there when the request came.
  for (SampledChunk& chunk : chunks) {
    chunk.slot = stack_.Find(chunk.hash);
    if (chunk.slot == LruStack::kNone) {
      first_uses_ += weight();
      continue;
    }
    const double since = static_cast<double>(stack_.BytesSince(chunk.slot)) / rate();
    curve_.Add(since + static_cast<double>(chunk.bytes), weight());
    reuse_ages_[AgeBucketOf(now - stack_.last_use(chunk.slot))] += weight();
  }
  for (size_t i = chunks.size(); i-- > 0;) {
    SampledChunk& chunk = chunks[i];
    // A request that names a chunk twice has stored it meanwhile.
    if (chunk.slot == LruStack::kNone) chunk.slot = stack_.Find(chunk.hash);
    if (chunk.slot == LruStack::kNone) {
      chunk.slot = stack_.Insert(chunk.hash, chunk.bytes, now);
    } else {
      stack_.Touch(chunk.slot, chunk.bytes, now);
    }
  }
}

bool SampledCurve::Fade(double factor, Forget forget) {
  curve_.Fade(factor);
  for (double& weight : reuse_ages_) weight *= factor;
  uses_ *= factor;
  used_bytes_ *= factor;
  first_uses_ *= factor;
  if (fades_to_wait_ > 0) --fades_to_wait_;
  if (fades_to_wait_ > 0 || uses_ <= 0 || rate() * kTooThinFactor >= WantedRate()) return false;
  StartAnew(forget);
  wait_fades_ = std::clamp(wait_fades_ * 2, kFirstWaitFades, kWaitFadesMax);
  fades_to_wait_ = wait_fades_;
  return true;
}

double SampledCurve::HitRatio(double capacity_bytes) const {
  if (uses_ <= 0) return 0;
  return std::clamp((curve_.Within(capacity_bytes) + adjustment()) / uses_, 0.0,
                    UnlimitedHitRatio());
}

double SampledCurve::UnlimitedHitRatio() const {
  return uses_ <= 0 ? 0 : std::clamp(1 - first_uses_ / uses_, 0.0, 1.0);
}

double SampledCurve::CapacityKeys() const {
  return static_cast<double>(capacity_bytes_) * rate() * static_cast<double>(stack_.size()) /
         static_cast<double>(std::max<uint64_t>(stack_.bytes(), 1));
}

double SampledCurve::WantedRate() const {
  const auto keys_max = static_cast<double>(stack_.keys_max());
  const double capacity_chunks =
      static_cast<double>(capacity_bytes_) / std::max(used_bytes_ / uses_, 1.0);
  return std::min({1.0, keys_max / kCapacityShare / capacity_chunks,
                   keys_max / kRequestShare / static_cast<double>(request_chunks_max_)});
}

void SampledCurve::Thin(Forget forget) {
  threshold_ = static_cast<uint64_t>(static_cast<double>(threshold_) * kThinningFactor);
  for (uint32_t slot = 0; slot < stack_.slots(); ++slot) {
    if (!stack_.in_use(slot) || Samples(stack_.key(slot))) continue;
    forget(slot);
    stack_.Remove(slot);
  }
}

void SampledCurve::StartAnew(Forget forget) {
  while (stack_.size() > 0) {
    const uint32_t oldest = stack_.oldest();
    forget(oldest);
    stack_.Remove(oldest);
  }
  threshold_ = ~uint64_t{0};
  curve_ = {};
  reuse_ages_.fill(0);
  uses_ = used_bytes_ = first_uses_ = 0;
}

}  // namespace larder

#include "storage/policy/recency_order.h"

namespace larder {

void RecencyOrder::Touch(uint32_t item) {
  if (item == newest_) return;
  links_.GrowTo(item + size_t{1});
  if (InOrder(item)) Unlink(item);
  links_[item] = {.older = newest_, .newer = kNone};
  if (newest_ != kNone) links_[newest_].newer = item;
  newest_ = item;
  if (oldest_ == kNone) oldest_ = item;
}

void RecencyOrder::Park(uint32_t item) {
  if (!InOrder(item)) return;
  Unlink(item);
  links_[item] = {.older = kParked, .newer = kParked};
}

void RecencyOrder::Unpark(uint32_t item) {
  if (item >= links_.size() || links_[item].older != kParked) return;
  links_[item] = {.older = kNone, .newer = oldest_};
  if (oldest_ != kNone) links_[oldest_].older = item;
  oldest_ = item;
  if (newest_ == kNone) newest_ = item;
}

void RecencyOrder::Remove(uint32_t item) {
  if (item >= links_.size()) return;
  if (InOrder(item)) Unlink(item);
  links_[item] = Link{};
}

void RecencyOrder::Unlink(uint32_t item) {
  const Link link = links_[item];
  if (link.older != kNone) {
    links_[link.older].newer = link.newer;
  } else {
    oldest_ = link.newer;
  }
  if (link.newer != kNone) {
    links_[link.newer].older = link.older;
  } else {
    newest_ = link.older;
  }
}

}  // namespace larder

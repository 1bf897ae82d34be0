// Least-recently-used order over small integers, with a place outside the order for what must stay.
#pragma once

#include <cstdint>

#include "common/paged_vector.h"

namespace larder {

// Items are indices chosen by the caller. Each is absent, in the order, or parked. The evictor
// parks an oldest item that may not go (it has children, leases or pins) and unparks it when it
// may: it then becomes the oldest, since all that was never parked was used later than it. Of
// several unparked items the last one goes first. So leaves leave before their parents in amortised
// O(1), without any search. Pure and not thread-safe. Memory: 8 bytes an item.
class RecencyOrder {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  static constexpr uint32_t kAbsent = 0xfffffffeu;
  struct Link {
    uint32_t older = kAbsent;
    uint32_t newer = kAbsent;
  };
  // One for each item; shared by orders whose items are different ones.
  using Links = PagedVector<Link>;

  // `links` must outlive this.
  explicit RecencyOrder(Links* links) : links_(*links) {}

  // Makes `item` the newest, wherever it was.
  void Touch(uint32_t item);
  // Takes `item` out of the order and remembers that it is parked. No effect unless it is in order.
  void Park(uint32_t item);
  // Makes a parked `item` the oldest. No effect unless it is parked.
  void Unpark(uint32_t item);
  // Forgets `item`, wherever it was.
  void Remove(uint32_t item);

  // The least recently used item in the order, or kNone.
  uint32_t oldest() const { return oldest_; }

 private:
  static constexpr uint32_t kParked = 0xfffffffdu;

  bool InOrder(uint32_t item) const {
    return item < links_.size() && links_[item].older != kAbsent && links_[item].older != kParked;
  }
  void Unlink(uint32_t item);

  Links& links_;
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
};

}  // namespace larder

#include "storage/policy/recency_order.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <set>
#include <vector>

#include "common/random.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

// The same in the plainest form: oldest first.
class Model {
 public:
  void Touch(uint32_t item) {
    Remove(item);
    order_.push_back(item);
  }
  void Park(uint32_t item) {
    if (std::erase(order_, item) > 0) parked_.insert(item);
  }
  void Unpark(uint32_t item) {
    if (parked_.erase(item) > 0) order_.push_front(item);
  }
  void Remove(uint32_t item) {
    std::erase(order_, item);
    parked_.erase(item);
  }
  uint32_t oldest() const { return order_.empty() ? RecencyOrder::kNone : order_.front(); }
  size_t size() const { return order_.size(); }

 private:
  std::deque<uint32_t> order_;
  std::set<uint32_t> parked_;
};

void RandomStep(Random& random, uint32_t items, RecencyOrder& order, Model& model) {
  const auto item = static_cast<uint32_t>(random.Below(items));
  switch (random.Below(6)) {
    case 0:
    case 1:
      order.Touch(item);
      model.Touch(item);
      break;
    case 2:
      order.Park(item);
      model.Park(item);
      break;
    case 3:
      order.Unpark(item);
      model.Unpark(item);
      break;
    case 4:
      order.Remove(item);
      model.Remove(item);
      break;
    case 5:  // what the evictor does
      if (const uint32_t oldest = order.oldest(); oldest != RecencyOrder::kNone) {
        order.Park(oldest);
        model.Park(oldest);
      }
      break;
  }
}

TEST(RecencyOrderTest, RandomOperationsMatchAModel) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    RecencyOrder::Links links;
    RecencyOrder order(&links);
    Model model;
    const auto items = static_cast<uint32_t>(1 + random.Below(12));
    for (int step = 0; step < 200; ++step) {
      RandomStep(random, items, order, model);
      ASSERT_EQ(order.oldest(), model.oldest()) << "step " << step;
    }
    // The whole order, not just its end, is the model's.
    while (model.size() > 0) {
      ASSERT_EQ(order.oldest(), model.oldest());
      const uint32_t oldest = order.oldest();
      order.Remove(oldest);
      model.Remove(oldest);
    }
    EXPECT_EQ(order.oldest(), RecencyOrder::kNone);
  }
}

TEST(RecencyOrderTest, CallsAboutUnknownItemsDoNothing) {
  RecencyOrder::Links links;
  RecencyOrder order(&links);
  order.Park(5);
  order.Unpark(100'000);
  order.Remove(100'000);
  EXPECT_EQ(order.oldest(), RecencyOrder::kNone);
  order.Touch(20'000);  // far beyond what was known
  EXPECT_EQ(order.oldest(), 20'000u);
}

TEST(RecencyOrderTest, AParkedItemComesBackAsTheOldest) {
  RecencyOrder::Links links;
  RecencyOrder order(&links);
  for (uint32_t item : {1, 2, 3}) order.Touch(item);
  order.Park(1);
  EXPECT_EQ(order.oldest(), 2u);
  order.Touch(2);
  EXPECT_EQ(order.oldest(), 3u);
  order.Unpark(1);
  EXPECT_EQ(order.oldest(), 1u);
}

}  // namespace
}  // namespace larder

#include "common/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace larder {
namespace {

TEST(BoundedQueueTest, FirstInFirstOut) {
  BoundedQueue<int> queue(3);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.TryPop(), 2);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
}

TEST(BoundedQueueTest, FullIsAnAnswerAndLeavesTheItemAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(std::move(second)));
  EXPECT_EQ(**queue.Pop(), 2);
}

TEST(BoundedQueueTest, NothingFitsIntoCapacityZero) {
  BoundedQueue<int> queue(0);
  EXPECT_FALSE(queue.TryPush(1));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(BoundedQueueTest, ClosingRefusesTheNewAndDrainsTheOld) {
  BoundedQueue<int> queue(4);
  EXPECT_TRUE(queue.TryPush(1));
  queue.Close();
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
}

TEST(BoundedQueueTest, ClosingWakesEveryWaitingConsumer) {
  BoundedQueue<int> queue(4);
  std::vector<std::thread> consumers;
  for (int i = 0; i < 3; ++i) {
    consumers.emplace_back([&queue] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  }
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
}

TEST(BoundedQueueTest, ManyProducersAndConsumersLoseAndDoubleNothing) {
  constexpr int kThreads = 3;
  constexpr int kItemsPerProducer = 5'000;
  static constexpr size_t kCapacity = 16;
  BoundedQueue<int> queue(kCapacity);
  std::vector<std::vector<int>> received(kThreads);
  std::vector<std::thread> producers, consumers;
  for (int c = 0; c < kThreads; ++c) {
    consumers.emplace_back([&queue, &mine = received[c]] {
      while (const std::optional<int> item = queue.Pop()) mine.push_back(*item);
    });
  }
  for (int p = 0; p < kThreads; ++p) {
    producers.emplace_back([&queue, p] {
      for (int i = 0; i < kItemsPerProducer; ++i) {
        while (!queue.TryPush(p * kItemsPerProducer + i)) std::this_thread::yield();
        EXPECT_LE(queue.size(), kCapacity);
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();

  std::vector<int> times_seen(kThreads * kItemsPerProducer, 0);
  for (const std::vector<int>& mine : received) {
    for (const int item : mine) ++times_seen[item];
  }
  for (const int times : times_seen) ASSERT_EQ(times, 1);
}

}  // namespace
}  // namespace larder

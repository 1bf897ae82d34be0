// An event loop that answers nobody for a while.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "daemon/node/node.h"

namespace larder {

// The node's loop stands still while this lives.
class HeldLoop {
 public:
  explicit HeldLoop(Node* node) {
    std::promise<void> begun;
    thread_ = std::thread([this, node, &begun] {
      const absl::Status ran =
          node->WithCore(SystemClock::Get().Now() + absl::Seconds(5), [&](Core&, MonotonicTime) {
            begun.set_value();
            end_.get_future().wait();
          });
      EXPECT_TRUE(ran.ok()) << ran;
    });
    begun.get_future().wait();
  }
  ~HeldLoop() {
    end_.set_value();
    thread_.join();
  }
  HeldLoop(const HeldLoop&) = delete;
  HeldLoop& operator=(const HeldLoop&) = delete;

 private:
  std::promise<void> end_;
  std::thread thread_;
};

}  // namespace larder

// Hosts of a cluster on one machine: network namespaces behind a router, whose routes a test cuts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace larder {

// The test's thread is moved into a network and a mount namespace of its own, which is the router;
// each host has another namespace with one link to it. Nothing of it has a name outside, so the
// kernel takes it all away with the last of these processes, however the test ends. What the thread
// starts from then on lies in the router, from where all hosts are reached whatever is cut between
// them. Not thread-safe.
class TestNetwork {
 public:
  static constexpr int kHostsMax = 16;

  // FAILED_PRECONDITION says what this machine does not permit, and what would: for GTEST_SKIP.
  static absl::StatusOr<std::unique_ptr<TestNetwork>> Create(int hosts);
  ~TestNetwork();
  TestNetwork(const TestNetwork&) = delete;
  TestNetwork& operator=(const TestNetwork&) = delete;

  // Of the host number 0, 1, ...
  std::string address(int host) const;
  // What to put before a command line so that it runs on the host.
  std::vector<std::string> launcher(int host) const;

  // Packets from one to the other vanish without a word. REQUIRES: not cut yet.
  void CutOneWay(int from, int to);
  void Cut(int one, int other);
  // Nothing is cut any more.
  void HealAll();

 private:
  explicit TestNetwork(int hosts) : hosts_(hosts) {}
  void AddHost(int host);

  const int hosts_;
  std::vector<std::string> cuts_;
};

}  // namespace larder

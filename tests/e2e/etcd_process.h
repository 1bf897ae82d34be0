// etcd as a process that a test starts, stops, kills and looks into.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/child_process.h"
#include "tests/unit/transport/free_port.h"

namespace larder {

struct EtcdProcessOptions {
  std::string scheme = "http";  // of the endpoint: or https
  std::vector<std::string> flags = {};
  std::vector<std::string> control_flags = {};  // of etcdctl
  int port = 0;                                 // of the clients; 0: any free one
  std::string host = "127.0.0.1";
  // What comes before etcd on the command line, such as the way into a namespace.
  std::vector<std::string> launcher = {};
};

// One etcd on free ports of the loopback or its host, with its data in `directory`. It can be
// killed and started again there. Not thread-safe, like ChildProcess.
class EtcdProcess {
 public:
  // Why there can be no etcd on this machine; empty: there can. For GTEST_SKIP.
  static std::string WhyNot();

  explicit EtcdProcess(const std::string& directory, EtcdProcessOptions options = {});

  // Returns when it serves; a test failure otherwise.
  void Start();
  ChildProcess& process() { return *process_; }
  void Kill() { process_->Kill(); }

  // HOST:PORT for clients, the same after a restart.
  std::string endpoint() const;
  int port() const { return options_.port; }

  // Runs etcdctl and returns what it prints; a test failure when it fails.
  std::string Control(const std::vector<std::string>& arguments) const;

 private:
  const std::string directory_;
  EtcdProcessOptions options_;
  int peer_port_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace larder

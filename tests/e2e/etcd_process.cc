#include "tests/e2e/etcd_process.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr char kEtcdPath[] = "/usr/bin/etcd";
constexpr char kEtcdctlPath[] = "/usr/bin/etcdctl";

}  // namespace

std::string EtcdProcess::WhyNot() {
  for (const char* path : {kEtcdPath, kEtcdctlPath}) {
    if (access(path, X_OK) != 0) {
      return absl::StrCat("no ", path, ": install the packages etcd-server and etcd-client");
    }
  }
  return "";
}

EtcdProcess::EtcdProcess(const std::string& directory, EtcdProcessOptions options)
    : directory_(directory), options_(std::move(options)), peer_port_(FreePort()) {
  if (options_.port == 0) options_.port = FreePort();
}

std::string EtcdProcess::endpoint() const {
  return absl::StrCat(options_.host, ":", options_.port);
}

void EtcdProcess::Start() {
  const std::string clients = absl::StrCat(options_.scheme, "://", endpoint());
  const std::string peers = absl::StrCat("http://127.0.0.1:", peer_port_);
  std::vector<std::string> arguments = {kEtcdPath,
                                        "--name=test",
                                        "--logger=zap",
                                        "--data-dir=" + directory_ + "/etcd",
                                        "--listen-client-urls=" + clients,
                                        "--advertise-client-urls=" + clients,
                                        "--listen-peer-urls=" + peers,
                                        "--initial-advertise-peer-urls=" + peers,
                                        "--initial-cluster=test=" + peers,
                                        "--heartbeat-interval=50",
                                        "--election-timeout=500"};
  arguments.insert(arguments.begin(), options_.launcher.begin(), options_.launcher.end());
  arguments.insert(arguments.end(), options_.flags.begin(), options_.flags.end());
  process_ = ChildProcess::Start(arguments);
  ASSERT_TRUE(process_->WaitForOutput("serving client traffic"))
      << "etcd did not start: " << process_->Output();
}

std::string EtcdProcess::Control(const std::vector<std::string>& arguments) const {
  std::vector<std::string> all = {kEtcdctlPath,
                                  absl::StrCat("--endpoints=", options_.scheme, "://", endpoint())};
  all.insert(all.end(), options_.control_flags.begin(), options_.control_flags.end());
  all.insert(all.end(), arguments.begin(), arguments.end());
  const std::unique_ptr<ChildProcess> control = ChildProcess::Start(all);
  EXPECT_EQ(control->WaitForEnd().value_or("runs on"), "exit 0") << control->Output();
  return control->Output();
}

}  // namespace larder

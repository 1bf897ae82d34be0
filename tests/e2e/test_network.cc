#include "tests/e2e/test_network.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "tests/e2e/child_process.h"

namespace larder {
namespace {

constexpr char kIpPath[] = "/sbin/ip";

std::string HostName(int host) { return absl::StrCat("host", host); }

// The arguments, separated by spaces.
void Ip(absl::string_view arguments) {
  std::vector<std::string> command = {kIpPath};
  for (const absl::string_view argument : absl::StrSplit(arguments, ' ')) {
    command.emplace_back(argument);
  }
  const std::unique_ptr<ChildProcess> ip = ChildProcess::Start(command);
  ASSERT_EQ(ip->WaitForEnd().value_or("runs on"), "exit 0")
      << "ip " << arguments << ": " << ip->Output();
}

bool WriteFile(const std::string& path, absl::string_view text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// A thread's own user namespace, in which it may do what the other namespaces need.
absl::Status BecomeRoot() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (user == 0) return absl::OkStatus();
  if (unshare(CLONE_NEWUSER) != 0 || !WriteFile("/proc/self/setgroups", "deny") ||
      !WriteFile("/proc/self/uid_map", absl::StrCat("0 ", user, " 1")) ||
      !WriteFile("/proc/self/gid_map", absl::StrCat("0 ", group, " 1"))) {
    return absl::FailedPreconditionError(
        "no user namespaces for this user: run it as root, or permit them");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TestNetwork>> TestNetwork::Create(int hosts) {
  if (access(kIpPath, X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("no ", kIpPath, ": install the package iproute2"));
  }
  RETURN_IF_ERROR(BecomeRoot());
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
    return absl::FailedPreconditionError(
        "no network namespaces: run it with CAP_SYS_ADMIN and CAP_NET_ADMIN");
  }
  // Where ip keeps its names, and nobody else sees them.
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("none", "/run", "tmpfs", 0, nullptr) != 0) {
    return absl::FailedPreconditionError("no mounts: run it with CAP_SYS_ADMIN");
  }
  if (!WriteFile("/proc/sys/net/ipv4/ip_forward", "1")) {
    return absl::FailedPreconditionError("/proc/sys is read-only: run it outside of a container");
  }
  std::unique_ptr<TestNetwork> network(new TestNetwork(hosts));
  Ip("link set lo up");
  for (int host = 0; host < hosts && !testing::Test::HasFatalFailure(); ++host) {
    network->AddHost(host);
  }
  return network;
}

TestNetwork::~TestNetwork() {
  for (int host = 0; host < hosts_; ++host) Ip("netns delete " + HostName(host));
}

void TestNetwork::AddHost(int host) {
  const std::string name = HostName(host);
  const std::string router = absl::StrCat("10.77.", host, ".1");
  ASSERT_NO_FATAL_FAILURE(Ip("netns add " + name));
  ASSERT_NO_FATAL_FAILURE(
      Ip(absl::StrCat("link add to-", name, " type veth peer name eth0 netns ", name)));
  ASSERT_NO_FATAL_FAILURE(Ip(absl::StrCat("address add ", router, "/24 dev to-", name)));
  ASSERT_NO_FATAL_FAILURE(Ip(absl::StrCat("link set to-", name, " up")));
  const std::string inside = absl::StrCat("-netns ", name, " ");
  ASSERT_NO_FATAL_FAILURE(Ip(inside + "link set lo up"));
  ASSERT_NO_FATAL_FAILURE(Ip(absl::StrCat(inside, "address add ", address(host), "/24 dev eth0")));
  ASSERT_NO_FATAL_FAILURE(Ip(inside + "link set eth0 up"));
  ASSERT_NO_FATAL_FAILURE(Ip(absl::StrCat(inside, "route add default via ", router)));
}

std::string TestNetwork::address(int host) const { return absl::StrCat("10.77.", host, ".2"); }

std::vector<std::string> TestNetwork::launcher(int host) const {
  return {kIpPath, "netns", "exec", HostName(host)};
}

void TestNetwork::CutOneWay(int from, int to) {
  const std::string rule = absl::StrCat("from ", address(from), " to ", address(to), " blackhole");
  Ip("rule add " + rule);
  cuts_.push_back(rule);
}

void TestNetwork::Cut(int one, int other) {
  CutOneWay(one, other);
  CutOneWay(other, one);
}

void TestNetwork::HealAll() {
  for (const std::string& rule : cuts_) Ip("rule delete " + rule);
  cuts_.clear();
}

}  // namespace larder

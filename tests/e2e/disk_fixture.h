// Daemons with a disk tier, and what a test wants to know of them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"

namespace larder {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
// What a device keeps for its metadata and its superblock: the rest is for segments.
inline constexpr uint64_t kDiskOverheadBytes = 65 * kMiB;

// A fresh directory on the file system of the build tree, removed with all that is in it.
class BuildDirectory {
 public:
  BuildDirectory();
  ~BuildDirectory();
  BuildDirectory(const BuildDirectory&) = delete;
  BuildDirectory& operator=(const BuildDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Bytes that the file system has given to everything under `path`.
uint64_t AllocatedBytes(const std::string& path);

// Watches AllocatedBytes from a thread of its own, as often as it can, until it is destroyed.
class SpaceSampler {
 public:
  explicit SpaceSampler(std::string path);
  ~SpaceSampler();
  uint64_t most_bytes() const { return most_bytes_; }
  uint64_t samples() const { return samples_; }

 private:
  void Run();

  const std::string path_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> most_bytes_{0};
  std::atomic<uint64_t> samples_{0};
  std::thread thread_;
};

struct Ended {
  std::string end;  // "exit 0"
  std::string output;

  nlohmann::json json() const {
    return nlohmann::json::parse(output, nullptr, /*allow_exceptions=*/false);
  }
};

// A program run to its end.
Ended RunProgram(const std::vector<std::string>& arguments, absl::Duration patience = kPatience);

struct DiskSetup {
  std::vector<std::string> paths;
  uint64_t capacity_bytes = kDiskOverheadBytes + 64 * kMiB;
  uint64_t arena_bytes = 32 * kMiB;
  std::vector<std::string> flags = {};
};

// One daemon at a time, on an arena of its own that outlives it, and a client of it.
class DiskTest : public testing::Test {
 protected:
  // Also again, with the same or another setup, after Kill or End. Client and space stay.
  void Start(const DiskSetup& setup);
  // With SIGKILL.
  void Kill() { daemon_->Kill(); }
  // As an operator does.
  void End();
  // As a reboot does: memory is gone.
  void LoseArena() const;

  // larderd's command line for the setup.
  std::vector<std::string> CommandLine(const DiskSetup& setup) const;
  Ended RunCtl(std::vector<std::string> arguments) const;
  // "disk" of the daemon's status.
  nlohmann::json DiskStatus() const;
  // Of the device number `device`, when the daemon has been asked.
  nlohmann::json DeviceStatus(size_t device = 0) const { return DiskStatus()["devices"][device]; }
  // Until nothing is on its way to the disk.
  void WaitForDemotions() const;

  // Chains of kChainChunks chunks of 256 KiB.
  static constexpr size_t kChainChunks = 8;
  void PutChains(uint64_t first, uint64_t count);
  // Waits for the disk after each chain, so that all of them can get there.
  void PutChainsOneByOne(uint64_t first, uint64_t count);
  // Fetches each chunk on its own. A wrong byte or an error is a test failure.
  uint64_t CountRight(uint64_t first_chain, uint64_t count);

  const std::string& directory() const { return directory_.path(); }
  std::string disk_path(const std::string& name = "disk") const {
    return disks_.path() + "/" + name;
  }
  DaemonProcess& daemon() { return *daemon_; }
  Client& client() { return *client_; }
  ClientSpace& space() { return *space_; }

  const Manifest manifest_ = KnownManifest(16);
  KnownBuffers buffers_{kChainChunks, manifest_};

 private:
  std::string address() const { return "unix:" + directory_.path() + "/grpc.sock"; }
  DaemonOptions Options(const DiskSetup& setup) const;

  SharedDirectory directory_;
  BuildDirectory disks_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
};

}  // namespace larder

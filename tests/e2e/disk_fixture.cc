#include "tests/e2e/disk_fixture.h"

#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace larder {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kStatBlockBytes = 512;
constexpr absl::Duration kSampleInterval = absl::Milliseconds(2);

}  // namespace

BuildDirectory::BuildDirectory() : path_(E2E_BUILD_DIRECTORY "/disks-XXXXXX") {
  EXPECT_NE(mkdtemp(path_.data()), nullptr);
}

BuildDirectory::~BuildDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

uint64_t AllocatedBytes(const std::string& path) {
  // Files come and go while they are counted.
  std::error_code error;
  uint64_t bytes = 0;
  for (std::filesystem::recursive_directory_iterator entry(path, error), end;
       !error && entry != end; entry.increment(error)) {
    struct stat file;
    if (lstat(entry->path().c_str(), &file) == 0) {
      bytes += static_cast<uint64_t>(file.st_blocks) * kStatBlockBytes;
    }
  }
  return bytes;
}

SpaceSampler::SpaceSampler(std::string path) : path_(std::move(path)), thread_([this] { Run(); }) {}

SpaceSampler::~SpaceSampler() {
  stop_ = true;
  thread_.join();
}

void SpaceSampler::Run() {
  while (!stop_) {
    most_bytes_ = std::max(most_bytes_.load(), AllocatedBytes(path_));
    ++samples_;
    absl::SleepFor(kSampleInterval);
  }
}

Ended RunProgram(const std::vector<std::string>& arguments, absl::Duration patience) {
  const std::unique_ptr<ChildProcess> process = ChildProcess::Start(arguments);
  const std::optional<std::string> end = process->WaitForEnd(patience);
  return {end.value_or("hangs"), process->Output()};
}

DaemonOptions DiskTest::Options(const DiskSetup& setup) const {
  DaemonOptions options{
      .arena_bytes = setup.arena_bytes,
      .flags = {"--grpc-listen=" + address(), "--disk=" + absl::StrJoin(setup.paths, ","),
                absl::StrCat("--disk-capacity=", setup.capacity_bytes), "--set",
                "disk.segment=4MiB", "--set", "disk.owner=node-1"}};
  options.flags.insert(options.flags.end(), setup.flags.begin(), setup.flags.end());
  return options;
}

std::vector<std::string> DiskTest::CommandLine(const DiskSetup& setup) const {
  return DaemonProcess(directory(), Options(setup)).CommandLine();
}

void DiskTest::Start(const DiskSetup& setup) {
  daemon_ = std::make_unique<DaemonProcess>(directory(), Options(setup));
  ASSERT_NO_FATAL_FAILURE(daemon_->Start());
  if (client_ == nullptr) {
    client_ = ConnectClient(daemon_->socket_path());
    space_.emplace(*client_->Open(manifest_));
  }
  ASSERT_TRUE(Eventually([this] { return client_->Stats().ok(); })) << daemon_->process().Output();
  ASSERT_TRUE(Eventually([this] { return RunCtl({"status"}).end == "exit 0"; }));
}

void DiskTest::End() {
  daemon_->process().Signal(SIGTERM);
  ASSERT_EQ(daemon_->process().WaitForEnd(), "exit 0") << daemon_->process().Output();
}

void DiskTest::LoseArena() const { std::filesystem::remove_all(directory() + "/arena"); }

Ended DiskTest::RunCtl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), LARDERCTL_PATH);
  arguments.push_back("--address=" + address());
  return RunProgram(arguments);
}

Json DiskTest::DiskStatus() const {
  const Ended status = RunCtl({"status", "--json"});
  EXPECT_EQ(status.end, "exit 0") << status.output;
  const Json json = status.json();
  EXPECT_TRUE(json.contains("disk")) << status.output;
  return json.value("disk", Json::object());
}

void DiskTest::WaitForDemotions() const {
  EXPECT_TRUE(Eventually([this] { return DiskStatus()["demoting_bytes"] == 0; }));
}

void DiskTest::PutChains(uint64_t first, uint64_t count) {
  for (uint64_t chain = first; chain < first + count; ++chain) {
    const auto keys = KnownKeys(chain, kChainChunks);
    buffers_.Fill(keys);
    const PutResult put = space_->Put(keys, buffers_.sources(kChainChunks));
    ASSERT_TRUE(put.status.ok()) << "chain " << chain << ": " << put.status;
  }
}

void DiskTest::PutChainsOneByOne(uint64_t first, uint64_t count) {
  for (uint64_t chain = first; chain < first + count; ++chain) {
    ASSERT_NO_FATAL_FAILURE(PutChains(chain, 1));
    WaitForDemotions();
  }
}

uint64_t DiskTest::CountRight(uint64_t first_chain, uint64_t count) {
  uint64_t right = 0;
  for (uint64_t chain = first_chain; chain < first_chain + count; ++chain) {
    const ChainCheck check = CheckChain(*space_, chain, kChainChunks, buffers_);
    EXPECT_EQ(check.trouble, "");
    right += check.present;
  }
  return right;
}

}  // namespace larder

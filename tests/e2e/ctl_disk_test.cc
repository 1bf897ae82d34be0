// larderctl disk, on devices that the disk tier has written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "storage/disk/disk_device.h"
#include "tests/e2e/daemon_process.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr uint64_t kPayloadBytes = 10000;
constexpr uint64_t kRecords = 20;

struct Ended {
  std::string end;  // "exit 0"
  std::string output;

  Json json() const { return Json::parse(output, nullptr, /*allow_exceptions=*/false); }
};

Ended RunDisk(const std::string& command, const std::string& path,
              const std::vector<std::string>& flags = {}) {
  std::vector<std::string> arguments = {LARDERCTL_PATH, "disk", command, "--path", path};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const std::unique_ptr<ChildProcess> process = ChildProcess::Start(arguments);
  const std::optional<std::string> end = process->WaitForEnd();
  return {end.value_or("hangs"), process->Output()};
}

// An open device that is told one thing at a time.
class Writer {
 public:
  explicit Writer(const std::string& path) {
    auto memory = MemoryMapping::MapAnonymous(RoundUpToDiskBlocks(kPayloadBytes));
    EXPECT_EQ(memory.status(), absl::OkStatus());
    memory_ = *std::move(memory);
    DiskDeviceOptions options;
    options.path = path;
    options.capacity_bytes = uint64_t{80} << 20;
    options.segment_bytes = uint64_t{1} << 20;
    options.owner = "node-1";
    options.memory = memory_.bytes();
    auto device = DiskDevice::Open(
        options, [this](std::vector<DiskResult> results, bool) { Take(std::move(results)); });
    EXPECT_EQ(device.status(), absl::OkStatus());
    if (device.ok()) device_ = *std::move(device);
  }

  void WriteRecords() {
    ASSERT_NE(device_, nullptr);
    DiskCommand open;
    open.kind = DiskCommand::Kind::kOpenSegment;
    open.record.segment = 2;
    open.record.generation = device_->TakeContents().highest_generation + 1;
    ASSERT_EQ(Do(open), absl::StatusCode::kOk);
    for (uint64_t number = 0; number < kRecords; ++number) {
      std::fill_n(memory_.data(), kPayloadBytes, static_cast<uint8_t>(number));
      DiskCommand write;
      write.kind = DiskCommand::Kind::kWrite;
      write.record = open.record;
      write.record.space = {1, 1};
      write.record.key = {number, 1};
      write.record.layer_end = write.record.head_end = 1;
      write.record.offset = PlaceOf(number);
      write.record.payload_bytes = kPayloadBytes;
      write.record.sequence = 1 + number;
      write.memory = memory_.bytes();
      ASSERT_EQ(Do(write), absl::StatusCode::kOk);
    }
  }

  uint64_t PlaceOf(uint64_t number) const {
    return device_->geometry().SegmentBegin(2) + kDiskBlockBytes +
           number * DiskRecordBytes(kPayloadBytes);
  }

 private:
  void Take(std::vector<DiskResult> results) {
    std::lock_guard lock(mutex_);
    for (DiskResult& result : results) results_.push_back(std::move(result));
    reported_.notify_all();
  }

  absl::StatusCode Do(const DiskCommand& command) {
    const absl::Status submitted = device_->Submit(command);
    if (!submitted.ok()) return submitted.code();
    std::unique_lock lock(mutex_);
    if (!reported_.wait_for(lock, absl::ToChronoNanoseconds(kPatience),
                            [this] { return !results_.empty(); })) {
      return absl::StatusCode::kDeadlineExceeded;
    }
    const absl::StatusCode code = results_.back().code;
    results_.clear();
    return code;
  }

  MemoryMapping memory_;
  std::mutex mutex_;
  std::condition_variable reported_;
  std::vector<DiskResult> results_;
  std::unique_ptr<DiskDevice> device_;
};

class CtlDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    Writer writer(path_);
    ASSERT_NO_FATAL_FAILURE(writer.WriteRecords());
    first_payload_ = writer.PlaceOf(0) + kDiskBlockBytes;
  }

  void FlipBit(uint64_t offset) const {
    std::fstream file(path_ + "/segments", std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    ASSERT_TRUE(file.flush().good());
  }

  SharedDirectory directory_;
  const std::string path_ = directory_.path() + "/device";
  uint64_t first_payload_ = 0;
};

TEST_F(CtlDiskTest, ListShowsSegments) {
  const Ended listed = RunDisk("list", path_, {"--json"});
  ASSERT_EQ(listed.end, "exit 0") << listed.output;
  const Json json = listed.json();
  EXPECT_EQ(json["node"], "node-1");
  EXPECT_EQ(json["segment_bytes"], 1 << 20);
  ASSERT_EQ(json["segments"].size(), 1u) << listed.output;
  EXPECT_EQ(json["segments"][0]["segment"], 2);
  EXPECT_EQ(json["segments"][0]["records"], kRecords);
  EXPECT_EQ(json["segments"][0]["payload_bytes"], kRecords * kPayloadBytes);
  EXPECT_THAT(RunDisk("list", path_).output, HasSubstr("node-1"));
}

TEST_F(CtlDiskTest, VerifyFindsNothingWrongAfterACleanEnd) {
  const Ended verified = RunDisk("verify", path_, {"--json"});
  EXPECT_EQ(verified.end, "exit 0") << verified.output;
  const Json json = verified.json();
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["live_records"], kRecords);
  EXPECT_EQ(json["index_records"], kRecords);
  EXPECT_EQ(json["unknown_records"], 0);
  EXPECT_THAT(RunDisk("verify", path_).output, HasSubstr("all is well"));
}

TEST_F(CtlDiskTest, VerifyFindsDamage) {
  FlipBit(first_payload_ + 5000);
  const Ended verified = RunDisk("verify", path_, {"--json"});
  EXPECT_EQ(verified.end, "exit 1") << verified.output;
  const Json json = verified.json();
  EXPECT_EQ(json["damaged_live_records"], 1);
  ASSERT_EQ(json["problems"].size(), 1u);
  EXPECT_EQ(json["problems"][0]["offset"], first_payload_ - kDiskBlockBytes);
  EXPECT_EQ(RunDisk("verify", path_, {"--headers-only"}).end, "exit 0");
  EXPECT_THAT(RunDisk("verify", path_).output, HasSubstr("there are problems"));
}

TEST_F(CtlDiskTest, RebuildMakesALostIndexAnew) {
  std::filesystem::remove_all(path_ + "/metadata");
  EXPECT_EQ(RunDisk("verify", path_).end, "exit 1");
  const Ended rebuilt = RunDisk("rebuild", path_, {"--json"});
  ASSERT_EQ(rebuilt.end, "exit 0") << rebuilt.output;
  EXPECT_EQ(rebuilt.json()["index_records"], kRecords);
  EXPECT_EQ(RunDisk("verify", path_).end, "exit 0");
  EXPECT_THAT(RunDisk("rebuild", path_).output, HasSubstr("20 records"));
}

TEST_F(CtlDiskTest, ADeviceInUseIsLeftAlone) {
  Writer writer(path_);
  for (const char* command : {"list", "verify", "rebuild"}) {
    const Ended ended = RunDisk(command, path_);
    EXPECT_EQ(ended.end, "exit 1");
    EXPECT_THAT(ended.output, HasSubstr(absl::StrCat("in use by process ", getpid())));
  }
}

TEST_F(CtlDiskTest, WhatIsNoDeviceIsRefused) {
  for (const char* command : {"list", "verify", "rebuild"}) {
    const Ended ended = RunDisk(command, directory_.path());
    EXPECT_EQ(ended.end, "exit 1");
    EXPECT_THAT(ended.output, HasSubstr(directory_.path() + ": there is no device"));
  }
}

}  // namespace
}  // namespace larder

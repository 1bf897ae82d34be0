// Random work on a disk that loses power: what is found afterwards is right, or known to be wrong.
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk/device_driver.h"
#include "tests/unit/storage/disk/fake_disk.h"
#include "tests/unit/storage/disk/memory_device.h"

namespace larder {
namespace {

constexpr auto kOk = absl::StatusCode::kOk;
constexpr uint64_t kSegmentBytes = uint64_t{256} << 10;
constexpr uint32_t kSegments = 6;
constexpr uint64_t kPayloadBytesMax = 24 << 10;

class PowerCutTest : public ::testing::Test {
 protected:
  PowerCutTest() {
    options_.geometry = {{5, 6}, kSegmentBytes, kSegments};
    options_.sync_interval = absl::Milliseconds(3);
    options_.metadata_directory = directory_.path() + "/metadata";
  }

  void Open() {
    sink_.emplace();
    auto device = OpenMemoryDevice(*disk_, options_, sink_->callback());
    ASSERT_EQ(device.status(), absl::OkStatus());
    device_ = *std::move(device);
    contents_ = device_->TakeContents();
    next_generation_ = contents_.highest_generation + 1;
    driver_.emplace(*device_, *sink_);
    live_.clear();
    for (const DiskRecord& record : contents_.records) live_.push_back(record);
  }

  void Close() {
    driver_.reset();
    device_.reset();
  }

  // Everything that was found reads as it was written, or says that it does not.
  void CheckAll(bool all_must_be_right) {
    for (const DiskRecord& record : contents_.records) {
      bool right = false;
      const DiskResult result = driver_->Read(record, &right);
      if (result.code == kOk) {
        EXPECT_TRUE(right) << "wrong bytes of " << record.key.low;
        ++right_;
      } else {
        EXPECT_EQ(result.code, absl::StatusCode::kDataLoss) << result.why;
        EXPECT_FALSE(all_must_be_right) << record.key.low;
        ++lost_;
      }
    }
  }

  void OpenSegment(Random& random) {
    const uint32_t segment = static_cast<uint32_t>(random.Below(kSegments));
    std::erase_if(live_, [&](const DiskRecord& record) { return record.segment == segment; });
    open_generation_ = next_generation_++;
    open_segment_ = segment;
    next_block_ = 1;
    opened_ = driver_->Open(segment, open_generation_).code == kOk;
    generations_[segment] = open_generation_;
  }

  // Where the next record of so many bytes goes; none when the segment is full.
  std::optional<DiskRecord> Place(uint64_t key, uint64_t bytes) {
    const uint64_t blocks = DiskRecordBytes(bytes) / kDiskBlockBytes;
    if (!opened_ || (next_block_ + blocks) * kDiskBlockBytes > kSegmentBytes) return std::nullopt;
    DiskRecord record =
        RecordAt(device_->geometry(), key, open_segment_, open_generation_, next_block_, bytes);
    next_block_ += blocks;
    return record;
  }

  void Keep(const DiskRecord& record) {
    live_.push_back(record);
    newest_[record.key.low] = record;
  }

  void DoSomething(Random& random) {
    const uint64_t what = random.Below(10);
    const uint64_t bytes = 1 + random.Below(kPayloadBytesMax);
    if (what < 6) {
      std::optional<DiskRecord> record = Place(next_key_, bytes);
      if (!record) return OpenSegment(random);
      ++next_key_;
      if (driver_->Write(&*record).code == kOk) Keep(*record);
    } else if (what < 8 && !live_.empty()) {
      const DiskRecord source = live_[random.Below(live_.size())];
      std::optional<DiskRecord> copy = Place(source.key.low, source.payload_bytes);
      if (!copy) return OpenSegment(random);
      if (driver_->Copy(source, &*copy).code == kOk) Keep(*copy);
    } else if (!live_.empty()) {
      const DiskRecord record = live_[random.Below(live_.size())];
      bool right = false;
      const absl::StatusCode code = driver_->Read(record, &right).code;
      EXPECT_TRUE(right || code != kOk) << "wrong bytes of " << record.key.low;
    }
  }

  ScratchDirectory directory_;
  MemoryDeviceOptions options_;
  std::optional<FakeDisk> disk_;
  std::optional<ResultSink> sink_;
  std::unique_ptr<DiskDevice> device_;
  DiskContents contents_;
  std::optional<DeviceDriver> driver_;
  std::vector<DiskRecord> live_;
  std::map<uint64_t, DiskRecord> newest_;  // by key, as the index has it
  std::map<uint32_t, uint64_t> generations_;
  uint64_t next_key_ = 1, next_generation_ = 1, open_generation_ = 0, next_block_ = 1;
  uint32_t open_segment_ = 0;
  bool opened_ = false;
  uint64_t right_ = 0, lost_ = 0;
};

TEST_F(PowerCutTest, NothingWrongIsServed) {
  constexpr uint64_t kSeed = 20;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  disk_.emplace(uint64_t{8} << 20, random.Next());
  for (int cut = 0; cut < 40; ++cut) {
    SCOPED_TRACE(absl::StrCat("power cut ", cut));
    Open();
    CheckAll(/*all_must_be_right=*/false);
    opened_ = false;
    OpenSegment(random);
    for (uint64_t i = random.Below(60); i > 0; --i) DoSomething(random);
    // With some writes under way.
    std::vector<MemoryMapping> memories;
    for (uint64_t i = 0; i < 10; ++i) {
      const std::optional<DiskRecord> record = Place(next_key_, 5000);
      if (!record) break;
      memories.push_back(PayloadMemory(5000));
      FillPayload(next_key_++, memories.back().bytes().first(5000));
      DiskCommand command =
          DeviceDriver::Command(DiskCommand::Kind::kWrite, *record, memories.back().bytes());
      command.token = i;
      ASSERT_EQ(device_->Submit(command), absl::OkStatus());
    }
    disk_->CutPower();
    Close();
    disk_->RestorePower();
  }
  EXPECT_GT(right_, 100u) << "records survive";
  EXPECT_GT(lost_, 10u) << "the power cuts tear something";
}

TEST_F(PowerCutTest, NothingWrongIsServedByADiskThatLies) {
  constexpr uint64_t kSeed = 21;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  disk_.emplace(uint64_t{8} << 20, random.Next());
  for (int cut = 0; cut < 30; ++cut) {
    SCOPED_TRACE(absl::StrCat("power cut ", cut));
    Open();
    CheckAll(/*all_must_be_right=*/false);
    opened_ = false;
    disk_->SetFaults({.fail = 0.01,
                      .fall_short = 0.1,
                      .misdirect = 0.03,
                      .lose = 0.03,
                      .flip = 0.03,
                      .delay = 0.05});
    OpenSegment(random);
    for (int i = 0; i < 50; ++i) DoSomething(random);
    disk_->SetFaults({});
    disk_->CutPower();
    Close();
    disk_->RestorePower();
  }
  EXPECT_GT(right_, 100u);
  EXPECT_GT(lost_, 10u);
}

TEST_F(PowerCutTest, WhatWasSyncedSurvives) {
  constexpr uint64_t kSeed = 22;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  disk_.emplace(uint64_t{8} << 20, random.Next());
  for (int cut = 0; cut < 10; ++cut) {
    SCOPED_TRACE(absl::StrCat("power cut ", cut));
    Open();
    CheckAll(/*all_must_be_right=*/true);
    opened_ = false;
    OpenSegment(random);
    for (int i = 0; i < 30; ++i) DoSomething(random);
    Close();  // which syncs
    disk_->CutPower();
    disk_->RestorePower();
    Open();
    std::vector<DiskRecord> expected;
    for (const auto& [key, record] : newest_) {
      if (record.generation == generations_[record.segment]) expected.push_back(record);
    }
    EXPECT_THAT(contents_.records, ::testing::UnorderedElementsAreArray(expected));
    Close();
  }
  EXPECT_GT(right_, 50u);
  EXPECT_EQ(lost_, 0u);
}

}  // namespace
}  // namespace larder

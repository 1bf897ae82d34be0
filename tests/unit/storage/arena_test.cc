#include "storage/arena/arena.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/arena/arena_files.h"
#include "storage/arena/heap_arena.h"
#include "storage/arena/huge_pages.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/block_table_testing.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

bool AllEqual(std::span<const uint8_t> bytes, uint8_t value) {
  return std::all_of(bytes.begin(), bytes.end(), [value](uint8_t byte) { return byte == value; });
}

// --- what Arena and its twin have in common
// -------------------------------------------------------

// Each of the two drivers opens an arena for the first time or again; the old one dies before.
class FileArenaDriver {
 public:
  absl::StatusOr<Arena*> Open(const BlockTableGeometry& geometry) {
    arena_.reset();
    ArenaOptions options;
    options.directory = directory_.path() + "/arena";
    options.data_bytes = geometry.data_bytes;
    options.granule_bytes = geometry.granule_bytes;
    options.blocks_max = geometry.capacity_records;
    ASSIGN_OR_RETURN(arena_, Arena::OpenOrCreate(options, random_));
    return arena_.get();
  }

 private:
  ScratchDirectory directory_;
  SeededRandom random_{1};
  std::unique_ptr<Arena> arena_;
};

class HeapArenaDriver {
 public:
  absl::StatusOr<HeapArena*> Open(const BlockTableGeometry& geometry) {
    if (arena_ == nullptr) {
      ASSIGN_OR_RETURN(arena_, HeapArena::Create(geometry, random_));
    } else {
      RETURN_IF_ERROR(arena_->Reopen(geometry));
    }
    return arena_.get();
  }

 private:
  SeededRandom random_{1};
  std::unique_ptr<HeapArena> arena_;
};

template <typename Driver>
class ArenaContractTest : public ::testing::Test {
 protected:
  static constexpr BlockTableGeometry kGeometry = {
      .capacity_records = 100, .data_bytes = 8 * kMiB, .granule_bytes = 4096};
  Driver driver_;
};
using ArenaDrivers = ::testing::Types<FileArenaDriver, HeapArenaDriver>;
TYPED_TEST_SUITE(ArenaContractTest, ArenaDrivers);

TYPED_TEST(ArenaContractTest, BeginsEmptyAndZeroed) {
  const auto arena = this->driver_.Open(this->kGeometry);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_FALSE((*arena)->recovered());
  EXPECT_EQ((*arena)->blocks().used_records(), 0u);
  EXPECT_EQ((*arena)->blocks().geometry(), this->kGeometry);
  EXPECT_FALSE((*arena)->uuid().IsZero());
  EXPECT_EQ((*arena)->data().size(), this->kGeometry.data_bytes);
  EXPECT_EQ((*arena)->backed_bytes(), this->kGeometry.data_bytes);
  EXPECT_TRUE(AllEqual((*arena)->data(), 0));
}

TYPED_TEST(ArenaContractTest, CommittedBlocksAndTheirBytesComeBackAndOthersDoNot) {
  auto arena = this->driver_.Open(this->kGeometry);
  ASSERT_TRUE(arena.ok()) << arena.status();
  const ArenaUuid uuid = (*arena)->uuid();
  SeededRandom random(2);
  BlockRecord record = RandomRecord(random, this->kGeometry);
  record.offset = kMiB;
  record.bytes = 5000;
  std::fill_n((*arena)->data().begin() + kMiB, 5000, 0x5a);
  const uint32_t unfinished = *(*arena)->blocks().AllocateRecord();
  (*arena)->blocks().WriteReserved(unfinished, record);
  CommitNew((*arena)->blocks(), record);

  arena = this->driver_.Open(this->kGeometry);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_TRUE((*arena)->recovered());
  EXPECT_EQ((*arena)->uuid(), uuid);
  BlockRecovery recovery;
  EXPECT_EQ(RecoverAll((*arena)->blocks(), &recovery), (RecordsByKey{{record.key, record}}));
  EXPECT_EQ(recovery.uncommitted, 1u);
  EXPECT_TRUE(AllEqual((*arena)->data().subspan(kMiB, 5000), 0x5a));
}

TYPED_TEST(ArenaContractTest, AnotherGeometryIsRefusedAndLosesNothing) {
  auto arena = this->driver_.Open(this->kGeometry);
  ASSERT_TRUE(arena.ok()) << arena.status();
  SeededRandom random(3);
  const BlockRecord record = RandomRecord(random, this->kGeometry);
  CommitNew((*arena)->blocks(), record);
  for (int change = 0; change < 3; ++change) {
    BlockTableGeometry other = this->kGeometry;
    if (change == 0) other.data_bytes /= 2;
    if (change == 1) other.granule_bytes *= 2;
    if (change == 2) other.capacity_records -= 1;
    const absl::Status status = this->driver_.Open(other).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(status.message(), HasSubstr("expected"));
  }
  arena = this->driver_.Open(this->kGeometry);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_EQ(RecoverAll((*arena)->blocks()), (RecordsByKey{{record.key, record}}));
}

TYPED_TEST(ArenaContractTest, ImpossibleGeometryIsRefused) {
  BlockTableGeometry geometry = this->kGeometry;
  geometry.data_bytes += 1;
  EXPECT_EQ(this->driver_.Open(geometry).status().code(), absl::StatusCode::kInvalidArgument);
}

// --- the files ----------------------------------------------------------------------------------

class ArenaTest : public ::testing::Test {
 protected:
  ArenaOptions Options(uint64_t data_bytes = 4 * kMiB) const {
    ArenaOptions options;
    options.directory = directory_.path() + "/arena";
    options.data_bytes = data_bytes;
    options.prefault = false;
    return options;
  }
  absl::StatusOr<std::unique_ptr<Arena>> Open(const ArenaOptions& options) {
    return Arena::OpenOrCreate(options, random_);
  }
  std::string Path(const char* name) const { return directory_.path() + "/arena/" + name; }
  static mode_t Mode(const std::string& path) {
    struct stat information;
    return stat(path.c_str(), &information) == 0 ? information.st_mode & 07777 : 0;
  }
  // Makes an arena with one committed block and lets it go.
  BlockRecord MakeArena(const ArenaOptions& options) {
    const auto arena = Open(options);
    EXPECT_TRUE(arena.ok()) << arena.status();
    const BlockRecord record = RandomRecord(random_, (*arena)->blocks().geometry());
    CommitNew((*arena)->blocks(), record);
    return record;
  }

  ScratchDirectory directory_;
  SeededRandom random_{1};
};

TEST_F(ArenaTest, MakesItsDirectoryAndPrivateFiles) {
  ArenaOptions options = Options();
  options.directory = directory_.path() + "/above/arena";
  ASSERT_TRUE(Open(options).ok());
  EXPECT_EQ(Mode(options.directory), 0700u);
  EXPECT_EQ(Mode(options.directory + "/data"), 0600u);
  EXPECT_EQ(Mode(options.directory + "/blocks"), 0600u);
  EXPECT_FALSE(std::filesystem::exists(options.directory + "/blocks.new"));
}

TEST_F(ArenaTest, DataModeIsSetAtEveryOpening) {
  MakeArena(Options());
  ArenaOptions options = Options();
  options.data_mode = 0660;
  options.data_group = getegid();
  ASSERT_TRUE(Open(options).ok());
  EXPECT_EQ(Mode(Path("data")), 0660u);
  EXPECT_EQ(Mode(Path("blocks")), 0600u);
  options.data_mode = 0666;
  EXPECT_EQ(Open(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ArenaTest, DefaultRecordCountIsOneAGranule) {
  const auto arena = Open(Options(4 * kMiB));
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_EQ((*arena)->blocks().geometry().capacity_records, 1024u);
}

TEST_F(ArenaTest, SecondOwnerIsRefusedNamingTheFirst) {
  const auto first = Open(Options());
  ASSERT_TRUE(first.ok()) << first.status();
  ArenaOptions options = Options();
  options.reset = true;  // not even then
  const absl::Status status = Open(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(Options().directory),
                                      HasSubstr(absl::StrCat("in use by process ", getpid()))));
}

TEST_F(ArenaTest, ResetBeginsEmptyAndLeavesOldMappingsAlone) {
  auto arena = Open(Options());
  ASSERT_TRUE(arena.ok()) << arena.status();
  const ArenaUuid uuid = (*arena)->uuid();
  (*arena)->data()[5] = 99;
  absl::StatusOr<FileDescriptor> client_fd = (*arena)->data_fd().Duplicate();
  ASSERT_TRUE(client_fd.ok());
  const auto client = MemoryMapping::MapShared(*client_fd, 4 * kMiB, true);
  ASSERT_TRUE(client.ok());
  arena->reset();
  ArenaOptions options = Options(8 * kMiB);
  options.reset = true;
  arena = Open(options);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_FALSE((*arena)->recovered());
  EXPECT_NE((*arena)->uuid(), uuid);
  EXPECT_EQ((*arena)->data()[5], 0);
  client->data()[4 * kMiB - 1] = 1;  // would be a SIGBUS if the file had been cut
  EXPECT_EQ(client->data()[5], 99);
}

TEST_F(ArenaTest, ChangedSizeNamesBothAndTheWayOut) {
  MakeArena(Options());
  const absl::Status status = Open(Options(8 * kMiB)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr(Options().directory), HasSubstr("data bytes 4194304"),
                    HasSubstr("expected 8388608"), HasSubstr("start with reset")));
}

TEST_F(ArenaTest, DeathDuringCreationLeavesNoArena) {
  const BlockRecord record = MakeArena(Options());
  std::filesystem::rename(Path("blocks"), Path("blocks.new"));
  const auto arena = Open(Options());
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_FALSE((*arena)->recovered());
  EXPECT_EQ((*arena)->blocks().used_records(), 0u);
  EXPECT_NE(record.bytes, 0u);
}

TEST_F(ArenaTest, MissingOrCutFilesAreDamage) {
  MakeArena(Options());
  std::filesystem::rename(Path("data"), Path("elsewhere"));
  absl::Status status = Open(Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(status.message(), HasSubstr("data is gone"));
  std::filesystem::rename(Path("elsewhere"), Path("data"));
  std::filesystem::resize_file(Path("data"), 2 * kMiB);
  status = Open(Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(status.message(), HasSubstr("data has 2097152 bytes, expected 4194304"));
  std::filesystem::resize_file(Path("blocks"), 8192);
  EXPECT_EQ(Open(Options()).status().code(), absl::StatusCode::kFailedPrecondition);
  std::filesystem::resize_file(Path("blocks"), 100);
  EXPECT_EQ(Open(Options()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ArenaTest, SymbolicLinksAndForeignWritersAreRefused) {
  MakeArena(Options());
  std::filesystem::create_directory_symlink(Options().directory, directory_.path() + "/link");
  ArenaOptions options = Options();
  options.directory = directory_.path() + "/link";
  EXPECT_FALSE(Open(options).ok());
  ASSERT_EQ(chmod(Options().directory.c_str(), 0770), 0);
  EXPECT_EQ(Open(Options()).status().code(), absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(chmod(Options().directory.c_str(), 0700), 0);
  std::filesystem::rename(Path("blocks"), Path("other"));
  std::filesystem::create_symlink("other", Path("blocks"));
  EXPECT_FALSE(Open(Options()).ok());
}

TEST_F(ArenaTest, TooLittleRoomNamesWhatIsMissing) {
  ArenaOptions options = Options(1ull << 45);  // 32 TiB
  const absl::Status status = Open(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("are missing"));
}

TEST_F(ArenaTest, OpensALargeEmptyArenaAtOnceAndStopsPromptly) {
  ArenaOptions options = Options(1ull << 30);
  options.prefault = true;
  const absl::Time start = absl::Now();
  {
    const auto arena = Open(options);
    if (absl::IsResourceExhausted(arena.status())) GTEST_SKIP() << arena.status();
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_GE((*arena)->backed_bytes(), 16 * kMiB);
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
}

// --- memory in the background -------------------------------------------------------------------

TEST_F(ArenaTest, BackingAndPrefaultingCompleteWithoutTouchingContent) {
  constexpr uint64_t kBytes = 64 * kMiB;
  ArenaOptions options = Options(kBytes);
  options.prefault = true;
  const auto arena = Open(options);
  ASSERT_TRUE(arena.ok()) << arena.status();
  // A client fills what is backed while the thread is at work.
  uint64_t written_bytes = 0;
  ASSERT_TRUE(WaitUntil([&] {
    const uint64_t backed_bytes = (*arena)->backed_bytes();
    std::fill((*arena)->data().begin() + written_bytes, (*arena)->data().begin() + backed_bytes,
              0x77);
    written_bytes = backed_bytes;
    return written_bytes == kBytes;
  }));
  ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
  EXPECT_TRUE((*arena)->backing_status().ok()) << (*arena)->backing_status();
  EXPECT_EQ((*arena)->prefaulted_bytes(), kBytes);
  EXPECT_EQ(ReadFileSpace((*arena)->data_fd())->allocated_bytes, kBytes);
  EXPECT_TRUE(AllEqual((*arena)->data(), 0x77));
}

TEST_F(ArenaTest, WhatWasBackedIsKnownAtOnceAfterARestart) {
  {
    const auto arena = Open(Options(64 * kMiB));
    ASSERT_TRUE(arena.ok()) << arena.status();
    ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
  }
  const auto arena = Open(Options(64 * kMiB));
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_EQ((*arena)->backed_bytes(), 64 * kMiB);
  EXPECT_EQ((*arena)->prefaulted_bytes(), 0u);
}

TEST_F(ArenaTest, ABackedMarkThatTheFileBeliesIsNotTrusted) {
  {
    const auto arena = Open(Options(64 * kMiB));
    ASSERT_TRUE(arena.ok()) << arena.status();
    ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
  }
  std::filesystem::resize_file(Path("data"), 0);
  std::filesystem::resize_file(Path("data"), 64 * kMiB);
  const auto arena = Open(Options(64 * kMiB));
  ASSERT_TRUE(arena.ok()) << arena.status();
  ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
  EXPECT_EQ(ReadFileSpace((*arena)->data_fd())->allocated_bytes, 64 * kMiB);
}

// Runs `body(directory)` with a tmpfs of that size that only the calling thread sees; false where
// this process may not mount.
template <typename Body>
bool WithSmallFileSystem(const std::string& directory, uint64_t bytes, Body body) {
  bool mounted = false;
  std::thread([&] {
    const std::string limit = absl::StrCat("size=", bytes, ",mode=0700");
    mounted = unshare(CLONE_NEWNS) == 0 &&
              mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
              mount("tmpfs", directory.c_str(), "tmpfs", 0, limit.c_str()) == 0;
    if (!mounted) return;
    body(directory);
    umount2(directory.c_str(), MNT_DETACH);
  }).join();
  return mounted;
}

TEST_F(ArenaTest, AFullFileSystemStopsBackingAndIsReported) {
  const bool mounted = WithSmallFileSystem(directory_.path(), 40 * kMiB, [](const auto& directory) {
    const auto directory_fd = OpenPrivateDirectory(directory);
    ASSERT_TRUE(directory_fd.ok()) << directory_fd.status();
    const auto file = CreateFileAt(*directory_fd, "data", 64 * kMiB);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto mapping = MemoryMapping::MapShared(*file, 64 * kMiB, true);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    uint64_t mark = 0;
    MemoryBacker::Options options;
    options.page_bytes = 4096;
    options.on_backed = [&](uint64_t bytes) { mark = bytes; };
    MemoryBacker backer(file->get(), mapping->bytes(), options);
    ASSERT_TRUE(WaitUntil([&] { return backer.finished(); }));
    EXPECT_EQ(backer.status().code(), absl::StatusCode::kResourceExhausted) << backer.status();
    EXPECT_EQ(backer.backed_bytes(), 32 * kMiB);
    EXPECT_EQ(mark, 32 * kMiB);
    EXPECT_EQ(backer.prefaulted_bytes(), 32 * kMiB);
    std::fill_n(mapping->data(), backer.backed_bytes(), 1);  // no SIGBUS
  });
  if (!mounted) GTEST_SKIP() << "this process may not mount a file system";
}

TEST_F(ArenaTest, AFullFileSystemMeansAFullBlockTableNotASignal) {
  const bool mounted = WithSmallFileSystem(directory_.path(), 12 * kMiB, [this](const auto&) {
    ArenaOptions options = Options(8 * kMiB);
    options.blocks_max = 100'000;  // 12.8 MB of records
    const auto arena = Open(options);
    ASSERT_TRUE(arena.ok()) << arena.status();
    ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
    EXPECT_EQ((*arena)->backed_bytes(), 8 * kMiB);
    BlockRecord record = RandomRecord(random_, (*arena)->blocks().geometry());
    uint32_t count = 0;
    while (const std::optional<uint32_t> index = (*arena)->blocks().AllocateRecord()) {
      (*arena)->blocks().WriteReserved(*index, record);
      (*arena)->blocks().Commit(*index, ++count);
    }
    EXPECT_GT(count, 20'000u);
    EXPECT_LT(count, 40'000u);
  });
  if (!mounted) GTEST_SKIP() << "this process may not mount a file system";
}

// --- huge pages ---------------------------------------------------------------------------------

TEST(HugePagesTest, MountsAreReadFromTheKernelsText) {
  EXPECT_THAT(ParseHugePageMounts("tmpfs /dev/shm tmpfs rw 0 0\n"
                                  "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n"
                                  "none /mnt/with\\040space hugetlbfs rw 0 0\n"
                                  "hugetlbfs /not/this ext4 rw 0 0\nshort line\n\n"),
              ElementsAre("/dev/hugepages", "/mnt/with space"));
  EXPECT_THAT(ParseHugePageMounts(""), ElementsAre());
}

TEST_F(ArenaTest, HugePagesAreUsedWhereThereAreSome) {
  constexpr uint64_t kBytes = 4 * kMiB;
  const std::vector<HugePageMount> mounts = FindHugePageMounts();
  const bool available = std::any_of(mounts.begin(), mounts.end(), [](const auto& mount) {
    return mount.free_bytes >= kBytes && kBytes % mount.page_bytes == 0;
  });
  ArenaOptions options = Options(kBytes);
  options.huge_pages = HugePages::kRequire;
  if (!available) {
    EXPECT_EQ(Open(options).status().code(), absl::StatusCode::kResourceExhausted);
    options.huge_pages = HugePages::kAuto;
    const auto arena = Open(options);
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_FALSE((*arena)->on_huge_pages());
    return;
  }
  ArenaUuid uuid;
  {
    const auto arena = Open(options);
    ASSERT_TRUE(arena.ok()) << arena.status();
    uuid = (*arena)->uuid();
    EXPECT_TRUE((*arena)->on_huge_pages());
    ASSERT_TRUE(WaitUntil([&] { return (*arena)->backing_finished(); }));
    EXPECT_EQ((*arena)->backed_bytes(), kBytes);
    (*arena)->data()[kBytes - 1] = 7;
  }
  options.huge_pages = HugePages::kNever;  // decides about new arenas only
  {
    const auto arena = Open(options);
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_TRUE((*arena)->on_huge_pages());
    EXPECT_EQ((*arena)->backed_bytes(), kBytes);
    EXPECT_EQ((*arena)->data()[kBytes - 1], 7);
  }
  options.reset = true;
  const auto arena = Open(options);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_FALSE((*arena)->on_huge_pages());
  for (const HugePageMount& mount : FindHugePageMounts()) {
    EXPECT_FALSE(std::filesystem::exists(mount.directory + "/larder-" + ToString(uuid) + ".data"));
  }
}

}  // namespace
}  // namespace larder

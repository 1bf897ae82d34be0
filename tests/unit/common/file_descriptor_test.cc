#include "common/file_descriptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace larder {
namespace {

constexpr size_t kBytes = 8192;

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

FileDescriptor MemoryFile() {
  FileDescriptor fd(memfd_create("file_descriptor_test", 0));
  EXPECT_EQ(ftruncate(fd.get(), kBytes), 0);
  return fd;
}

TEST(FileDescriptorTest, ClosesWhatItOwns) {
  int raw = -1;
  {
    const FileDescriptor fd = MemoryFile();
    ASSERT_TRUE(fd);
    raw = fd.get();
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(FileDescriptorTest, MovingHandsOverOwnership) {
  FileDescriptor first = MemoryFile();
  const int raw = first.get();
  FileDescriptor second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what moving leaves behind
  EXPECT_EQ(second.get(), raw);
  FileDescriptor third = MemoryFile();
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_FALSE(IsOpen(replaced));
  EXPECT_EQ(third.get(), raw);
  EXPECT_TRUE(IsOpen(raw));
}

TEST(FileDescriptorTest, ReleaseLeavesItOpen) {
  FileDescriptor fd = MemoryFile();
  const int raw = fd.Release();
  EXPECT_FALSE(fd);
  fd.Reset();
  EXPECT_TRUE(IsOpen(raw));
  const FileDescriptor closer(raw);
}

TEST(FileDescriptorTest, DuplicateIsTheSameFileAndClosesOnExec) {
  const FileDescriptor fd = MemoryFile();
  const absl::StatusOr<FileDescriptor> copy = fd.Duplicate();
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_NE(copy->get(), fd.get());
  EXPECT_EQ(fcntl(copy->get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  ASSERT_EQ(pwrite(fd.get(), "larder", 6, 0), 6);
  char text[6];
  ASSERT_EQ(pread(copy->get(), text, sizeof text, 0), 6);
  EXPECT_EQ(std::string(text, sizeof text), "larder");
}

TEST(FileDescriptorTest, DuplicateOfNothingIsAnError) {
  const absl::StatusOr<FileDescriptor> copy = FileDescriptor().Duplicate();
  ASSERT_FALSE(copy.ok());
  EXPECT_NE(copy.status().message().find("duplicating"), absl::string_view::npos);
}

TEST(MemoryMappingTest, SharedMappingsSeeEachOther) {
  const FileDescriptor fd = MemoryFile();
  const auto writer = MemoryMapping::MapShared(fd, kBytes, /*writable=*/true);
  const auto reader = MemoryMapping::MapShared(fd, kBytes, /*writable=*/false);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(writer->size(), kBytes);
  writer->data()[kBytes - 1] = 42;
  EXPECT_EQ(reader->bytes().back(), 42);
}

TEST(MemoryMappingTest, WritableMappingNeedsAWritableFile) {
  const FileDescriptor fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_TRUE(MemoryMapping::MapShared(fd, 4096, /*writable=*/false).ok());
  const auto denied = MemoryMapping::MapShared(fd, 4096, /*writable=*/true);
  EXPECT_EQ(denied.status().code(), absl::StatusCode::kPermissionDenied) << denied.status();
}

TEST(MemoryMappingTest, ImpossibleSizesAreErrors) {
  const FileDescriptor fd = MemoryFile();
  EXPECT_EQ(MemoryMapping::MapShared(fd, 0, true).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(MemoryMapping::MapShared(FileDescriptor(), kBytes, true).ok());
  const auto huge = MemoryMapping::MapAnonymous(SIZE_MAX / 2);
  ASSERT_FALSE(huge.ok());
  EXPECT_NE(huge.status().message().find("mapping"), absl::string_view::npos);
}

TEST(MemoryMappingTest, AnonymousMemoryIsZeroed) {
  const auto mapping = MemoryMapping::MapAnonymous(kBytes);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const auto bytes = mapping->bytes();
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; }));
}

TEST(MemoryMappingTest, MovingHandsOverAndResetUnmaps) {
  absl::StatusOr<MemoryMapping> first = MemoryMapping::MapAnonymous(kBytes);
  ASSERT_TRUE(first.ok()) << first.status();
  uint8_t* const data = first->data();
  MemoryMapping second = *std::move(first);
  EXPECT_FALSE(*first);  // NOLINT(bugprone-use-after-move): what moving leaves behind
  EXPECT_EQ(first->size(), 0u);
  EXPECT_EQ(second.data(), data);
  second.Reset();
  EXPECT_FALSE(second);
  unsigned char residency;
  EXPECT_EQ(mincore(data, 1, &residency), -1);  // Nothing is mapped there any more.
}

}  // namespace
}  // namespace larder

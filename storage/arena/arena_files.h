// The directory and the files of an arena; arena.cc puts them together.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Makes the directory (and what is above it) when missing and opens it. PERMISSION_DENIED when it
// belongs to another user or others may write to it: they could swap the files under the daemon.
absl::StatusOr<FileDescriptor> OpenPrivateDirectory(const std::string& directory);

// Takes the exclusive lock on the file `lock` in the directory and writes this process's id into
// it. UNAVAILABLE, naming the owner, when another open file has it.
absl::StatusOr<FileDescriptor> LockPrivateDirectory(const FileDescriptor& directory);

// Opens an existing file for reading and writing; a symbolic link is an error.
absl::StatusOr<FileDescriptor> OpenFileAt(const FileDescriptor& directory, const char* name);

// Makes a new, sparse file of `bytes` zeroes, mode 0600; one of that name is unlinked first, so
// that whoever still maps it keeps the old bytes.
absl::StatusOr<FileDescriptor> CreateFileAt(const FileDescriptor& directory, const char* name,
                                            uint64_t bytes);

// Unlinks the file; one that is not there is fine.
absl::Status RemoveFileAt(const FileDescriptor& directory, const char* name);

absl::Status SetFileAccess(const FileDescriptor& file, mode_t mode, std::optional<gid_t> group);

struct FileSpace {
  uint64_t size_bytes = 0;       // its length
  uint64_t allocated_bytes = 0;  // what the file system holds of it
};
absl::StatusOr<FileSpace> ReadFileSpace(const FileDescriptor& file);

// RESOURCE_EXHAUSTED, saying how much is missing, when the file's file system cannot give it
// `bytes` more.
absl::Status CheckRoom(const FileDescriptor& file, uint64_t bytes);

}  // namespace larder

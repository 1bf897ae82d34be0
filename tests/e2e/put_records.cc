#include "tests/e2e/put_records.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace larder {

PutRecorder::PutRecorder(const std::string& path)
    : file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {}

void PutRecorder::Append(uint64_t chain, uint32_t acknowledged_chunks) const {
  const PutRecord record{chain, acknowledged_chunks, 0};
  // Without its records a putting process is worse than none.
  if (write(file_.get(), &record, sizeof record) != sizeof record) _exit(3);
}

std::vector<PutRecord> ReadPutRecords(const std::string& path, size_t first) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat size;
  if (!file || fstat(file.get(), &size) != 0) return {};
  const size_t count = static_cast<size_t>(size.st_size) / sizeof(PutRecord);
  if (count <= first) return {};
  std::vector<PutRecord> records(count - first);
  const size_t bytes = records.size() * sizeof(PutRecord);
  const ssize_t got =
      pread(file.get(), records.data(), bytes, static_cast<off_t>(first * sizeof(PutRecord)));
  records.resize(got > 0 ? static_cast<size_t>(got) / sizeof(PutRecord) : 0);
  return records;
}

}  // namespace larder

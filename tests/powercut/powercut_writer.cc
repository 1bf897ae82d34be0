// The program of the power-cut test, run.sh starts it: in a guest that loses its power it writes to
// a disk device and says what it does; afterwards, on an image of the disk, it checks what is left.
//   powercut_writer write DIRECTORY SEED [never]   until it is killed; "never": it does not sync
//   powercut_writer check DIRECTORY JOURNAL        JOURNAL: what the writer said
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "common/status.h"
#include "tests/powercut/checker.h"
#include "tests/powercut/writer.h"

namespace larder {
namespace {

constexpr int kWrong = 1;
constexpr int kUsage = 2;
constexpr int kOnlyDurableRecordsMissing = 3;

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "powercut_writer: %s\n", status.ToString().c_str());
  return kWrong;
}

int Write(const std::string& directory, const std::string& seed_text, bool sync) {
  uint64_t seed = 0;
  if (!absl::SimpleAtoi(seed_text, &seed)) {
    return Fail(absl::InvalidArgumentError("no seed: " + seed_text));
  }
  return Fail(WriteUntilKilled(directory, seed, sync, STDOUT_FILENO));
}

int Check(const std::string& directory, const std::string& journal) {
  const absl::StatusOr<CheckCounts> counts = CheckDevice(directory, journal);
  if (!counts.ok()) return Fail(counts.status());
  std::printf("records %lu: right %lu, lost %lu, wrong %lu; durable %lu, missing %lu\n",
              counts->records, counts->right, counts->lost, counts->wrong, counts->durable,
              counts->missing);
  if (counts->wrong > 0) return kWrong;
  return counts->missing > 0 ? kOnlyDurableRecordsMissing : 0;
}

int Main(const std::vector<std::string>& arguments) {
  const size_t count = arguments.size();
  if (count == 3 && arguments[0] == "write") return Write(arguments[1], arguments[2], true);
  if (count == 4 && arguments[0] == "write" && arguments[3] == "never") {
    return Write(arguments[1], arguments[2], false);
  }
  if (count == 3 && arguments[0] == "check") return Check(arguments[1], arguments[2]);
  std::fprintf(stderr,
               "usage: powercut_writer write DIRECTORY SEED [never] | check DIRECTORY JOURNAL\n");
  return kUsage;
}

}  // namespace
}  // namespace larder

int main(int count, char** values) {
  return larder::Main(std::vector<std::string>(values + 1, values + count));
}

// What a kill leaves of the block table: at every single instruction of a script, and at random
// moments of a busy process.
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "storage/arena/block_table.h"
#include "tests/unit/storage/block_table_testing.h"

namespace larder {
namespace {

constexpr ArenaUuid kUuid{1, 2};

BlockTableGeometry Geometry(uint64_t capacity_records) {
  return {.capacity_records = capacity_records, .data_bytes = 1 << 30, .granule_bytes = 4096};
}

// Memory that a forked child shares with its parent; unmapped at the end.
class SharedMemory {
 public:
  explicit SharedMemory(size_t size)
      : size_(size),
        data_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedMemory() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  bool ok() const { return data_ != MAP_FAILED; }
  std::span<uint8_t> bytes() const { return {static_cast<uint8_t*>(data_), size_}; }

 private:
  size_t size_;
  void* data_;
};

// A script of operations that parent and child both know from its seed alone. Each operation is
// one promise: a kill during it leaves the state before it or the state after it.
class Script {
 public:
  Script(uint64_t seed, const BlockTableGeometry& geometry) : random_(seed), geometry_(geometry) {}

  // Carries out the next operation on the model and, when given, on the table.
  void Step(BlockTable* table) {
    const uint64_t choice = random_.Below(10);
    if (records_.empty() || (choice < 4 && records_.size() < geometry_.capacity_records)) {
      const BlockRecord record = RandomRecord(random_, geometry_);
      if (table != nullptr) indices_[record.key] = CommitNew(*table, record);
      records_.emplace(record.key, record);
      return;
    }
    const auto chosen = std::next(records_.begin(), random_.Below(records_.size()));
    const KeyHash key = chosen->first;
    BlockRecord& record = chosen->second;
    const uint32_t index = table != nullptr ? indices_.at(key) : 0;
    if (choice < 7) {
      if (table != nullptr) table->Free(index);
      records_.erase(key);
    } else if (choice == 7) {
      record.sequence = random_.Below(kGuardedValueMax);
      if (table != nullptr) table->SetSequence(index, record.sequence);
    } else if (choice == 8) {
      record.expiry_unix_ms = static_cast<int64_t>(random_.Below(kGuardedValueMax));
      if (table != nullptr) table->SetExpiry(index, record.expiry_unix_ms);
    } else {
      record.flags = static_cast<uint32_t>(random_.Next());
      if (table != nullptr) table->SetFlags(index, record.flags);
    }
  }

  const RecordsByKey& records() const { return records_; }
  // After a restart the indices come from the table.
  void Recover(BlockTable& table) {
    table.Recover([&](uint32_t index, const BlockRecord& record) {
      indices_[record.key] = index;
      return true;
    });
  }

 private:
  SeededRandom random_;
  const BlockTableGeometry geometry_;
  RecordsByKey records_;
  std::map<KeyHash, uint32_t> indices_;
};

// Opens a copy of the table's bytes as a restarted daemon would.
RecordsByKey RecoverCopy(std::span<const uint8_t> bytes, const BlockTableGeometry& geometry) {
  std::vector<uint64_t> copy(bytes.size() / 8);
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  absl::StatusOr<BlockTable> table =
      BlockTable::Open({reinterpret_cast<uint8_t*>(copy.data()), bytes.size()}, geometry);
  EXPECT_TRUE(table.ok()) << table.status();
  if (!table.ok()) return {};
  return RecoverAll(*table);
}

// A child runs the script one machine instruction at a time; after each one that changed the table
// the parent looks at what a kill at this very moment would have left.
TEST(BlockTableCrashTest, EveryInstructionLeavesTheStateBeforeOrAfter) {
  constexpr int kOperations = 30;
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  const BlockTableGeometry geometry = Geometry(6);
  const size_t table_bytes = BlockTable::MemoryBytes(geometry.capacity_records);
  SharedMemory memory(table_bytes);
  SharedMemory progress_memory(4096);
  ASSERT_TRUE(memory.ok() && progress_memory.ok());
  // Operations begun; the script is alone in its child, so every instruction is the table's.
  std::atomic_ref<uint64_t> begun(*reinterpret_cast<uint64_t*>(progress_memory.bytes().data()));
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, geometry);

  std::vector<RecordsByKey> states = {{}};
  Script model(kSeed, geometry);
  for (int i = 0; i < kOperations; ++i) {
    model.Step(nullptr);
    states.push_back(model.records());
  }

  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(2);
    raise(SIGSTOP);
    Script script(kSeed, geometry);
    for (int i = 0; i < kOperations; ++i) {
      begun.store(i + 1);
      script.Step(&table);
    }
    _exit(0);
  }
  int wait_status = 0;
  ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 2) {
    GTEST_SKIP() << "this system does not let a process trace its child";
  }
  std::vector<uint8_t> last(memory.bytes().begin(), memory.bytes().end());
  uint64_t instructions = 0, snapshots = 0;
  while (WIFSTOPPED(wait_status)) {
    const uint64_t operation = begun.load();
    if (std::memcmp(last.data(), memory.bytes().data(), table_bytes) != 0) {
      last.assign(memory.bytes().begin(), memory.bytes().end());
      ++snapshots;
      const RecordsByKey found = RecoverCopy(last, geometry);
      EXPECT_TRUE(found == states[operation] || found == states[operation - 1])
          << "operation " << operation << ", instruction " << instructions;
      if (HasFailure()) kill(child, SIGKILL);
    }
    ++instructions;
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0 && errno != ESRCH) break;
    ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  }
  ASSERT_TRUE(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) << wait_status;
  EXPECT_GT(snapshots, uint64_t{kOperations});
  EXPECT_EQ(RecoverCopy(memory.bytes(), geometry), states.back());
}

// Rounds of a child that works on the table at full speed until it is killed with SIGKILL, and
// says through a pipe which operations it has finished. The next child carries on with what is
// left.
TEST(BlockTableCrashTest, KilledAtRandomMomentsNothingAcknowledgedIsLost) {
  constexpr int kRounds = 30;
  const BlockTableGeometry geometry = Geometry(500);
  SharedMemory memory(BlockTable::MemoryBytes(geometry.capacity_records));
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(BlockTable::Create(memory.bytes(), kUuid, geometry).ok());
  constexpr uint64_t kSeed = 12;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  Script script(kSeed, geometry);  // where the table is after the last round
  uint64_t total = 0;
  for (int round = 0; round < kRounds; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    FileDescriptor reader(ends[0]), writer(ends[1]);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      absl::StatusOr<BlockTable> table = BlockTable::Open(memory.bytes(), geometry);
      if (!table.ok()) _exit(1);
      script.Recover(*table);
      const char acknowledgement = 'a';
      for (;;) {
        script.Step(&*table);
        if (write(writer.get(), &acknowledgement, 1) != 1) _exit(1);
      }
    }
    writer.Reset();
    // The parent must not let the pipe fill up before the kill, or the child would wait in it.
    const absl::Time end = absl::Now() + absl::Microseconds(200 + random.Below(20000));
    uint64_t acknowledged = 0;
    char buffer[4096];
    while (absl::Now() < end) {
      const ssize_t size = read(reader.get(), buffer, sizeof buffer);
      ASSERT_GT(size, 0) << "the child died by itself";
      acknowledged += size;
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    for (ssize_t size; (size = read(reader.get(), buffer, sizeof buffer)) > 0;)
      acknowledged += size;
    int wait_status = 0;
    ASSERT_EQ(waitpid(child, &wait_status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(wait_status));

    for (uint64_t i = 0; i < acknowledged; ++i) script.Step(nullptr);
    total += acknowledged;
    const RecordsByKey found = RecoverCopy(memory.bytes(), geometry);
    if (found != script.records()) {
      script.Step(nullptr);  // then the one that was under way, or finished but not acknowledged
      ++total;
      ASSERT_EQ(found, script.records()) << "round " << round;
    }
    // Where the operation under way changed nothing visible, the script and the table agree too.
  }
  EXPECT_GT(total, uint64_t{kRounds});
}

}  // namespace
}  // namespace larder

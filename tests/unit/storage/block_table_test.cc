#include "storage/arena/block_table.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/block_table_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

constexpr ArenaUuid kUuid{0x0123456789abcdef, 0xfedcba9876543210};

BlockTableGeometry SmallGeometry(uint64_t capacity_records = 16) {
  return {.capacity_records = capacity_records, .data_bytes = 1 << 30, .granule_bytes = 4096};
}

// Zeroed and aligned memory for a table.
class TableMemory {
 public:
  explicit TableMemory(uint64_t capacity_records)
      : words_(BlockTable::MemoryBytes(capacity_records) / 8, 0) {}
  std::span<uint8_t> bytes() {
    return {reinterpret_cast<uint8_t*>(words_.data()), words_.size() * 8};
  }

 private:
  std::vector<uint64_t> words_;
};

TEST(BlockTableTest, CommittedRecordsComeBackAndOthersDoNot) {
  TableMemory memory(16);
  SeededRandom random(1);
  const BlockRecord kept = RandomRecord(random, SmallGeometry());
  {
    absl::StatusOr<BlockTable> table = BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
    ASSERT_TRUE(table.ok()) << table.status();
    const uint32_t committed = *table->AllocateRecord();
    const uint32_t written = *table->AllocateRecord();
    const uint32_t freed = *table->AllocateRecord();
    ASSERT_TRUE(table->AllocateRecord().has_value());  // never written
    for (uint32_t index : {committed, written, freed}) table->WriteReserved(index, kept);
    table->Commit(committed, kept.sequence);
    table->Commit(freed, 7);
    table->Free(freed);
    EXPECT_EQ(table->state(committed), BlockState::kCommitted);
    EXPECT_EQ(table->state(written), BlockState::kReserved);
    EXPECT_EQ(table->state(freed), BlockState::kFree);
    EXPECT_EQ(table->Read(committed), kept);
    EXPECT_EQ(table->used_records(), 3u);
  }
  absl::StatusOr<BlockTable> table = BlockTable::Open(memory.bytes(), SmallGeometry());
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->uuid(), kUuid);
  std::vector<BlockRecord> found;
  const BlockRecovery recovery = table->Recover([&](uint32_t, const BlockRecord& record) {
    found.push_back(record);
    return true;
  });
  EXPECT_THAT(found, testing::ElementsAre(kept));
  EXPECT_EQ(recovery.committed, 1u);
  EXPECT_EQ(recovery.uncommitted, 2u);
  EXPECT_EQ(recovery.damaged, 0u);
  EXPECT_EQ(recovery.refused, 0u);
  EXPECT_EQ(table->used_records(), 1u);
  EXPECT_EQ(table->high_water(), 1u);
}

TEST(BlockTableTest, FullTableSaysSoAndFreedRecordsAreUsedAgain) {
  TableMemory memory(3);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry(3));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(table.AllocateRecord().has_value());
  EXPECT_EQ(table.AllocateRecord(), std::nullopt);
  table.Free(1);
  EXPECT_EQ(table.AllocateRecord(), 1u);
  EXPECT_EQ(table.AllocateRecord(), std::nullopt);
}

TEST(BlockTableTest, RefusedRecordsAreFreed) {
  TableMemory memory(16);
  SeededRandom random(2);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  for (int i = 0; i < 4; ++i) CommitNew(table, RandomRecord(random, SmallGeometry()));
  BlockTable reopened = *BlockTable::Open(memory.bytes(), SmallGeometry());
  const BlockRecovery recovery =
      reopened.Recover([](uint32_t index, const BlockRecord&) { return index % 2 == 1; });
  EXPECT_EQ(recovery.committed, 2u);
  EXPECT_EQ(recovery.refused, 2u);
  EXPECT_EQ(reopened.AllocateRecord(), 0u);
  EXPECT_EQ(reopened.AllocateRecord(), 2u);
  EXPECT_EQ(reopened.AllocateRecord(), 4u);
}

TEST(BlockTableTest, MutableFieldsSurviveAndAreBounded) {
  TableMemory memory(16);
  SeededRandom random(3);
  BlockRecord record = RandomRecord(random, SmallGeometry());
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  const uint32_t index = CommitNew(table, record);
  record.sequence = kGuardedValueMax;
  record.expiry_unix_ms = 1;
  record.flags = kBlockFlagPinned;
  table.SetSequence(index, record.sequence);
  table.SetExpiry(index, -5);  // long ago, not "never"
  table.SetFlags(index, record.flags);
  BlockTable reopened = *BlockTable::Open(memory.bytes(), SmallGeometry());
  EXPECT_EQ(RecoverAll(reopened), (RecordsByKey{{record.key, record}}));
  reopened.SetExpiry(index, INT64_MAX);
  EXPECT_EQ(reopened.Read(index).expiry_unix_ms, static_cast<int64_t>(kGuardedValueMax));
  reopened.SetExpiry(index, 0);
  EXPECT_EQ(reopened.Read(index).expiry_unix_ms, 0);
}

TEST(BlockTableTest, AnExpirySetBeforeTheCommitIsTheChunks) {
  TableMemory memory(16);
  SeededRandom random(4);
  BlockRecord record = RandomRecord(random, SmallGeometry());
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  const uint32_t index = table.AllocateRecord().value();
  table.WriteReserved(index, record);
  table.SetExpiry(index, record.expiry_unix_ms = 77);
  table.Commit(index, record.sequence);
  BlockTable reopened = *BlockTable::Open(memory.bytes(), SmallGeometry());
  EXPECT_EQ(RecoverAll(reopened), (RecordsByKey{{record.key, record}}));
}

TEST(BlockTableTest, BackedBytesSurvive) {
  TableMemory memory(16);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  EXPECT_EQ(table.backed_bytes(), 0u);
  table.SetBackedBytes(3 * 4096 + 5);
  BlockTable reopened = *BlockTable::Open(memory.bytes(), SmallGeometry());
  EXPECT_EQ(reopened.backed_bytes(), 3u * 4096);
  memory.bytes()[offsetof(BlockTableHeaderV1, backed_bytes)] ^= 1;
  EXPECT_EQ(reopened.backed_bytes(), 0u);
}

TEST(BlockTableTest, MemoryIsBackedBeforeItIsUsedAndAFailureMeansFull) {
  constexpr uint64_t kCapacity = 5000;
  TableMemory memory(kCapacity);
  uint64_t backed_bytes = 0;
  uint64_t room_bytes = 300 * 1024;
  const auto back = [&](uint64_t bytes) {
    if (bytes > room_bytes) return absl::ResourceExhaustedError("full");
    backed_bytes = bytes;
    return absl::OkStatus();
  };
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry(kCapacity), back);
  EXPECT_EQ(backed_bytes, kBlockTableHeaderBytes);
  uint32_t count = 0;
  while (table.AllocateRecord()) {
    ++count;
    ASSERT_LE(BlockTable::MemoryBytes(count), backed_bytes);
  }
  EXPECT_GT(count, 1000u);
  EXPECT_LT(count, 3000u);
  room_bytes = 1 << 30;
  while (table.AllocateRecord()) ++count;
  EXPECT_EQ(count, kCapacity);
  EXPECT_EQ(backed_bytes, BlockTable::MemoryBytes(kCapacity));
}

TEST(BlockTableTest, ImpossibleGeometriesAreRefused) {
  TableMemory memory(16);
  const auto code = [&](BlockTableGeometry geometry) {
    return BlockTable::Create(memory.bytes(), kUuid, geometry).status().code();
  };
  BlockTableGeometry geometry = SmallGeometry();
  EXPECT_EQ(code(geometry), absl::StatusCode::kOk);
  for (uint64_t records : {uint64_t{0}, kBlockRecordsMax + 1, UINT64_MAX, uint64_t{17}}) {
    geometry = SmallGeometry(records);
    EXPECT_EQ(code(geometry), absl::StatusCode::kInvalidArgument) << records;
  }
  for (uint64_t granule : {0, 1, 2048, 6000}) {
    geometry = SmallGeometry();
    geometry.granule_bytes = granule;
    EXPECT_EQ(code(geometry), absl::StatusCode::kInvalidArgument) << granule;
  }
  for (uint64_t data : {uint64_t{0}, uint64_t{4097}, uint64_t{1} << 61}) {
    geometry = SmallGeometry();
    geometry.data_bytes = data;
    EXPECT_EQ(code(geometry), absl::StatusCode::kInvalidArgument) << data;
  }
}

TEST(BlockTableTest, AnotherGeometryVersionOrMagicIsRefusedNamingBothValues) {
  TableMemory memory(16);
  ASSERT_TRUE(BlockTable::Create(memory.bytes(), kUuid, SmallGeometry()).ok());
  const auto open = [&](const BlockTableGeometry& geometry) {
    return BlockTable::Open(memory.bytes(), geometry).status();
  };
  BlockTableGeometry other = SmallGeometry();
  other.data_bytes = 1 << 20;
  EXPECT_EQ(open(other).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(open(other).message(), HasSubstr("data bytes 1073741824, expected 1048576"));
  other = SmallGeometry();
  other.granule_bytes = 8192;
  EXPECT_THAT(open(other).message(), HasSubstr("granule bytes 4096, expected 8192"));
  other = SmallGeometry(8);
  EXPECT_THAT(open(other).message(), HasSubstr("capacity in records 16, expected 8"));

  memory.bytes()[offsetof(BlockTableHeaderV1, version)] = 2;
  EXPECT_EQ(open(SmallGeometry()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(open(SmallGeometry()).message(), HasSubstr("version 2, expected 1"));
  memory.bytes()[0] = 'X';
  EXPECT_EQ(open(SmallGeometry()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(open(SmallGeometry()).message(),
              HasSubstr("magic \"XARDERBT\", expected \"LARDERBT\""));
  TableMemory zeroes(16);
  EXPECT_EQ(BlockTable::Open(zeroes.bytes(), SmallGeometry()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(BlockTableTest, EveryFlippedBitOfTheHeaderIsNoticed) {
  TableMemory memory(16);
  SeededRandom random(4);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  CommitNew(table, RandomRecord(random, SmallGeometry()));
  constexpr size_t kHighWaterBit = offsetof(BlockTableHeaderV1, high_water) * 8;
  std::vector<size_t> bits;
  for (size_t bit = 0; bit < (offsetof(BlockTableHeaderV1, crc) + 4) * 8; ++bit)
    bits.push_back(bit);
  for (size_t bit = kHighWaterBit; bit < kHighWaterBit + 64; ++bit) bits.push_back(bit);
  for (size_t bit : bits) {
    memory.bytes()[bit / 8] ^= 1 << bit % 8;
    EXPECT_FALSE(BlockTable::Open(memory.bytes(), SmallGeometry()).ok()) << "bit " << bit;
    memory.bytes()[bit / 8] ^= 1 << bit % 8;
  }
  EXPECT_TRUE(BlockTable::Open(memory.bytes(), SmallGeometry()).ok());
}

TEST(BlockTableTest, EveryFlippedBitOfARecordMakesItNoRecord) {
  TableMemory memory(16);
  SeededRandom random(5);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  const BlockRecord neighbour = RandomRecord(random, SmallGeometry());
  CommitNew(table, RandomRecord(random, SmallGeometry()));
  CommitNew(table, neighbour);
  const std::vector<uint8_t> pristine(memory.bytes().begin(), memory.bytes().end());
  for (size_t bit = 0; bit < kBlockRecordBytes * 8; ++bit) {
    std::memcpy(memory.bytes().data(), pristine.data(), pristine.size());
    memory.bytes()[kBlockTableHeaderBytes + bit / 8] ^= 1 << bit % 8;
    BlockTable damaged = *BlockTable::Open(memory.bytes(), SmallGeometry());
    BlockRecovery recovery;
    ASSERT_EQ(RecoverAll(damaged, &recovery), (RecordsByKey{{neighbour.key, neighbour}}))
        << "bit " << bit;
    ASSERT_EQ(recovery.damaged, 1u) << "bit " << bit;
  }
}

TEST(BlockTableTest, ARecordCopiedToAnotherPlaceIsNoRecord) {
  TableMemory memory(16);
  SeededRandom random(6);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  CommitNew(table, RandomRecord(random, SmallGeometry()));
  CommitNew(table, RandomRecord(random, SmallGeometry()));
  uint8_t* first = memory.bytes().data() + kBlockTableHeaderBytes;
  std::memcpy(first, first + kBlockRecordBytes, kBlockRecordBytes);
  BlockTable damaged = *BlockTable::Open(memory.bytes(), SmallGeometry());
  BlockRecovery recovery;
  EXPECT_EQ(RecoverAll(damaged, &recovery).size(), 1u);
  EXPECT_EQ(recovery.damaged, 1u);
}

TEST(BlockTableTest, RandomDamageNeverBringsBackAWrongRecord) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    TableMemory memory(16);
    BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
    RecordsByKey committed;
    for (int i = 0; i < 12; ++i) {
      const BlockRecord record = RandomRecord(random, SmallGeometry());
      CommitNew(table, record);
      committed.emplace(record.key, record);
    }
    const uint64_t count = 1 + random.Below(40);
    const size_t records_bytes = memory.bytes().size() - kBlockTableHeaderBytes;
    for (uint64_t i = 0; i < count; ++i) {
      memory.bytes()[kBlockTableHeaderBytes + random.Below(records_bytes)] =
          static_cast<uint8_t>(random.Next());
    }
    BlockTable damaged = *BlockTable::Open(memory.bytes(), SmallGeometry());
    // The guards of the three changeable words have 16 bits, so those alone may rarely be fooled.
    for (const auto& [key, record] : RecoverAll(damaged)) {
      ASSERT_TRUE(committed.contains(key));
      BlockRecord expected = committed.at(key);
      expected.sequence = record.sequence;
      expected.expiry_unix_ms = record.expiry_unix_ms;
      expected.flags = record.flags;
      ASSERT_EQ(record, expected);
    }
  }
}

// The worked example of docs/formats/arena.md: these bytes must never change within version 1.
TEST(BlockTableFormatTest, WorkedExample) {
  const BlockTableGeometry geometry = {
      .capacity_records = 1024, .data_bytes = 4 << 20, .granule_bytes = 4096};
  TableMemory memory(geometry.capacity_records);
  BlockTable table =
      *BlockTable::Create(memory.bytes(), {0x8899aabbccddeeff, 0x0011223344556677}, geometry);
  table.SetBackedBytes(4 << 20);
  BlockRecord record;
  record.space = {0x1111111111111111, 0x1212121212121212};
  record.key = {0x2121212121212121, 0x2222222222222222};
  record.parent = {0x3131313131313131, 0x3232323232323232};
  record.offset = 0x10000;
  record.bytes = 0x5000;
  record.depth = 3;
  record.token_count = 256;
  record.layer_end = 32;
  record.head_end = 8;
  record.sequence = 42;
  record.expiry_unix_ms = 1'700'000'000'000;
  record.flags = kBlockFlagPinned;
  CommitNew(table, record);
  const auto hex = [&](size_t offset, size_t size) {
    return absl::BytesToHexString(
        absl::string_view(reinterpret_cast<const char*>(memory.bytes().data()) + offset, size));
  };
  EXPECT_EQ(hex(0, 80),
            "4c4152444552425401000000800000000010000000000000ffeeddccbbaa9988"
            "7766554433221100000400000000000000004000000000000010000000000000"
            "9e9a0151000000000000000000000000");
  EXPECT_EQ(hex(128, 8), "0100000000009317");
  EXPECT_EQ(hex(192, 8), "0004000000003ac2");
  EXPECT_EQ(hex(4096, 128),
            "15f587f8434f4d542a0000000000dbd20068e5cf8b01170e0100000000009317"
            "1111111111111111121212121212121221212121212121212222222222222222"
            "3131313131313131323232323232323200000100000000000050000000000000"
            "0300000000010000000020000000080000000000000000000000000000000000");
}

TEST(BlockTableDeathTest, MisuseAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TableMemory memory(16);
  SeededRandom random(7);
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, SmallGeometry());
  EXPECT_DEATH(table.Free(0), "check failed");  // beyond the high-water mark
  const BlockRecord record = RandomRecord(random, SmallGeometry());
  const uint32_t index = CommitNew(table, record);
  EXPECT_DEATH(table.WriteReserved(index, record), "check failed");
  EXPECT_DEATH(table.Commit(index, 1), "check failed");
  EXPECT_DEATH(table.SetSequence(index, kGuardedValueMax + 1), "check failed");
  table.Free(index);
  EXPECT_DEATH(table.Free(index), "check failed");
  EXPECT_DEATH(table.Read(index), "check failed");
  EXPECT_DEATH(table.SetFlags(index, 1), "check failed");
}

// Every record is in the model exactly as long as the table holds it; now and then the table is
// dropped and opened again over the same bytes.
TEST(BlockTableTest, RandomOperationsAgreeWithAMap) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    const BlockTableGeometry geometry = SmallGeometry(1 + random.Below(60));
    TableMemory memory(geometry.capacity_records);
    std::optional<BlockTable> table = *BlockTable::Create(memory.bytes(), kUuid, geometry);
    std::map<uint32_t, BlockRecord> committed;
    std::map<uint32_t, BlockRecord> reserved;
    for (int step = 0; step < 2000; ++step) {
      const uint64_t choice = random.Below(100);
      const auto pick = [&](const std::map<uint32_t, BlockRecord>& from) {
        return std::next(from.begin(), random.Below(from.size()))->first;
      };
      if (choice < 35) {
        const std::optional<uint32_t> index = table->AllocateRecord();
        const size_t used = committed.size() + reserved.size();
        ASSERT_EQ(index.has_value(), used < geometry.capacity_records);
        if (!index) continue;
        ASSERT_FALSE(committed.contains(*index) || reserved.contains(*index));
        reserved[*index] = RandomRecord(random, geometry);
        table->WriteReserved(*index, reserved[*index]);
      } else if (choice < 65 && !reserved.empty()) {
        const uint32_t index = pick(reserved);
        table->Commit(index, reserved[index].sequence);
        committed.insert(reserved.extract(index));
      } else if (choice < 70 && !reserved.empty()) {
        const uint32_t index = pick(reserved);
        table->Free(index);
        reserved.erase(index);
      } else if (choice < 85 && !committed.empty()) {
        const uint32_t index = pick(committed);
        table->Free(index);
        committed.erase(index);
      } else if (choice < 99 && !committed.empty()) {
        const uint32_t index = pick(committed);
        BlockRecord& record = committed[index];
        table->SetSequence(index, record.sequence = random.Next() & kGuardedValueMax);
        table->SetFlags(index, record.flags = static_cast<uint32_t>(random.Next()));
        table->SetExpiry(index,
                         record.expiry_unix_ms = 1 + static_cast<int64_t>(random.Below(1000)));
      } else {
        table = *BlockTable::Open(memory.bytes(), geometry);
        std::map<uint32_t, BlockRecord> found;
        const BlockRecovery recovery =
            table->Recover([&](uint32_t index, const BlockRecord& record) {
              found[index] = record;
              return true;
            });
        ASSERT_EQ(found, committed);
        ASSERT_EQ(recovery.uncommitted, reserved.size());
        ASSERT_EQ(recovery.damaged, 0u);
        reserved.clear();
      }
      ASSERT_EQ(table->used_records(), committed.size() + reserved.size());
    }
  }
}

TEST(BlockTableTest, AMillionRecordsAreScannedQuickly) {
  constexpr uint64_t kRecords = 1'000'000;
  const BlockTableGeometry geometry = {
      .capacity_records = kBlockRecordsMax, .data_bytes = 1ull << 40, .granule_bytes = 4096};
  MemoryMapping memory =
      *MemoryMapping::MapAnonymous(BlockTable::MemoryBytes(geometry.capacity_records));
  BlockTable table = *BlockTable::Create(memory.bytes(), kUuid, geometry);
  SeededRandom random(8);
  BlockRecord record = RandomRecord(random, geometry);
  for (uint64_t i = 0; i < kRecords; ++i) {
    record.key.low = i;
    CommitNew(table, record);
  }
  BlockTable reopened = *BlockTable::Open(memory.bytes(), geometry);
  const absl::Time start = absl::Now();
  const BlockRecovery recovery =
      reopened.Recover([](uint32_t, const BlockRecord&) { return true; });
  const absl::Duration took = absl::Now() - start;
  EXPECT_EQ(recovery.committed, kRecords);
  std::printf("recovery of %lu records took %s\n", static_cast<unsigned long>(kRecords),
              absl::FormatDuration(took).c_str());
  EXPECT_LT(took, absl::Seconds(5));  // usually below 0.1 s; sanitizers are slower
}

}  // namespace
}  // namespace larder

#include "storage/arena/block_table.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/check.h"
#include "common/crc32c.h"

namespace larder {
namespace {

// Memory for records is backed in steps of this size: 2,048 records.
constexpr uint64_t kBackStepBytes = 256 * 1024;

constexpr int kGuardShift = 48;

uint64_t LoadWord(const uint64_t& word) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_relaxed);
}

// Stores that a recovery must see in this order: each is one instruction, and no earlier store may
// move behind it.
void StoreWord(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t>(word).store(value, std::memory_order_release);
}

uint64_t CommitWord(BlockState state, uint32_t crc) {
  return static_cast<uint64_t>(state) << 32 | crc;
}

uint32_t HeaderCrc(const BlockTableHeaderV1& header) {
  return Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(BlockTableHeaderV1, crc)});
}

absl::Status CheckMemory(std::span<uint8_t> memory, const BlockTableGeometry& geometry) {
  RETURN_IF_ERROR(BlockTable::CheckGeometry(geometry));
  const uint64_t needed_bytes = BlockTable::MemoryBytes(geometry.capacity_records);
  if (memory.size() >= needed_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("block table of ", geometry.capacity_records,
                                                 " records needs ", needed_bytes,
                                                 " bytes, there are ", memory.size()));
}

// Not before 1 (0 would mean "never"), not after the year 10000.
uint64_t EncodeExpiry(int64_t expiry_unix_ms) {
  if (expiry_unix_ms == 0) return EncodeGuarded(0);
  return EncodeGuarded(static_cast<uint64_t>(
      std::clamp<int64_t>(expiry_unix_ms, 1, static_cast<int64_t>(kGuardedValueMax))));
}

absl::Status Differs(absl::string_view what, uint64_t found, uint64_t expected) {
  return absl::FailedPreconditionError(
      absl::StrCat("block table has ", what, " ", found, ", expected ", expected));
}

}  // namespace

uint64_t EncodeGuarded(uint64_t value) {
  LARDER_CHECK(value <= kGuardedValueMax);
  uint8_t bytes[8];
  StoreLittleEndian(bytes, value);
  const uint64_t guard = Crc32c({bytes, 6}) & 0xffff;
  return value | guard << kGuardShift;
}

std::optional<uint64_t> DecodeGuarded(uint64_t word) {
  const uint64_t value = word & kGuardedValueMax;
  if (EncodeGuarded(value) != word) return std::nullopt;
  return value;
}

BlockTable::BlockTable(std::span<uint8_t> memory, const BlockTableGeometry& geometry,
                       BackMemory back_memory)
    : memory_(memory), geometry_(geometry), back_memory_(std::move(back_memory)) {
  LARDER_CHECK(reinterpret_cast<uintptr_t>(memory.data()) % alignof(uint64_t) == 0);
}

absl::Status BlockTable::CheckGeometry(const BlockTableGeometry& geometry) {
  if (geometry.capacity_records == 0 || geometry.capacity_records > kBlockRecordsMax) {
    return absl::InvalidArgumentError(absl::StrCat("block table of ", geometry.capacity_records,
                                                   " records: must be 1 to ", kBlockRecordsMax));
  }
  if (!std::has_single_bit(geometry.granule_bytes) || geometry.granule_bytes < kBackedUnitBytes) {
    return absl::InvalidArgumentError(absl::StrCat("granule of ", geometry.granule_bytes,
                                                   " bytes: must be a power of two, at least ",
                                                   kBackedUnitBytes));
  }
  if (geometry.data_bytes == 0 || geometry.data_bytes % geometry.granule_bytes != 0 ||
      geometry.data_bytes / kBackedUnitBytes > kGuardedValueMax) {
    return absl::InvalidArgumentError(absl::StrCat("data of ", geometry.data_bytes,
                                                   " bytes: must be a positive multiple of the ",
                                                   geometry.granule_bytes, " byte granule"));
  }
  return absl::OkStatus();
}

uint64_t BlockTable::MemoryBytes(uint64_t capacity_records) {
  LARDER_CHECK(capacity_records <= kBlockRecordsMax);
  return kBlockTableHeaderBytes + capacity_records * kBlockRecordBytes;
}

BlockTableHeaderV1& BlockTable::header() const {
  return *reinterpret_cast<BlockTableHeaderV1*>(memory_.data());
}

BlockRecordV1& BlockTable::record(uint32_t index) const {
  LARDER_CHECK(index < high_water_);
  return *reinterpret_cast<BlockRecordV1*>(memory_.data() + kBlockTableHeaderBytes +
                                           uint64_t{index} * kBlockRecordBytes);
}

absl::StatusOr<BlockTable> BlockTable::Create(std::span<uint8_t> memory, ArenaUuid uuid,
                                              const BlockTableGeometry& geometry,
                                              BackMemory back_memory) {
  RETURN_IF_ERROR(CheckMemory(memory, geometry));
  BlockTable table(memory, geometry, std::move(back_memory));
  table.uuid_ = uuid;
  if (table.back_memory_) {
    RETURN_IF_ERROR(table.back_memory_(kBlockTableHeaderBytes));
  }
  table.memory_backed_bytes_ = kBlockTableHeaderBytes;
  BlockTableHeaderV1& header = table.header();
  header = {};
  std::memcpy(header.magic, kBlockTableMagic, sizeof header.magic);
  header.version = kBlockTableVersion;
  header.record_bytes = kBlockRecordBytes;
  header.header_bytes = kBlockTableHeaderBytes;
  header.uuid_low = uuid.low;
  header.uuid_high = uuid.high;
  header.capacity_records = geometry.capacity_records;
  header.data_bytes = geometry.data_bytes;
  header.granule_bytes = geometry.granule_bytes;
  header.crc = HeaderCrc(header);
  header.high_water = EncodeGuarded(0);
  header.backed_bytes = EncodeGuarded(0);
  return table;
}

absl::Status BlockTable::CheckHeader(std::span<const uint8_t> header_bytes,
                                     const BlockTableGeometry& geometry) {
  BlockTableHeaderV1 header;
  if (header_bytes.size() < sizeof header)
    return Differs("bytes", header_bytes.size(), sizeof header);
  std::memcpy(&header, header_bytes.data(), sizeof header);
  // Magic and version come first: only they may be trusted to mean the same in every version.
  if (std::memcmp(header.magic, kBlockTableMagic, sizeof header.magic) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "block table has magic \"",
        absl::CHexEscape(absl::string_view(header.magic, sizeof header.magic)), "\", expected \"",
        absl::string_view(kBlockTableMagic, sizeof kBlockTableMagic), "\""));
  }
  if (header.version != kBlockTableVersion) {
    return Differs("version", header.version, kBlockTableVersion);
  }
  if (const uint32_t crc = HeaderCrc(header); header.crc != crc) {
    return absl::DataLossError(absl::StrCat("block table header is damaged: checksum is ",
                                            absl::Hex(header.crc, absl::kZeroPad8),
                                            ", its bytes give ", absl::Hex(crc, absl::kZeroPad8)));
  }
  if (header.record_bytes != kBlockRecordBytes) {
    return Differs("record bytes", header.record_bytes, kBlockRecordBytes);
  }
  if (header.header_bytes != kBlockTableHeaderBytes) {
    return Differs("header bytes", header.header_bytes, kBlockTableHeaderBytes);
  }
  if (header.data_bytes != geometry.data_bytes) {
    return Differs("data bytes", header.data_bytes, geometry.data_bytes);
  }
  if (header.granule_bytes != geometry.granule_bytes) {
    return Differs("granule bytes", header.granule_bytes, geometry.granule_bytes);
  }
  if (header.capacity_records != geometry.capacity_records) {
    return Differs("capacity in records", header.capacity_records, geometry.capacity_records);
  }
  const std::optional<uint64_t> high_water = DecodeGuarded(header.high_water);
  if (!high_water || *high_water > geometry.capacity_records) {
    return absl::DataLossError("block table header is damaged: the high-water mark is impossible");
  }
  return absl::OkStatus();
}

absl::StatusOr<BlockTable> BlockTable::Open(std::span<uint8_t> memory,
                                            const BlockTableGeometry& geometry,
                                            BackMemory back_memory) {
  RETURN_IF_ERROR(CheckMemory(memory, geometry));
  RETURN_IF_ERROR(CheckHeader(memory, geometry));
  BlockTable table(memory, geometry, std::move(back_memory));
  const BlockTableHeaderV1& header = table.header();
  table.uuid_ = {header.uuid_low, header.uuid_high};
  table.high_water_ = static_cast<uint32_t>(*DecodeGuarded(LoadWord(header.high_water)));
  table.used_records_ = table.high_water_;  // until Recover has looked at each
  table.memory_backed_bytes_ = MemoryBytes(table.high_water_);
  return table;
}

uint32_t BlockTable::FieldsCrc(uint32_t index) const {
  // The index is part of the checksum: a record copied to another place is no record.
  uint8_t index_bytes[4];
  StoreLittleEndian(index_bytes, index);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(&record(index));
  constexpr size_t kBegin = offsetof(BlockRecordV1, space_low);
  return Crc32c({bytes + kBegin, kBlockRecordBytes - kBegin}, Crc32c(index_bytes));
}

std::optional<BlockRecord> BlockTable::ReadVerified(uint32_t index) const {
  const BlockRecordV1& stored = record(index);
  if (LoadWord(stored.commit_word) != CommitWord(BlockState::kCommitted, FieldsCrc(index))) {
    return std::nullopt;
  }
  const std::optional<uint64_t> expiry = DecodeGuarded(LoadWord(stored.expiry));
  const std::optional<uint64_t> flags = DecodeGuarded(LoadWord(stored.flags));
  if (!DecodeGuarded(LoadWord(stored.sequence)) || !expiry || !flags ||
      *flags > std::numeric_limits<uint32_t>::max()) {
    return std::nullopt;
  }
  if (stored.bytes == 0 || stored.bytes > geometry_.data_bytes ||
      stored.offset > geometry_.data_bytes - stored.bytes ||
      stored.offset % geometry_.granule_bytes != 0) {
    return std::nullopt;
  }
  return Read(index);
}

BlockRecovery BlockTable::Recover(
    absl::FunctionRef<bool(uint32_t index, const BlockRecord& record)> keep) {
  BlockRecovery recovery;
  const uint32_t scanned_records = high_water_;
  uint32_t kept_end = 0;  // one past the highest record that is kept
  free_head_ = 0;
  // Downwards, so that the free list ends up handing out low records first.
  for (uint32_t index = scanned_records; index-- > 0;) {
    BlockRecordV1& stored = record(index);
    const uint64_t commit_word = LoadWord(stored.commit_word);
    if (commit_word != 0) {
      const std::optional<BlockRecord> found = ReadVerified(index);
      const bool kept = found && keep(index, *found);
      if (kept) {
        ++recovery.committed;
        kept_end = std::max(kept_end, index + 1);
        continue;
      }
      if (found) {
        ++recovery.refused;
      } else if (commit_word == CommitWord(BlockState::kReserved, 0)) {
        ++recovery.uncommitted;
        const BlockRecord unverified = Read(index);
        if (unverified.bytes != 0 && unverified.bytes <= geometry_.data_bytes &&
            unverified.offset <= geometry_.data_bytes - unverified.bytes) {
          recovery.uncommitted_extents.push_back({unverified.offset, unverified.bytes});
        }
      } else {
        ++recovery.damaged;
      }
      StoreWord(stored.commit_word, 0);
    }
    if (kept_end != 0) PushFree(index);
  }
  used_records_ = recovery.committed;
  StoreHighWater(kept_end);
  return recovery;
}

void BlockTable::PushFree(uint32_t index) {
  StoreWord(record(index).sequence, EncodeGuarded(free_head_));
  free_head_ = index + 1;
}

void BlockTable::StoreHighWater(uint32_t records) {
  high_water_ = records;
  StoreWord(header().high_water, EncodeGuarded(records));
}

bool BlockTable::ExtendHighWater() {
  if (high_water_ == geometry_.capacity_records) return false;
  const uint64_t needed_bytes = MemoryBytes(high_water_ + 1);
  if (back_memory_ && needed_bytes > memory_backed_bytes_) {
    const uint64_t next_bytes =
        std::min(MemoryBytes(geometry_.capacity_records), memory_backed_bytes_ + kBackStepBytes);
    if (!back_memory_(next_bytes).ok()) return false;
    memory_backed_bytes_ = next_bytes;
  }
  // The mark rises before the record is used, so that no scan can stop short of a record in use.
  StoreHighWater(high_water_ + 1);
  return true;
}

std::optional<uint32_t> BlockTable::AllocateRecord() {
  uint32_t index;
  if (free_head_ != 0) {
    index = free_head_ - 1;
    const std::optional<uint64_t> next = DecodeGuarded(LoadWord(record(index).sequence));
    LARDER_CHECK(next && *next <= high_water_);
    free_head_ = static_cast<uint32_t>(*next);
  } else {
    if (!ExtendHighWater()) return std::nullopt;
    index = high_water_ - 1;
  }
  LARDER_CHECK(state(index) == BlockState::kFree);
  StoreWord(record(index).commit_word, CommitWord(BlockState::kReserved, 0));
  ++used_records_;
  return index;
}

void BlockTable::WriteReserved(uint32_t index, const BlockRecord& fields) {
  LARDER_CHECK(state(index) == BlockState::kReserved);
  LARDER_CHECK(fields.bytes > 0 && fields.bytes <= geometry_.data_bytes &&
               fields.offset <= geometry_.data_bytes - fields.bytes &&
               fields.offset % geometry_.granule_bytes == 0);
  BlockRecordV1& stored = record(index);
  stored.expiry = EncodeExpiry(fields.expiry_unix_ms);
  stored.flags = EncodeGuarded(fields.flags);
  stored.space_low = fields.space.low;
  stored.space_high = fields.space.high;
  stored.key_low = fields.key.low;
  stored.key_high = fields.key.high;
  stored.parent_low = fields.parent.low;
  stored.parent_high = fields.parent.high;
  stored.offset = fields.offset;
  stored.bytes = fields.bytes;
  stored.depth = fields.depth;
  stored.token_count = fields.token_count;
  stored.layer_begin = fields.layer_begin;
  stored.layer_end = fields.layer_end;
  stored.head_begin = fields.head_begin;
  stored.head_end = fields.head_end;
  SetCuts(index, fields.cuts);
  stored.dropped_levels = fields.dropped_levels;
}

void BlockTable::SetCuts(uint32_t index, const BlockCuts& cuts) {
  LARDER_CHECK(state(index) == BlockState::kReserved);
  std::copy(cuts.begin(), cuts.end(), record(index).cuts);
}

void BlockTable::Commit(uint32_t index, uint64_t sequence) {
  LARDER_CHECK(state(index) == BlockState::kReserved);
  BlockRecordV1& stored = record(index);
  StoreWord(stored.sequence, EncodeGuarded(sequence));
  StoreWord(stored.commit_word, CommitWord(BlockState::kCommitted, FieldsCrc(index)));
}

void BlockTable::SetSequence(uint32_t index, uint64_t sequence) {
  LARDER_CHECK(state(index) == BlockState::kCommitted);
  StoreWord(record(index).sequence, EncodeGuarded(sequence));
}

void BlockTable::SetExpiry(uint32_t index, int64_t expiry_unix_ms) {
  LARDER_CHECK(state(index) != BlockState::kFree);
  StoreWord(record(index).expiry, EncodeExpiry(expiry_unix_ms));
}

void BlockTable::SetFlags(uint32_t index, uint32_t flags) {
  LARDER_CHECK(state(index) == BlockState::kCommitted);
  StoreWord(record(index).flags, EncodeGuarded(flags));
}

void BlockTable::Free(uint32_t index) {
  LARDER_CHECK(state(index) != BlockState::kFree);
  // First free, then threaded: a committed record must never be seen with a list link in it.
  StoreWord(record(index).commit_word, 0);
  PushFree(index);
  --used_records_;
}

BlockRecord BlockTable::Read(uint32_t index) const {
  LARDER_CHECK(state(index) != BlockState::kFree);
  const BlockRecordV1& stored = record(index);
  BlockRecord fields;
  fields.space = {stored.space_low, stored.space_high};
  fields.key = {stored.key_low, stored.key_high};
  fields.parent = {stored.parent_low, stored.parent_high};
  fields.offset = stored.offset;
  fields.bytes = stored.bytes;
  fields.depth = stored.depth;
  fields.token_count = stored.token_count;
  fields.layer_begin = stored.layer_begin;
  fields.layer_end = stored.layer_end;
  fields.head_begin = stored.head_begin;
  fields.head_end = stored.head_end;
  std::copy(std::begin(stored.cuts), std::end(stored.cuts), fields.cuts.begin());
  fields.dropped_levels = stored.dropped_levels;
  fields.sequence = LoadWord(stored.sequence) & kGuardedValueMax;
  fields.expiry_unix_ms = static_cast<int64_t>(LoadWord(stored.expiry) & kGuardedValueMax);
  fields.flags = static_cast<uint32_t>(LoadWord(stored.flags));
  return fields;
}

BlockState BlockTable::state(uint32_t index) const {
  return static_cast<BlockState>(LoadWord(record(index).commit_word) >> 32);
}

uint64_t BlockTable::backed_bytes() const {
  const uint64_t units = DecodeGuarded(LoadWord(header().backed_bytes)).value_or(0);
  return std::min(units, geometry_.data_bytes / kBackedUnitBytes) * kBackedUnitBytes;
}

void BlockTable::SetBackedBytes(uint64_t bytes) {
  StoreWord(header().backed_bytes, EncodeGuarded(bytes / kBackedUnitBytes));
}

}  // namespace larder

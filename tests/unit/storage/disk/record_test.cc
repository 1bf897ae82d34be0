// Headers that are not what they say.
#include <cstddef>
#include <cstring>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/segment_headers.h"
#include "storage/disk/transfer.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

const DiskGeometry kGeometry = {{0x1111, 0x2222}, uint64_t{1} << 20, 8};

template <typename Header>
void Sign(Header* header) {
  header->crc = Crc32c({reinterpret_cast<const uint8_t*>(header), offsetof(Header, crc)});
}

DiskRecord SomeRecord() {
  DiskRecord record;
  record.space = {1, 2};
  record.key = {3, 4};
  record.parent = {5, 6};
  record.depth = 7;
  record.token_count = 256;
  record.layer_begin = 1;
  record.layer_end = 32;
  record.head_begin = 2;
  record.head_end = 8;
  record.segment = 2;
  record.generation = 9;
  record.offset = kGeometry.SegmentBegin(2) + 3 * kDiskBlockBytes;
  record.payload_bytes = 10000;
  record.payload_crc = 0xdecade;
  record.flags = 11;
  record.sequence = 12;
  record.expiry_unix_ms = 1700000000000;
  record.written_unix_ms = 1600000000000;
  return record;
}

absl::StatusOr<DiskRecord> Decode(const RecordHeaderV1& header) {
  return DecodeRecordHeader(kGeometry, header, SomeRecord().offset, SomeRecord().generation);
}

TEST(DiskRecordTest, HeadersComeBackAsTheyWere) {
  const absl::StatusOr<DiskRecord> record = Decode(EncodeRecordHeader(kGeometry, SomeRecord()));
  ASSERT_EQ(record.status(), absl::OkStatus());
  EXPECT_EQ(*record, SomeRecord());
}

TEST(DiskRecordTest, EachBitCounts) {
  const RecordHeaderV1 header = EncodeRecordHeader(kGeometry, SomeRecord());
  for (size_t bit = 0; bit < sizeof header * 8; ++bit) {
    RecordHeaderV1 changed = header;
    reinterpret_cast<uint8_t*>(&changed)[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_TRUE(absl::IsDataLoss(Decode(changed).status())) << bit;
  }
}

TEST(DiskRecordTest, FieldsThatCannotBeAreRefusedInSpiteOfTheirChecksum) {
  const auto refusal = [](auto change) {
    RecordHeaderV1 header = EncodeRecordHeader(kGeometry, SomeRecord());
    change(&header);
    Sign(&header);
    const absl::Status status = Decode(header).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat(SomeRecord().offset)));
    return std::string(status.message());
  };
  using Header = RecordHeaderV1;
  EXPECT_THAT(refusal([](Header* h) { h->magic[0] = 'x'; }), HasSubstr("no record"));
  EXPECT_THAT(refusal([](Header* h) { h->version = 2; }), HasSubstr("version 2"));
  EXPECT_THAT(refusal([](Header* h) { h->reserved = 1; }), HasSubstr("reserved"));
  EXPECT_THAT(refusal([](Header* h) { h->device_low = 1; }), HasSubstr("device"));
  EXPECT_THAT(refusal([](Header* h) { h->device_high = 1; }), HasSubstr("device"));
  EXPECT_THAT(refusal([](Header* h) { h->generation = 8; }), HasSubstr("generation 8"));
  EXPECT_THAT(refusal([](Header* h) { h->offset += 4096; }), HasSubstr("written for offset"));
  EXPECT_THAT(refusal([](Header* h) { h->segment = 3; }), HasSubstr("segment 3"));
  EXPECT_THAT(refusal([](Header* h) { h->segment = ~uint32_t{0}; }), HasSubstr("segment"));
  EXPECT_THAT(refusal([](Header* h) { h->payload_bytes = 0; }), HasSubstr("payload"));
  EXPECT_THAT(refusal([](Header* h) { h->payload_bytes = 1 << 20; }), HasSubstr("payload"));
  EXPECT_THAT(refusal([](Header* h) { h->payload_bytes = ~uint64_t{0}; }), HasSubstr("payload"));
  EXPECT_THAT(refusal([](Header* h) { h->layer_end = 1; }), HasSubstr("layers"));
  EXPECT_THAT(refusal([](Header* h) { h->head_begin = 9; }), HasSubstr("heads"));
  EXPECT_THAT(refusal([](Header* h) { h->expiry_unix_ms = ~uint64_t{0}; }), HasSubstr("time"));
  EXPECT_THAT(refusal([](Header* h) { h->written_unix_ms = ~uint64_t{0}; }), HasSubstr("time"));
}

TEST(DiskRecordTest, TheLastRecordOfASegmentEndsWithIt) {
  DiskRecord record = SomeRecord();
  record.payload_bytes = kGeometry.SegmentBegin(3) - record.offset - kDiskBlockBytes;
  EXPECT_EQ(CheckDiskRecord(kGeometry, record), absl::OkStatus());
  ++record.payload_bytes;
  EXPECT_TRUE(absl::IsInvalidArgument(CheckDiskRecord(kGeometry, record)));
}

TEST(DiskRecordTest, RandomBytesAreNoHeader) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  for (int round = 0; round < 20000; ++round) {
    RecordHeaderV1 header = EncodeRecordHeader(kGeometry, SomeRecord());
    for (uint64_t changes = 1 + random.Below(4); changes > 0; --changes) {
      const size_t at = 8 + random.Below(sizeof header - 12);
      reinterpret_cast<uint8_t*>(&header)[at] = static_cast<uint8_t>(random.Next());
    }
    Sign(&header);
    const absl::StatusOr<DiskRecord> record = Decode(header);
    if (!record.ok()) continue;
    // What is accepted is what a writer would have written.
    const RecordHeaderV1 again = EncodeRecordHeader(kGeometry, *record);
    ASSERT_EQ(std::memcmp(&again, &header, sizeof header), 0);
  }
}

TEST(SegmentHeaderTest, OnlyTheSegmentsOwnIsAccepted) {
  const SegmentHeaderV1 good = EncodeSegmentHeader(kGeometry, {3, 17, 2});
  const absl::StatusOr<SegmentHeader> header = DecodeSegmentHeader(kGeometry, good, 3);
  ASSERT_EQ(header.status(), absl::OkStatus());
  EXPECT_EQ(header->generation, 17u);
  EXPECT_EQ(header->lifetime_class, 2u);
  EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(kGeometry, good, 4).status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(kGeometry, {}, 0).status()));
  for (size_t bit = 0; bit < sizeof good * 8; ++bit) {
    SegmentHeaderV1 changed = good;
    reinterpret_cast<uint8_t*>(&changed)[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(kGeometry, changed, 3).status())) << bit;
  }
  SegmentHeaderV1 zero = good;
  zero.generation = 0;
  Sign(&zero);
  EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(kGeometry, zero, 3).status()));
}

TEST(SuperblockTest, EachBitCounts) {
  const SuperblockV1 good = EncodeSuperblock({{1, 2}, uint64_t{1} << 20, "node-1"});
  const absl::StatusOr<Superblock> superblock = DecodeSuperblock(good);
  ASSERT_EQ(superblock.status(), absl::OkStatus());
  EXPECT_EQ(superblock->owner, "node-1");
  EXPECT_EQ(superblock->segment_bytes, uint64_t{1} << 20);
  for (size_t bit = 0; bit < sizeof good * 8; ++bit) {
    SuperblockV1 changed = good;
    reinterpret_cast<uint8_t*>(&changed)[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(DecodeSuperblock(changed).ok()) << bit;
  }
}

TEST(SuperblockTest, FieldsThatCannotBeAreRefusedInSpiteOfTheirChecksum) {
  const auto refused = [](auto change) {
    SuperblockV1 bytes = EncodeSuperblock({{1, 2}, uint64_t{1} << 20, "node-1"});
    change(&bytes);
    Sign(&bytes);
    return absl::IsDataLoss(DecodeSuperblock(bytes).status());
  };
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->block_bytes = 512; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->reserved = 1; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->segment_bytes = 0; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->segment_bytes += 1; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->segment_bytes = ~uint64_t{4095}; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->owner[0] = 0; }));
  EXPECT_TRUE(refused([](SuperblockV1* b) { b->owner[63] = 'x'; }));
}

template <typename Header>
std::string HexOf(const Header& header) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(&header), sizeof header});
}

// docs/formats/segments.md shows these bytes.
TEST(SegmentFormatTest, WorkedExample) {
  const DiskGeometry geometry = {{0x8899aabbccddeeff, 0x0011223344556677}, uint64_t{1} << 20, 4};
  EXPECT_EQ(HexOf(EncodeSuperblock({geometry.device, geometry.segment_bytes, "node-1"})),
            "4c4152444552444b0100000000100000ffeeddccbbaa99887766554433221100"
            "00001000000000006e6f64652d31000000000000000000000000000000000000"
            "0000000000000000000000000000000000000000000000000000000000000000"
            "00000000000000007f3841b800000000");
  EXPECT_EQ(HexOf(EncodeSegmentHeader(geometry, {2, 9, 1})),
            "4c415244455253470100000002000000ffeeddccbbaa99887766554433221100"
            "0900000000000000010000005085db78");
  DiskRecord record;
  record.space = {0x1111111111111111, 0x1212121212121212};
  record.key = {0x2121212121212121, 0x2222222222222222};
  record.parent = {0x3131313131313131, 0x3232323232323232};
  record.depth = 3;
  record.token_count = 256;
  record.layer_end = 32;
  record.head_end = 8;
  record.segment = 2;
  record.generation = 9;
  record.offset = 0x301000;
  record.payload_bytes = 9;
  record.payload_crc = 0xe3069283;
  record.sequence = 42;
  record.expiry_unix_ms = 1700000000000;
  record.written_unix_ms = 1600000000000;
  EXPECT_EQ(HexOf(EncodeRecordHeader(geometry, record)),
            "4c415244455252430100000002000000ffeeddccbbaa99887766554433221100"
            "0900000000000000001030000000000011111111111111111212121212121212"
            "2121212121212121222222222222222231313131313131313232323232323232"
            "09000000000000002a000000000000000068e5cf8b01000000806e8774010000"
            "03000000000100000000200000000800000000008392"
            "06e30000000000046085");
}

TEST(TransferTest, MovesInPiecesAndResumesShortOnes) {
  std::vector<uint8_t> memory(Transfer::kPieceBytesMax + 3 * kDiskBlockBytes);
  Transfer transfer(IoOperation::Kind::kRead, 8192, memory);
  IoOperation operation = transfer.Next(1);
  EXPECT_EQ(operation.memory.size(), Transfer::kPieceBytesMax);
  // Of a block that is not whole, all is read again.
  transfer.OnCompletion({1, 0, 2 * kDiskBlockBytes + 5});
  operation = transfer.Next(1);
  EXPECT_EQ(operation.offset, 8192 + 2 * kDiskBlockBytes);
  transfer.OnCompletion({1, EINTR, 0});
  EXPECT_FALSE(transfer.failed());
  operation = transfer.Next(1);
  transfer.OnCompletion({1, 0, operation.memory.size()});
  EXPECT_FALSE(transfer.done());
  operation = transfer.Next(1);
  EXPECT_EQ(operation.memory.size(), kDiskBlockBytes);
  transfer.OnCompletion({1, 0, kDiskBlockBytes});
  EXPECT_TRUE(transfer.done());
}

TEST(TransferTest, EndsWhenNothingMoves) {
  std::vector<uint8_t> memory(kDiskBlockBytes);
  Transfer transfer(IoOperation::Kind::kRead, 0, memory);
  for (int i = 0; i < Transfer::kStallsMax; ++i) {
    EXPECT_FALSE(transfer.failed());
    transfer.Next(1);
    transfer.OnCompletion({1, 0, 100});
  }
  EXPECT_TRUE(transfer.failed());
  EXPECT_EQ(transfer.error(), EIO);
}

}  // namespace
}  // namespace larder

#include "storage/disk/segment_headers.h"

#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"

namespace larder {
namespace {

// Both headers end their meaning with a checksum of what is before it.
template <typename Header>
uint32_t CrcOf(const Header& header) {
  return Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(Header, crc)});
}

absl::Status CheckSegmentHeader(const DiskGeometry& geometry, const SegmentHeaderV1& bytes,
                                uint32_t segment) {
  if (std::memcmp(bytes.magic, kSegmentMagic, sizeof kSegmentMagic) != 0) {
    return absl::DataLossError("never opened");
  }
  if (bytes.crc != CrcOf(bytes)) return absl::DataLossError("wrong header checksum");
  if (bytes.version != kDiskFormatVersion) {
    return absl::DataLossError(
        absl::StrCat("version ", bytes.version, ", this program reads ", kDiskFormatVersion));
  }
  if (bytes.device_low != geometry.device.low || bytes.device_high != geometry.device.high) {
    return absl::DataLossError("it belongs to another device");
  }
  if (bytes.segment != segment) {
    return absl::DataLossError(absl::StrCat("it was written for segment ", bytes.segment));
  }
  if (bytes.generation == 0) return absl::DataLossError("generation 0");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSuperblock(const Superblock& superblock) {
  if (superblock.segment_bytes < kSegmentBytesMin || superblock.segment_bytes > kSegmentBytesMax ||
      superblock.segment_bytes % kDiskBlockBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segments of ", superblock.segment_bytes, " bytes; they have ", kSegmentBytesMin, " to ",
        kSegmentBytesMax, ", a multiple of ", kDiskBlockBytes));
  }
  if (superblock.owner.empty() || superblock.owner.size() > kDiskOwnerBytesMax ||
      superblock.owner.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("the owner's name has ", superblock.owner.size(),
                                                   " bytes; it needs 1 to ", kDiskOwnerBytesMax,
                                                   ", none of them zero"));
  }
  return absl::OkStatus();
}

SuperblockV1 EncodeSuperblock(const Superblock& superblock) {
  SuperblockV1 bytes = {};
  std::memcpy(bytes.magic, kSuperblockMagic, sizeof kSuperblockMagic);
  bytes.version = kDiskFormatVersion;
  bytes.block_bytes = kDiskBlockBytes;
  bytes.device_low = superblock.device.low;
  bytes.device_high = superblock.device.high;
  bytes.segment_bytes = superblock.segment_bytes;
  std::memcpy(bytes.owner, superblock.owner.data(), superblock.owner.size());
  bytes.crc = CrcOf(bytes);
  return bytes;
}

absl::StatusOr<Superblock> DecodeSuperblock(const SuperblockV1& bytes) {
  if (std::memcmp(bytes.magic, kSuperblockMagic, sizeof kSuperblockMagic) != 0) {
    return absl::FailedPreconditionError("it holds something else than a Larder device");
  }
  // Before the checksum, which another version may keep elsewhere.
  if (bytes.version != kDiskFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("format version ", bytes.version,
                                                      ", this program reads ", kDiskFormatVersion));
  }
  if (bytes.crc != CrcOf(bytes)) return absl::DataLossError("wrong checksum of the superblock");
  if (bytes.block_bytes != kDiskBlockBytes || bytes.reserved != 0) {
    return absl::DataLossError("a superblock that no version 1 writes");
  }
  Superblock superblock;
  superblock.device = {bytes.device_low, bytes.device_high};
  superblock.segment_bytes = bytes.segment_bytes;
  const size_t owner_bytes = strnlen(bytes.owner, sizeof bytes.owner);
  superblock.owner.assign(bytes.owner, owner_bytes);
  for (size_t i = owner_bytes; i < sizeof bytes.owner; ++i) {
    if (bytes.owner[i] != 0)
      return absl::DataLossError("the owner's name is not padded with zeros");
  }
  const absl::Status possible = CheckSuperblock(superblock);
  if (!possible.ok()) return absl::DataLossError(possible.message());
  return superblock;
}

SegmentHeaderV1 EncodeSegmentHeader(const DiskGeometry& geometry, const SegmentHeader& header) {
  SegmentHeaderV1 bytes = {};
  std::memcpy(bytes.magic, kSegmentMagic, sizeof kSegmentMagic);
  bytes.version = kDiskFormatVersion;
  bytes.segment = header.segment;
  bytes.device_low = geometry.device.low;
  bytes.device_high = geometry.device.high;
  bytes.generation = header.generation;
  bytes.lifetime_class = header.lifetime_class;
  bytes.crc = CrcOf(bytes);
  return bytes;
}

absl::StatusOr<SegmentHeader> DecodeSegmentHeader(const DiskGeometry& geometry,
                                                  const SegmentHeaderV1& bytes, uint32_t segment) {
  const absl::Status status = CheckSegmentHeader(geometry, bytes, segment);
  if (!status.ok()) return Annotate(status, absl::StrCat("segment ", segment));
  return SegmentHeader{bytes.segment, bytes.generation, bytes.lifetime_class};
}

}  // namespace larder

#include "storage/disk/disk_metadata_format.h"

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"

namespace larder {
namespace {

constexpr uint64_t kTimeMax = std::numeric_limits<int64_t>::max();

template <typename T>
std::span<const uint8_t> BytesOf(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

uint32_t ValueCrc(const DiskMetadataKeyV1& key, const DiskMetadataValueV1& value) {
  return Crc32c(BytesOf(value).first(offsetof(DiskMetadataValueV1, crc)), Crc32c(BytesOf(key)));
}

uint32_t IdentityCrc(const DiskMetadataIdentityV1& identity) {
  return Crc32c(BytesOf(identity).first(offsetof(DiskMetadataIdentityV1, crc)));
}

}  // namespace

DiskMetadataKeyV1 EncodeDiskMetadataKey(const DiskRecord& record) {
  return {.space_low = record.space.low,
          .space_high = record.space.high,
          .key_low = record.key.low,
          .key_high = record.key.high,
          .layer_begin = record.layer_begin,
          .layer_end = record.layer_end,
          .head_begin = record.head_begin,
          .head_end = record.head_end};
}

DiskMetadataValueV1 EncodeDiskMetadataValue(const DiskRecord& record) {
  DiskMetadataValueV1 value{.segment = record.segment,
                            .flags = record.flags,
                            .generation = record.generation,
                            .offset = record.offset,
                            .payload_bytes = record.payload_bytes,
                            .sequence = record.sequence,
                            .expiry_unix_ms = static_cast<uint64_t>(record.expiry_unix_ms),
                            .written_unix_ms = static_cast<uint64_t>(record.written_unix_ms),
                            .parent_low = record.parent.low,
                            .parent_high = record.parent.high,
                            .depth = record.depth,
                            .token_count = record.token_count,
                            .payload_crc = record.payload_crc,
                            .crc = 0};
  value.crc = ValueCrc(EncodeDiskMetadataKey(record), value);
  return value;
}

DiskMetadataIdentityV1 EncodeDiskMetadataIdentity(DiskDeviceId device) {
  DiskMetadataIdentityV1 identity{.magic = {},
                                  .version = kDiskMetadataVersion,
                                  .value_bytes = sizeof(DiskMetadataValueV1),
                                  .device_low = device.low,
                                  .device_high = device.high,
                                  .reserved = 0,
                                  .crc = 0};
  std::memcpy(identity.magic, kDiskMetadataMagic, sizeof identity.magic);
  identity.crc = IdentityCrc(identity);
  return identity;
}

absl::StatusOr<DiskRecord> DecodeDiskMetadata(std::span<const uint8_t> key_bytes,
                                              std::span<const uint8_t> value_bytes) {
  DiskMetadataKeyV1 key;
  DiskMetadataValueV1 value;
  if (key_bytes.size() != sizeof key || value_bytes.size() != sizeof value) {
    return absl::DataLossError(absl::StrCat("an entry of ", key_bytes.size(), " and ",
                                            value_bytes.size(), " bytes instead of ", sizeof key,
                                            " and ", sizeof value));
  }
  std::memcpy(&key, key_bytes.data(), sizeof key);
  std::memcpy(&value, value_bytes.data(), sizeof value);
  if (value.crc != ValueCrc(key, value)) return absl::DataLossError("an entry's checksum is wrong");
  if (value.expiry_unix_ms > kTimeMax || value.written_unix_ms > kTimeMax) {
    return absl::DataLossError("an entry's time is impossible");
  }
  return DiskRecord{.space = {.low = key.space_low, .high = key.space_high},
                    .key = {.low = key.key_low, .high = key.key_high},
                    .parent = {.low = value.parent_low, .high = value.parent_high},
                    .depth = value.depth,
                    .token_count = value.token_count,
                    .layer_begin = key.layer_begin,
                    .layer_end = key.layer_end,
                    .head_begin = key.head_begin,
                    .head_end = key.head_end,
                    .segment = value.segment,
                    .generation = value.generation,
                    .offset = value.offset,
                    .payload_bytes = value.payload_bytes,
                    .payload_crc = value.payload_crc,
                    .flags = value.flags,
                    .sequence = value.sequence,
                    .expiry_unix_ms = static_cast<int64_t>(value.expiry_unix_ms),
                    .written_unix_ms = static_cast<int64_t>(value.written_unix_ms)};
}

absl::StatusOr<DiskDeviceId> DecodeDiskMetadataIdentity(std::span<const uint8_t> value) {
  DiskMetadataIdentityV1 identity;
  // Magic and version keep their places in every version, so they are looked at first.
  constexpr size_t kCommonBytes = offsetof(DiskMetadataIdentityV1, value_bytes);
  if (value.size() < kCommonBytes) return absl::DataLossError("the identity is cut off");
  std::memcpy(&identity, value.data(), kCommonBytes);
  if (std::memcmp(identity.magic, kDiskMetadataMagic, sizeof identity.magic) != 0) {
    return absl::DataLossError("the identity is not one of an index");
  }
  if (identity.version != kDiskMetadataVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the index has format version ",
                                                      identity.version, ", this program reads ",
                                                      kDiskMetadataVersion));
  }
  if (value.size() != sizeof identity) {
    return absl::DataLossError(
        absl::StrCat("an identity of ", value.size(), " bytes instead of ", sizeof identity));
  }
  std::memcpy(&identity, value.data(), sizeof identity);
  if (identity.crc != IdentityCrc(identity) ||
      identity.value_bytes != sizeof(DiskMetadataValueV1) || identity.reserved != 0) {
    return absl::DataLossError("the identity is damaged");
  }
  return DiskDeviceId{.low = identity.device_low, .high = identity.device_high};
}

}  // namespace larder

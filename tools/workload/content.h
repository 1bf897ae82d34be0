// Contents that follow from the key, so that a benchmark can check every byte without keeping any.
#pragma once

#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"
#include "common/hash.h"
#include "common/ids.h"

namespace larder {

// A chunk's contents are an endless sequence of bytes; both functions work on its bytes
// [byte_offset, byte_offset + size), whatever was asked for before. Two keys, or two offsets of one
// key, give sequences as unlike as random ones: a byte is equal by chance once in 256, eight bytes
// once in 2^64. Thread-safe.
void FillContent(KeyHash key, uint64_t byte_offset, std::span<uint8_t> out);

// The position in `bytes` of the first byte that is not what FillContent writes there;
// bytes.size() when all are right.
size_t CheckContent(KeyHash key, uint64_t byte_offset, std::span<const uint8_t> bytes);

// The key of 32 bytes under which an engine would store a block: sha256(name_space || id as u64
// LE). The id has a fixed length, so two pairs of name space and id never give the same input.
Sha256Digest KeyBytes(absl::string_view name_space, uint64_t block_id);

}  // namespace larder

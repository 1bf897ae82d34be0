#include "common/crc32c_portable.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace larder {
namespace {

constexpr size_t kIsalBytesMax = size_t{1} << 30;  // ISA-L counts bytes in an int.
constexpr size_t kTileBytes = size_t{16} << 10;    // A tile stays in the first-level cache.

}  // namespace

uint32_t AdvanceCrcPortable(std::span<const uint8_t> bytes, uint32_t state) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kIsalBytesMax));
    // ISA-L picks its own fastest way for the processor and only reads the bytes.
    state = crc32_iscsi(const_cast<uint8_t*>(part.data()), static_cast<int>(part.size()), state);
    bytes = bytes.subspan(part.size());
  }
  return state;
}

uint32_t CopyAndAdvanceCrcPortable(uint8_t* destination, std::span<const uint8_t> source,
                                   uint32_t state) {
  while (!source.empty()) {
    const auto tile = source.first(std::min(source.size(), kTileBytes));
    std::memcpy(destination, tile.data(), tile.size());
    // The copy is summed, not the source, which a writer may have changed meanwhile.
    state = AdvanceCrcPortable({destination, tile.size()}, state);
    destination += tile.size();
    source = source.subspan(tile.size());
  }
  return state;
}

}  // namespace larder

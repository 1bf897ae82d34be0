#include "common/crc32c.h"

#include "common/crc32c_avx512.h"
#include "common/crc32c_portable.h"

namespace larder {
namespace {

#if defined(__x86_64__)
bool UseAvx512() {
  static const bool use = HasAvx512Folding();
  return use;
}
#endif

}  // namespace

uint32_t Crc32c(std::span<const uint8_t> bytes, uint32_t crc) {
#if defined(__x86_64__)
  if (UseAvx512()) return ~AdvanceCrcAvx512(bytes, ~crc);
#endif
  return ~AdvanceCrcPortable(bytes, ~crc);
}

uint32_t CopyAndCrc32c(uint8_t* destination, std::span<const uint8_t> source, uint32_t crc,
                       [[maybe_unused]] uint64_t whole_bytes) {
#if defined(__x86_64__)
  if (UseAvx512()) return ~CopyAndAdvanceCrcAvx512(destination, source, ~crc, whole_bytes);
#endif
  return ~CopyAndAdvanceCrcPortable(destination, source, ~crc);
}

}  // namespace larder

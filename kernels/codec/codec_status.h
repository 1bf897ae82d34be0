// The result of every function of kernels/codec, which depends on the standard library alone.
#pragma once

#include <cstdint>

namespace larder {

enum class CodecCode : uint8_t {
  kOk = 0,
  kInvalidArgument = 1,  // the caller's geometry, range or buffers do not fit
  kCorrupt = 2,          // the stored bytes are not what an encoder writes
  kDevice = 3,           // CUDA refused a launch; the text is its own
};

// A plain value, free to copy between threads: `text` is static.
struct [[nodiscard]] CodecStatus {
  CodecCode code = CodecCode::kOk;
  const char* text = "";  // what was wrong, names the field
  uint64_t offset = 0;    // kCorrupt: where in the byte run, as near as is known

  bool ok() const { return code == CodecCode::kOk; }
};

inline CodecStatus InvalidCodecArgument(const char* text) {
  return {CodecCode::kInvalidArgument, text, 0};
}
inline CodecStatus DeviceRefused(const char* text) { return {CodecCode::kDevice, text, 0}; }
inline CodecStatus CorruptCodecBytes(const char* text, uint64_t offset) {
  return {CodecCode::kCorrupt, text, offset};
}

#define LARDER_RETURN_IF_CODEC_ERROR(expression)                                   \
  do {                                                                             \
    if (::larder::CodecStatus codec_status_ = (expression); !codec_status_.ok()) { \
      return codec_status_;                                                        \
    }                                                                              \
  } while (false)

}  // namespace larder

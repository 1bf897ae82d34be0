#include "tests/unit/tools/test_files.h"

#include <gtest/gtest.h>
#include <lzma.h>
#include <unistd.h>
#include <zstd.h>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string CompressXz(absl::string_view text) {
  std::string compressed(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  const lzma_ret code = lzma_easy_buffer_encode(
      0, LZMA_CHECK_CRC32, nullptr, Bytes(text), text.size(),
      reinterpret_cast<uint8_t*>(compressed.data()), &size, compressed.size());
  EXPECT_EQ(code, LZMA_OK);
  compressed.resize(size);
  return compressed;
}

std::string CompressZstd(absl::string_view text) {
  std::string compressed(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* encoder = ZSTD_createCCtx();
  // As the command-line tool does; the library's default is no checksum.
  ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1);
  const size_t size =
      ZSTD_compress2(encoder, compressed.data(), compressed.size(), text.data(), text.size());
  ZSTD_freeCCtx(encoder);
  EXPECT_FALSE(ZSTD_isError(size));
  compressed.resize(size);
  return compressed;
}

}  // namespace

TemporaryFile::TemporaryFile(absl::string_view bytes)
    : path_(absl::StrCat(testing::TempDir(), "larder_tools_XXXXXX")) {
  const int fd = mkstemp(path_.data());
  EXPECT_GE(fd, 0);
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written <= 0) {
      ADD_FAILURE() << "cannot write " << path_;
      break;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  close(fd);
}

TemporaryFile::~TemporaryFile() { unlink(path_.c_str()); }

std::string Compress(absl::string_view text, Compression compression) {
  switch (compression) {
    case Compression::kXz:
      return CompressXz(text);
    case Compression::kZstd:
      return CompressZstd(text);
    case Compression::kNone:
      break;
  }
  return std::string(text);
}

}  // namespace larder

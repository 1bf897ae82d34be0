#include "tools/workload/byte_stream.h"

#include <fcntl.h>
#include <lzma.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

namespace larder {
namespace {

constexpr std::array<uint8_t, 6> kXzMagic = {0xfd, '7', 'z', 'X', 'Z', 0x00};
constexpr std::array<uint8_t, 4> kZstdMagic = {0x28, 0xb5, 0x2f, 0xfd};
constexpr size_t kCompressedBufferBytes = 64 << 10;
// `xz -9` needs 65 MiB to decompress, `zstd --ultra -22` 128 MiB.
constexpr uint64_t kDecoderMemoryBytesMax = 256 << 20;
constexpr int kZstdWindowLogMax = 27;

class FileStream final : public ByteStream {
 public:
  explicit FileStream(FileDescriptor file) : file_(std::move(file)) {}

  // Reads until `head_` is full or the file ends; later reads begin with these bytes again.
  absl::StatusOr<std::span<const uint8_t>> Peek() {
    while (head_end_ < head_.size()) {
      ASSIGN_OR_RETURN(const size_t size, ReadFile(std::span<uint8_t>(head_).subspan(head_end_)));
      if (size == 0) break;
      head_end_ += size;
    }
    return std::span<const uint8_t>(head_).first(head_end_);
  }

  absl::StatusOr<size_t> Read(std::span<uint8_t> out) override {
    if (head_begin_ == head_end_) return ReadFile(out);
    const size_t size = std::min(out.size(), head_end_ - head_begin_);
    std::memcpy(out.data(), head_.data() + head_begin_, size);
    head_begin_ += size;
    return size;
  }

 private:
  absl::StatusOr<size_t> ReadFile(std::span<uint8_t> out) {
    ssize_t size;
    do {
      size = read(file_.get(), out.data(), out.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0) return ErrnoStatus(errno, "read failed");
    return static_cast<size_t>(size);
  }

  FileDescriptor file_;
  std::array<uint8_t, kXzMagic.size()> head_ = {};
  size_t head_begin_ = 0;
  size_t head_end_ = 0;
};

// The compressed bytes that a decoder has not consumed yet.
class InputBuffer {
 public:
  explicit InputBuffer(std::unique_ptr<ByteStream> source)
      : source_(std::move(source)), buffer_(kCompressedBufferBytes) {}

  // Reads more when nothing is left; afterwards `rest` is empty only at the end of the source.
  absl::Status Refill() {
    if (!rest_.empty() || at_end_) return absl::OkStatus();
    ASSIGN_OR_RETURN(const size_t size, source_->Read(buffer_));
    rest_ = std::span<const uint8_t>(buffer_).first(size);
    at_end_ = size == 0;
    return absl::OkStatus();
  }

  std::span<const uint8_t> rest() const { return rest_; }
  void Consume(size_t size) { rest_ = rest_.subspan(size); }
  bool at_end() const { return at_end_; }

 private:
  std::unique_ptr<ByteStream> source_;
  std::vector<uint8_t> buffer_;
  std::span<const uint8_t> rest_;
  bool at_end_ = false;
};

absl::Status XzError(lzma_ret code) {
  switch (code) {
    case LZMA_MEM_ERROR:
      return absl::ResourceExhaustedError("out of memory while decompressing xz");
    case LZMA_MEMLIMIT_ERROR:
      return absl::ResourceExhaustedError(
          absl::StrCat("the xz stream needs more than ", kDecoderMemoryBytesMax >> 20, " MiB"));
    case LZMA_BUF_ERROR:
      return absl::DataLossError("the xz stream is truncated");
    default:
      return absl::DataLossError(
          absl::StrCat("the xz stream is corrupt (liblzma code ", static_cast<int>(code), ")"));
  }
}

class XzStream final : public ByteStream {
 public:
  explicit XzStream(std::unique_ptr<ByteStream> source) : input_(std::move(source)) {}
  ~XzStream() override { lzma_end(&decoder_); }
  XzStream(const XzStream&) = delete;
  XzStream& operator=(const XzStream&) = delete;

  absl::Status Start() {
    const lzma_ret code = lzma_stream_decoder(&decoder_, kDecoderMemoryBytesMax, LZMA_CONCATENATED);
    return code == LZMA_OK ? absl::OkStatus() : XzError(code);
  }

  absl::StatusOr<size_t> Read(std::span<uint8_t> out) override {
    decoder_.next_out = out.data();
    decoder_.avail_out = out.size();
    while (!finished_ && decoder_.avail_out == out.size()) {
      RETURN_IF_ERROR(input_.Refill());
      decoder_.next_in = input_.rest().data();
      decoder_.avail_in = input_.rest().size();
      const lzma_ret code = lzma_code(&decoder_, input_.at_end() ? LZMA_FINISH : LZMA_RUN);
      input_.Consume(input_.rest().size() - decoder_.avail_in);
      if (code != LZMA_OK && code != LZMA_STREAM_END) return XzError(code);
      finished_ = code == LZMA_STREAM_END;
    }
    return out.size() - decoder_.avail_out;
  }

 private:
  InputBuffer input_;
  lzma_stream decoder_ = LZMA_STREAM_INIT;
  bool finished_ = false;
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<ByteStream> source)
      : input_(std::move(source)), decoder_(ZSTD_createDCtx()) {}

  absl::Status Start() {
    if (decoder_ == nullptr) return absl::ResourceExhaustedError("out of memory for zstd");
    ZSTD_DCtx_setParameter(decoder_.get(), ZSTD_d_windowLogMax, kZstdWindowLogMax);
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Read(std::span<uint8_t> out) override {
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    while (to.pos == 0) {
      RETURN_IF_ERROR(input_.Refill());
      // The decoder may still hold output for which the last call had no room, so it is asked once
      // more at the end, with no input.
      const bool at_end = input_.at_end();
      if (at_end && frame_complete_) return 0;
      ZSTD_inBuffer from = {input_.rest().data(), input_.rest().size(), 0};
      const size_t code = ZSTD_decompressStream(decoder_.get(), &to, &from);
      if (ZSTD_isError(code)) {
        return absl::DataLossError(
            absl::StrCat("the zstd stream is corrupt: ", ZSTD_getErrorName(code)));
      }
      input_.Consume(from.pos);
      frame_complete_ = code == 0;
      if (at_end && to.pos == 0) return absl::DataLossError("the zstd stream is truncated");
    }
    return to.pos;
  }

 private:
  struct FreeDecoder {
    void operator()(ZSTD_DCtx* decoder) const { ZSTD_freeDCtx(decoder); }
  };

  InputBuffer input_;
  std::unique_ptr<ZSTD_DCtx, FreeDecoder> decoder_;
  bool frame_complete_ = false;
};

template <size_t kSize>
bool BeginsWith(std::span<const uint8_t> bytes, const std::array<uint8_t, kSize>& magic) {
  return bytes.size() >= kSize && std::equal(magic.begin(), magic.end(), bytes.begin());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ByteStream>> OpenDecompressed(const std::string& path) {
  FileDescriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) return ErrnoStatus(errno, "cannot open");
  auto file = std::make_unique<FileStream>(std::move(descriptor));
  ASSIGN_OR_RETURN(const std::span<const uint8_t> head, file->Peek());
  if (head.empty()) return absl::InvalidArgumentError("the file is empty");
  if (BeginsWith(head, kXzMagic)) {
    auto xz = std::make_unique<XzStream>(std::move(file));
    RETURN_IF_ERROR(xz->Start());
    return xz;
  }
  if (BeginsWith(head, kZstdMagic)) {
    auto zstd = std::make_unique<ZstdStream>(std::move(file));
    RETURN_IF_ERROR(zstd->Start());
    return zstd;
  }
  return file;
}

}  // namespace larder

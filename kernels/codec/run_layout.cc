#include "kernels/codec/run_layout.h"

namespace larder {

CodecStatus RunView::FindHeads(std::span<const uint8_t> run, size_t header_bytes, uint32_t heads,
                               uint32_t head_begin, uint32_t head_end, RunRange& range) {
  const size_t streams = header_bytes + DirectoryBytes(heads);
  if (run.size() < streams) {
    return CorruptCodecBytes("run: shorter than its header and directory", run.size());
  }
  const uint8_t* const directory = run.data() + header_bytes;
  range.begin = head_begin == 0 ? streams : LoadU32(directory + DirectoryBytes(head_begin - 1));
  range.end = LoadU32(directory + DirectoryBytes(head_end - 1));
  if (range.begin < streams || range.begin > range.end || range.end > run.size()) {
    return CorruptCodecBytes("directory: a head's stream is outside the run",
                             header_bytes + DirectoryBytes(head_begin));
  }
  if (head_end == heads && range.end != run.size()) {
    return CorruptCodecBytes("directory: bytes after the last head's stream", range.end);
  }
  return {};
}

CodecStatus RunView::FindHead(std::span<const uint8_t> run, size_t header_bytes, uint32_t heads,
                              uint32_t head, std::span<const uint8_t>& stream) {
  RunRange range;
  LARDER_RETURN_IF_CODEC_ERROR(FindHeads(run, header_bytes, heads, head, head + 1, range));
  stream = run.subspan(range.begin, range.end - range.begin);
  return {};
}

}  // namespace larder

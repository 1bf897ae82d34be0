#include "kernels/codec/run_layout.h"

namespace larder {

CodecStatus RunView::FindHeads(std::span<const uint8_t> run, size_t header_bytes, uint32_t heads,
                               uint32_t head_begin, uint32_t head_end, RunRange& range) {
  if (!FindStreams(run.data(), run.size(), header_bytes, heads, head_begin, head_end, &range)) {
    return CorruptCodecBytes("directory: a head's stream is outside the run",
                             header_bytes + DirectoryBytes(head_begin));
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

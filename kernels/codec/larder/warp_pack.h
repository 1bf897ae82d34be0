// The second pass of the encoder in warp_encode.h: puts heads behind each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec/larder/warp_encode.h"

namespace larder {

// Puts a head behind those before it, in every level.
template <class Lanes, CodecElement kElement>
class WarpHeadPacker {
 public:
  LARDER_HD WarpHeadPacker(const WarpProfile& profile, const WarpEncodeJob& job)
      : profile_(profile),
        job_(job),
        sizes_(EncodeSizes<kElement>(profile, job)),
        layout_(sizes_) {}

  LARDER_HD void Pack(uint32_t head) {
    const size_t directory = DirectoryBytes(job_.heads);
    size_t base = sizeof(LarderRunHeader) + directory;
    size_t digits = directory;
    for (uint32_t before = 0; before < head; ++before) {
      const WarpWorkspace::Result result = ResultOf(before);
      base += BaseBytes(result);
      digits += DigitBytes(result);
    }
    const WarpWorkspace::Result result = ResultOf(head);
    if (head == 0) WriteRunHeader();
    WriteBase(head, result, job_.levels[0] + base);
    EndHead(0, sizeof(LarderRunHeader), head, base + BaseBytes(result));
    const uint8_t* const workspace = WorkspaceOf(head);
    for (uint32_t level = 0; level + 1 < job_.level_count; ++level) {
      Copy(workspace + layout_.digits + size_t{level} * sizes_.DigitStreamBytes(),
           DigitBytes(result), job_.levels[level + 1] + digits);
      EndHead(level + 1, 0, head, digits + DigitBytes(result));
    }
  }

 private:
  LARDER_HD const uint8_t* WorkspaceOf(uint32_t head) const {
    return job_.workspace + head * layout_.bytes;
  }
  LARDER_HD WarpWorkspace::Result ResultOf(uint32_t head) const {
    WarpWorkspace::Result result;
    memcpy(&result, WorkspaceOf(head), sizeof(result));
    return result;
  }
  LARDER_HD size_t BaseBytes(const WarpWorkspace::Result& result) const {
    return BaseStreamBytes(profile_, sizes_, result);
  }
  LARDER_HD size_t DigitBytes(const WarpWorkspace::Result& result) const {
    return result.raw != 0 ? 0 : sizes_.DigitStreamBytes();
  }

  // In words of 4 bytes, or of 2, where both sides are aligned to such.
  LARDER_HD static uint8_t* Copy(const uint8_t* from, size_t bytes, uint8_t* to) {
    const uintptr_t addresses = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to);
    size_t done = 0;
    if (addresses % sizeof(uint32_t) == 0) {
      done = CopyWords<uint32_t>(from, bytes, to);
    } else if (addresses % sizeof(uint16_t) == 0) {
      done = CopyWords<uint16_t>(from, bytes, to);
    }
    CopyWords<uint8_t>(from + done, bytes - done, to + done);
    return to + bytes;
  }

  // Returns how many bytes whole words are.
  template <typename Word>
  LARDER_HD static size_t CopyWords(const uint8_t* from, size_t bytes, uint8_t* to) {
    const size_t words = bytes / sizeof(Word);
    Lanes::ForEach([&](uint32_t lane) {
      for (size_t i = lane; i < words; i += kLanes) {
#ifdef __CUDA_ARCH__
        reinterpret_cast<Word*>(to)[i] = reinterpret_cast<const Word*>(from)[i];
#else
        memcpy(to + i * sizeof(Word), from + i * sizeof(Word), sizeof(Word));
#endif
      }
    });
    return words * sizeof(Word);
  }

  template <typename T>
  LARDER_HD static void WriteOnce(const T& value, uint8_t* to) {
    Lanes::ForEach([&](uint32_t lane) {
      if (lane == 0) memcpy(to, &value, sizeof(value));
    });
  }

  LARDER_HD void WriteRunHeader() const {
    LarderRunHeader header = {};
    header.version = sizes_.Splits() == 0 ? kLarderRunVersion : kLarderSplitVersion;
    header.exact_tokens = static_cast<uint8_t>(sizes_.exact_tokens);
    header.split_units = static_cast<uint8_t>(sizes_.split_tokens / kSplitUnit);
    header.filled_tokens = sizes_.tokens;
    header.profile = profile_.id;
    WriteOnce(header, job_.levels[0]);
  }

  LARDER_HD void EndHead(uint32_t level, size_t header_bytes, uint32_t head, size_t end) const {
    WriteOnce(static_cast<uint32_t>(end), job_.levels[level] + header_bytes + DirectoryBytes(head));
    if (head + 1 == job_.heads) {
      WriteOnce(static_cast<uint32_t>(end), reinterpret_cast<uint8_t*>(job_.run_bytes + level));
    }
  }

  LARDER_HD uint8_t* CopyTokens(uint32_t head, uint32_t count, uint8_t* to) const {
    TokenSources source = job_.source;
    source.base += head * job_.head_stride;
    for (uint32_t token = 0; token < count; ++token) {
      to = Copy(source.At(token), sizes_.RowBytes(), to);
    }
    return to;
  }

  LARDER_HD void WriteBase(uint32_t head, const WarpWorkspace::Result& result, uint8_t* to) const {
    uint8_t* const end = to + BaseBytes(result);
    LarderHeadHeader header = {};
    const HeadMode coded = profile_.HasParameters() ? HeadMode::kProfile : HeadMode::kInline;
    header.mode = static_cast<uint8_t>(result.raw != 0 ? HeadMode::kRaw : coded);
    header.coded_bytes = result.raw != 0 ? 0 : result.coded_bytes;
    header.patch_count = result.raw != 0 ? 0 : result.patch_count;
    WriteOnce(header, to);
    to += sizeof(header);
    if (result.raw != 0) {
      to = CopyTokens(head, sizes_.tokens, to);
    } else {
      const uint8_t* const workspace = WorkspaceOf(head);
      // Patches end where their room ends.
      const uint32_t unused = layout_.patches_max - result.patch_count;
      to = Copy(workspace + layout_.splits, sizes_.Splits() * sizeof(LarderSplit), to);
      to = Copy(workspace + layout_.patch_indices + size_t{4} * unused,
                size_t{4} * result.patch_count, to);
      to = Copy(workspace + layout_.coded_end - result.coded_bytes, result.coded_bytes, to);
      if (coded == HeadMode::kInline) {
        to = Copy(workspace + layout_.parameters, InlineParameterBytes(sizes_.head_dim), to);
      }
      to = CopyTokens(head, sizes_.exact_tokens, to);
      to = Copy(workspace + layout_.patch_elements + size_t{sizes_.element_bytes} * unused,
                size_t{sizes_.element_bytes} * result.patch_count, to);
    }
    Lanes::ForEach([&](uint32_t lane) {
      for (uint8_t* padding = to + lane; padding < end; padding += kLanes) *padding = 0;
    });
  }

  const WarpProfile& profile_;
  const WarpEncodeJob& job_;
  HeadSizes sizes_;
  WarpWorkspace layout_;
};

}  // namespace larder

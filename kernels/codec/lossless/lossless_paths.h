// The implementations of codec 2 that a CPU chooses from at run time. All give the same bytes and
// values; false is a damaged stream.
#pragma once

#include "kernels/codec/cpu_path.h"
#include "kernels/codec/lossless/lossless_head.h"
#include "kernels/codec/lossless/lossless_split.h"

namespace larder {

struct LosslessTask {
  LosslessHead head;
  LosslessWindow window;
};

struct LosslessPath {
  // Splits all groups of a head; returns whether any symbol is an escape.
  bool (*split)(const LosslessSplit& split, const LosslessTables& tables);
  // Decodes heads of the coded form and of one geometry: one, or two at once.
  bool (*decode)(const LosslessTask& task, const DecodeTable* tables);
  bool (*decode_pair)(const LosslessTask& first, const LosslessTask& second,
                      const DecodeTable* tables);
};

// REQUIRES: CpuHasPath(path).
LosslessPath ChooseLosslessPath(CpuPath path, CodecElement element);

// Counts the symbols of a group, which are in split.symbols; for all vector paths.
void CountLosslessSymbolsAvx2(const LosslessSplit& split, uint32_t group, LosslessCounts& counts);

LosslessPath LosslessPathAvx2(CodecElement element);
LosslessPath LosslessPathAvx512(CodecElement element);

}  // namespace larder

// The tables of codec 2, which are part of its format, in the forms that coding needs.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/codec/lossless/lossless_format.h"
#include "kernels/codec/rans/symbol_table.h"

namespace larder {

// Sixteen; a larger number is for channels of more bits. tools/codec/lossless_tables.py made them.
std::span<const SymbolTable, kLosslessTables> LosslessSymbolTables();

// Owns its memory, 80 KiB; make one and keep it.
struct LosslessTables {
  DecodeTable decode[kLosslessTables];
  EncodeTable encode[kLosslessTables];
  // What a symbol costs, in units of 1/32 bit; an escape with its byte.
  alignas(64) uint32_t cost[kLosslessSymbols][kLosslessTables];
};

void BuildLosslessTables(LosslessTables* tables);

}  // namespace larder

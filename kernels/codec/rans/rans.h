// Entropy coding of whole streams on a CPU. The format is rans/rans_format.h; codecs that compute
// with the symbols use the steps of rans/rans_lanes.h, rans_avx2.h and rans_avx512.h instead.
//
// Thread-safe: functions of their arguments, no allocation. All paths give the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/rans/symbol_table.h"

namespace larder {

// Which table codes which channel: kLanes entries a group, each below tables.size(). Row r holds
// the channels of group r % groups.
struct DecodeModel {
  std::span<const DecodeTable> tables;
  std::span<const uint8_t> table_of_channel;
};
struct EncodeModel {
  std::span<const EncodeTable> tables;
  std::span<const uint8_t> table_of_channel;
};

// The coder between two rows: a decoder can begin there.
struct StreamPoint {
  uint32_t words;               // of the stream from here on
  uint8_t states[kStateBytes];  // u32 each, as at a stream's beginning
};

// Points to note while encoding: the i-th one before symbol (i + 1) x symbols_apart, which is a
// multiple of table_of_channel.size() and lies within the symbols.
struct StreamSplits {
  size_t symbols_apart = 0;
  std::span<StreamPoint> points;
};

// Encodes rows of kLanes symbols, one a lane, into the end of `room`; returns the stream's size,
// which is its last bytes. REQUIRES: symbols.size() is a multiple of table_of_channel.size(),
// room.size() >= StreamBytesMax(rows), and every symbol has a frequency in its table.
size_t EncodeStream(CpuPath path, const EncodeModel& model, std::span<const uint8_t> symbols,
                    std::span<uint8_t> room, const StreamSplits& splits = {});

// A stream, or the rows of it from one point to another.
struct StreamToDecode {
  std::span<const uint8_t> bytes;  // exactly the stream, or the words of the rows; hostile
  DecodeModel model;
  std::span<uint8_t> symbols;       // for whole rows, a multiple of model.table_of_channel.size()
  const uint8_t* states = nullptr;  // kStateBytes, those of the first point; none: in `bytes`
  const uint8_t* end_states = nullptr;  // those of the second point; none: the stream's end
};

// Decodes each stream into its symbols. Neighbours of equal shape are decoded together, which hides
// the latency of one behind the other: give many at once. kCorrupt with the index of the first
// stream that is damaged; its symbols, and those of later ones, then mean nothing but are < 32.
CodecStatus DecodeStreams(CpuPath path, std::span<const StreamToDecode> streams);

}  // namespace larder

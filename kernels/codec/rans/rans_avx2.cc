#include "kernels/codec/rans/rans_avx2.h"

#include "kernels/codec/rans/rans_paths.h"

#if defined(__x86_64__)

namespace larder {

LARDER_TARGET_AVX2 size_t EncodeStreamAvx2(const EncodeModel& model,
                                           std::span<const uint8_t> symbols,
                                           std::span<uint8_t> room) {
  const EncodeTable* tables = model.tables.data();
  const uint8_t* table_of_channel = model.table_of_channel.data();
  const size_t channels = model.table_of_channel.size();
  const uint8_t* symbol = symbols.data() + symbols.size();
  uint8_t* const end = room.data() + room.size();
  Avx2Encoder encoder;
  encoder.Begin(end);
  while (symbol != symbols.data()) {
    for (size_t channel = channels; channel > 0;) {
      channel -= kLanes;
      symbol -= kLanes;
      encoder.EncodeRow(tables, LoadBytesAvx2(table_of_channel + channel), LoadBytesAvx2(symbol));
    }
  }
  return static_cast<size_t>(end - encoder.Finish());
}

LARDER_TARGET_AVX2 bool DecodeStreamAvx2(const StreamToDecode& stream) {
  const DecodeTable* tables = stream.model.tables.data();
  const uint8_t* table_of_channel = stream.model.table_of_channel.data();
  const size_t channels = stream.model.table_of_channel.size();
  StreamTail tail;
  Avx2Decoder decoder;
  if (!decoder.Begin(stream.bytes.data(), stream.bytes.size(), tail)) return false;
  for (size_t i = 0; i < stream.symbols.size(); i += channels) {
    uint8_t* symbols = stream.symbols.data() + i;
    for (size_t channel = 0; channel < channels; channel += kLanes) {
      StoreBytesAvx2(decoder.DecodeRow(tables, TableOffsetsAvx2(table_of_channel + channel)),
                     symbols + channel);
    }
  }
  return decoder.Finish();
}

LARDER_TARGET_AVX2 SoundPair DecodePairAvx2(const StreamToDecode& first,
                                            const StreamToDecode& second) {
  const DecodeTable* first_tables = first.model.tables.data();
  const DecodeTable* second_tables = second.model.tables.data();
  const uint8_t* first_channels = first.model.table_of_channel.data();
  const uint8_t* second_channels = second.model.table_of_channel.data();
  const size_t channels = first.model.table_of_channel.size();
  StreamTail first_tail, second_tail;
  Avx2Decoder a, b;
  if (!a.Begin(first.bytes.data(), first.bytes.size(), first_tail) ||
      !b.Begin(second.bytes.data(), second.bytes.size(), second_tail)) {
    return {DecodeStreamAvx2(first), DecodeStreamAvx2(second)};
  }
  for (size_t i = 0; i < first.symbols.size(); i += channels) {
    uint8_t* first_symbols = first.symbols.data() + i;
    uint8_t* second_symbols = second.symbols.data() + i;
    for (size_t channel = 0; channel < channels; channel += kLanes) {
      const Avx2Row first_row =
          a.DecodeRow(first_tables, TableOffsetsAvx2(first_channels + channel));
      const Avx2Row second_row =
          b.DecodeRow(second_tables, TableOffsetsAvx2(second_channels + channel));
      StoreBytesAvx2(first_row, first_symbols + channel);
      StoreBytesAvx2(second_row, second_symbols + channel);
    }
  }
  return {a.Finish(), b.Finish()};
}

}  // namespace larder

#endif

#include "kernels/codec/rans/rans_avx2.h"

#include "kernels/codec/rans/rans_paths.h"

#if defined(__x86_64__)

namespace larder {

LARDER_TARGET_AVX2 size_t EncodeStreamAvx2(const EncodeModel& model,
                                           std::span<const uint8_t> symbols,
                                           std::span<uint8_t> room, const StreamSplits& splits) {
  const EncodeTable* tables = model.tables.data();
  const uint8_t* table_of_channel = model.table_of_channel.data();
  const size_t channels = model.table_of_channel.size();
  uint8_t* const end = room.data() + room.size();
  Avx2Encoder encoder;
  encoder.Begin(end);
  for (size_t part = splits.points.size() + 1; part-- > 0;) {
    const uint8_t* const begin = symbols.data() + part * splits.symbols_apart;
    const uint8_t* symbol = part == splits.points.size() ? symbols.data() + symbols.size()
                                                         : begin + splits.symbols_apart;
    while (symbol != begin) {
      for (size_t channel = channels; channel > 0;) {
        channel -= kLanes;
        symbol -= kLanes;
        encoder.EncodeRow(tables, LoadBytesAvx2(table_of_channel + channel), LoadBytesAvx2(symbol));
      }
    }
    if (part > 0) {
      StreamPoint& point = splits.points[part - 1];
      point.words = static_cast<uint32_t>(static_cast<size_t>(end - encoder.words()) / kWordBytes);
      encoder.StoreStates(point.states);
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
  decoder.BeginAt(stream.states, stream.bytes.data(), stream.bytes.size(), tail);
  for (size_t i = 0; i < stream.symbols.size(); i += channels) {
    uint8_t* symbols = stream.symbols.data() + i;
    for (size_t channel = 0; channel < channels; channel += kLanes) {
      StoreBytesAvx2(decoder.DecodeRow(tables, TableOffsetsAvx2(table_of_channel + channel)),
                     symbols + channel);
    }
  }
  return decoder.Finish(stream.end_states);
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
  a.BeginAt(first.states, first.bytes.data(), first.bytes.size(), first_tail);
  b.BeginAt(second.states, second.bytes.data(), second.bytes.size(), second_tail);
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
  return {a.Finish(first.end_states), b.Finish(second.end_states)};
}

}  // namespace larder

#endif

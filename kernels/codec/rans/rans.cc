#include "kernels/codec/rans/rans.h"

#include <algorithm>

#include "kernels/codec/rans/rans_lanes.h"
#include "kernels/codec/rans/rans_paths.h"

namespace larder {
namespace {

using Values = CpuLanes::PerLane<uint32_t>;

void LoadRow(const uint8_t* source, Values& values) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) values[lane] = source[lane];
}

size_t EncodeScalar(const EncodeModel& model, std::span<const uint8_t> symbols,
                    std::span<uint8_t> room, const StreamSplits& splits) {
  const size_t groups = model.table_of_channel.size() / kLanes;
  uint8_t* const end = room.data() + room.size();
  LaneEncoder<CpuLanes> encoder;
  encoder.Begin(end);
  size_t points = splits.points.size();
  for (size_t row = symbols.size() / kLanes; row-- > 0;) {
    Values table, symbol;
    LoadRow(&model.table_of_channel[row % groups * kLanes], table);
    LoadRow(&symbols[row * kLanes], symbol);
    encoder.EncodeRow(model.tables.data(), table, symbol);
    if (points > 0 && row * kLanes == points * splits.symbols_apart) {
      StreamPoint& point = splits.points[--points];
      point.words = static_cast<uint32_t>(static_cast<size_t>(end - encoder.words()) / kWordBytes);
      encoder.StoreStates(point.states);
    }
  }
  return static_cast<size_t>(end - encoder.Finish());
}

bool DecodeScalar(const StreamToDecode& stream) {
  const DecodeModel& model = stream.model;
  const size_t groups = model.table_of_channel.size() / kLanes;
  LaneDecoder<CpuLanes> decoder;
  decoder.BeginAt(stream.states, stream.bytes.data(), stream.bytes.size());
  for (size_t row = 0; row < stream.symbols.size() / kLanes; ++row) {
    Values table, symbol;
    LoadRow(&model.table_of_channel[row % groups * kLanes], table);
    decoder.DecodeRow(model.tables.data(), table, symbol);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      stream.symbols[row * kLanes + lane] = static_cast<uint8_t>(symbol[lane]);
    }
  }
  return stream.end_states == nullptr ? decoder.Finish() : decoder.IsAt(stream.end_states, 0);
}

bool DecodeOne([[maybe_unused]] CpuPath path, const StreamToDecode& stream) {
#if defined(__x86_64__)
  if (path == CpuPath::kAvx512) return DecodeStreamAvx512(stream);
  if (path == CpuPath::kAvx2) return DecodeStreamAvx2(stream);
#endif
  return DecodeScalar(stream);
}

SoundPair DecodePair([[maybe_unused]] CpuPath path, const StreamToDecode& first,
                     const StreamToDecode& second) {
#if defined(__x86_64__)
  if (path == CpuPath::kAvx512) return DecodePairAvx512(first, second);
  if (path == CpuPath::kAvx2) return DecodePairAvx2(first, second);
#endif
  return {DecodeScalar(first), DecodeScalar(second)};
}

// The stream with its states apart; false when it is none.
bool TakeStates(StreamToDecode& stream) {
  if (stream.states == nullptr) {
    if (stream.bytes.size() < kStateBytes) return false;
    stream.states = stream.bytes.data();
    stream.bytes = stream.bytes.subspan(kStateBytes);
  }
  return stream.bytes.size() % kWordBytes == 0;
}

bool HaveOneShape(const StreamToDecode& a, const StreamToDecode& b) {
  return a.symbols.size() == b.symbols.size() &&
         a.model.table_of_channel.size() == b.model.table_of_channel.size();
}

}  // namespace

size_t EncodeStream([[maybe_unused]] CpuPath path, const EncodeModel& model,
                    std::span<const uint8_t> symbols, std::span<uint8_t> room,
                    const StreamSplits& splits) {
#if defined(__x86_64__)
  if (path == CpuPath::kAvx512) return EncodeStreamAvx512(model, symbols, room, splits);
  if (path == CpuPath::kAvx2) return EncodeStreamAvx2(model, symbols, room, splits);
#endif
  return EncodeScalar(model, symbols, room, splits);
}

CodecStatus DecodeStreams(CpuPath path, std::span<const StreamToDecode> streams) {
  constexpr const char* kDamaged = "entropy-coded stream";
  for (size_t i = 0; i < streams.size();) {
    StreamToDecode first = streams[i];
    StreamToDecode second = streams[std::min(i + 1, streams.size() - 1)];
    if (!TakeStates(first)) return CorruptCodecBytes(kDamaged, i);
    if (i + 1 < streams.size() && TakeStates(second) && HaveOneShape(first, second)) {
      const SoundPair sound = DecodePair(path, first, second);
      if (!sound.first) return CorruptCodecBytes(kDamaged, i);
      if (!sound.second) return CorruptCodecBytes(kDamaged, i + 1);
      i += 2;
    } else {
      if (!DecodeOne(path, first)) return CorruptCodecBytes(kDamaged, i);
      i += 1;
    }
  }
  return {};
}

}  // namespace larder

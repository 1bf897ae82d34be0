#include "kernels/codec/rans/rans.h"

#include "kernels/codec/rans/rans_lanes.h"

namespace larder {
namespace {

using Values = CpuLanes::PerLane<uint32_t>;

void LoadRow(const uint8_t* source, Values& values) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) values[lane] = source[lane];
}

size_t EncodeScalar(const EncodeModel& model, std::span<const uint8_t> symbols,
                    std::span<uint8_t> room) {
  const size_t groups = model.table_of_channel.size() / kLanes;
  LaneEncoder<CpuLanes> encoder;
  encoder.Begin(room.data() + room.size());
  for (size_t row = symbols.size() / kLanes; row-- > 0;) {
    Values table, symbol;
    LoadRow(&model.table_of_channel[row % groups * kLanes], table);
    LoadRow(&symbols[row * kLanes], symbol);
    encoder.EncodeRow(model.tables.data(), table, symbol);
  }
  return static_cast<size_t>(room.data() + room.size() - encoder.Finish());
}

bool DecodeScalar(const StreamToDecode& stream) {
  const DecodeModel& model = stream.model;
  const size_t groups = model.table_of_channel.size() / kLanes;
  LaneDecoder<CpuLanes> decoder;
  if (!decoder.Begin(stream.bytes.data(), stream.bytes.size())) return false;
  for (size_t row = 0; row < stream.symbols.size() / kLanes; ++row) {
    Values table, symbol;
    LoadRow(&model.table_of_channel[row % groups * kLanes], table);
    decoder.DecodeRow(model.tables.data(), table, symbol);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      stream.symbols[row * kLanes + lane] = static_cast<uint8_t>(symbol[lane]);
    }
  }
  return decoder.Finish();
}

}  // namespace

size_t EncodeStream(CpuPath path, const EncodeModel& model, std::span<const uint8_t> symbols,
                    std::span<uint8_t> room) {
  (void)path;
  return EncodeScalar(model, symbols, room);
}

CodecStatus DecodeStreams(CpuPath path, std::span<const StreamToDecode> streams) {
  (void)path;
  for (size_t i = 0; i < streams.size(); ++i) {
    if (!DecodeScalar(streams[i])) return CorruptCodecBytes("entropy-coded stream", i);
  }
  return {};
}

}  // namespace larder

#include "kernels/codec/lossless/lossless_codec.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/lossless/lossless_paths.h"
#include "kernels/codec/rans/rans.h"

namespace larder {
namespace {

template <CodecElement kElement>
uint8_t ExponentOf(const uint8_t* elements, size_t index) {
  return static_cast<uint8_t>(
      FloatLayout<kElement>::Exponent(LoadElement<kElement>(elements, index)));
}

uint8_t LosslessExponent(CodecElement element, const uint8_t* elements, size_t index) {
  using enum CodecElement;
  switch (element) {
    case kBfloat16:
      return ExponentOf<kBfloat16>(elements, index);
    case kFloat16:
      return ExponentOf<kFloat16>(elements, index);
    case kFloat8E4M3:
      return ExponentOf<kFloat8E4M3>(elements, index);
    case kFloat8E5M2:
      return ExponentOf<kFloat8E5M2>(elements, index);
  }
  return 0;
}

size_t Rows(const PlaneGeometry& geometry) {
  return size_t{geometry.filled_tokens} * geometry.Groups();
}

// Memory for one head: what is not written to its place at once, and what is read again, because
// others may be able to write to where the run goes.
struct EncodeMemory {
  std::span<uint8_t> symbols;  // [row][lane]
  std::span<uint8_t> escapes;
  std::span<uint8_t> base;   // [channel]
  std::span<uint8_t> table;  // [channel]
  std::span<uint8_t> room;   // of the entropy coder

  EncodeMemory(const PlaneGeometry& geometry, CodecScratch& scratch) {
    const size_t elements = Rows(geometry) * kLanes;
    const size_t room_bytes = StreamBytesMax(Rows(geometry));
    const std::span<uint8_t> memory =
        scratch.Take(2 * elements + 2 * geometry.head_dim + room_bytes);
    symbols = memory.first(elements);
    escapes = memory.subspan(elements, elements);
    base = memory.subspan(2 * elements, geometry.head_dim);
    table = memory.subspan(2 * elements + geometry.head_dim, geometry.head_dim);
    room = memory.last(room_bytes);
  }
};

class LosslessCodec : public Codec {
 public:
  explicit LosslessCodec(CpuPath path) : path_(path), tables_(std::make_unique<LosslessTables>()) {
    BuildLosslessTables(tables_.get());
  }

  CodecId id() const override { return CodecId::kLossless; }
  uint32_t level_count() const override { return 1; }
  CodecStatus Check(const PlaneGeometry& geometry) const override { return geometry.Validate(); }
  size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t) const override {
    return DirectoryBytes(geometry.heads) + geometry.heads * LosslessHeadBytesMax(geometry);
  }
  size_t PlaneHeaderBytes(const PlaneGeometry&, uint32_t) const override { return 0; }

  CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                          CodecScratch& scratch) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
    RunWriter writer(levels[0].room, 0, geometry.heads);
    EncodeMemory memory(geometry, scratch);
    for (uint32_t head = 0; head < geometry.heads; ++head) {
      const uint8_t* source = elements.data() + head * geometry.HeadBytes();
      size_t bytes = EncodeHead(geometry, source, memory, writer.rest());
      if (bytes == 0) bytes = StoreHead(geometry, source, writer.rest());
      writer.EndHead(bytes);
    }
    levels[0].bytes = writer.bytes();
    return {};
  }

  CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<uint8_t> destination, CodecScratch&) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckDecode(geometry, levels, range, destination));
    const size_t head_bytes = destination.size() / (range.head_end - range.head_begin);
    const LosslessPath path = ChooseLosslessPath(path_, geometry.element);
    LosslessTask waiting;  // a coded head that another one will be decoded with
    bool is_waiting = false;
    LosslessChannels channels[2];
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      uint8_t* to = destination.data() + (head - range.head_begin) * head_bytes;
      LosslessTask task;
      LARDER_RETURN_IF_CODEC_ERROR(
          ParseLosslessHead(geometry, levels[0], head, channels[is_waiting ? 1 : 0], task.head));
      task.window = MakeWindow(geometry, range, to);
      ZeroUnfilled(geometry, range, to);
      if (task.window.token_begin >= task.window.token_end) continue;
      if (task.head.form == LosslessForm::kStored) {
        CopyStored(geometry, task);
      } else if (!is_waiting) {
        waiting = task;
        is_waiting = true;
      } else {
        is_waiting = false;
        if (!path.decode_pair(waiting, task, tables_->decode)) return Damaged(waiting);
      }
    }
    if (is_waiting && !path.decode(waiting, tables_->decode)) return Damaged(waiting);
    return {};
  }

 private:
  // Near the task's head: it may be the one that was decoded with it.
  static CodecStatus Damaged(const LosslessTask& task) {
    return CorruptCodecBytes("lossless head: symbols or escapes do not end where they should",
                             task.head.stream_at);
  }

  static LosslessWindow MakeWindow(const PlaneGeometry& geometry, const PlaneRange& range,
                                   uint8_t* destination) {
    return {geometry.Groups(),
            geometry.filled_tokens,
            range.token_begin,
            std::min(range.token_end, geometry.filled_tokens),
            {.base = destination, .token_stride = TokenBytes(geometry)}};
  }

  static size_t TokenBytes(const PlaneGeometry& geometry) {
    return geometry.head_dim * CodecElementBytes(geometry.element);
  }

  static void ZeroUnfilled(const PlaneGeometry& geometry, const PlaneRange& range, uint8_t* to) {
    const uint32_t begin = std::max(range.token_begin, geometry.filled_tokens);
    if (begin >= range.token_end) return;
    std::memset(to + (begin - range.token_begin) * TokenBytes(geometry), 0,
                (range.token_end - begin) * TokenBytes(geometry));
  }

  static void CopyStored(const PlaneGeometry& geometry, const LosslessTask& task) {
    const size_t token_bytes = TokenBytes(geometry);
    std::memcpy(task.window.to.base, task.head.elements + task.window.token_begin * token_bytes,
                (task.window.token_end - task.window.token_begin) * token_bytes);
  }

  static size_t StoreHead(const PlaneGeometry& geometry, const uint8_t* source,
                          std::span<uint8_t> room) {
    const size_t bytes = LosslessHeadBytesMax(geometry);
    std::memset(room.data(), 0, kLosslessHeaderBytes);
    std::memcpy(room.data() + kLosslessHeaderBytes, source, bytes - kLosslessHeaderBytes);
    return bytes;
  }

  // Returns 0 when the coded form is not shorter than the stored one.
  size_t EncodeHead(const PlaneGeometry& geometry, const uint8_t* source, EncodeMemory& memory,
                    std::span<uint8_t> room) const {
    const LosslessParts parts = LosslessPartsOf(geometry);
    const size_t limit = LosslessHeadBytesMax(geometry);
    if (parts.symbols_at >= limit) return 0;
    const LosslessSplit split = {.from = {.base = source, .token_stride = TokenBytes(geometry)},
                                 .groups = geometry.Groups(),
                                 .filled_tokens = geometry.filled_tokens,
                                 .base = memory.base.data(),
                                 .table = memory.table.data(),
                                 .low = room.data() + parts.low_at,
                                 .planes = room.data() + parts.planes_at,
                                 .symbols = memory.symbols.data()};
    const bool any_escape = ChooseLosslessPath(path_, geometry.element).split(split, *tables_);
    const size_t escapes = any_escape ? CollectEscapes(geometry, source, memory) : 0;
    const EncodeModel model = {tables_->encode, memory.table};
    const size_t symbol_bytes = EncodeStream(path_, model, memory.symbols, memory.room);
    const size_t end = parts.symbols_at + symbol_bytes + escapes;
    const size_t bytes = (end + 3) / 4 * 4;
    if (bytes >= limit) return 0;

    StoreU32(room.data() + kLosslessFormAt, static_cast<uint32_t>(LosslessForm::kCoded));
    StoreU32(room.data() + kLosslessSymbolBytesAt, static_cast<uint32_t>(symbol_bytes));
    StoreU32(room.data() + kLosslessEscapesAt, static_cast<uint32_t>(escapes));
    StoreU32(room.data() + kLosslessReservedAt, 0);
    std::memcpy(room.data() + parts.base_at, memory.base.data(), memory.base.size());
    std::memcpy(room.data() + parts.table_at, memory.table.data(), memory.table.size());
    uint8_t* at = room.data() + parts.symbols_at;
    std::memcpy(at, memory.room.data() + memory.room.size() - symbol_bytes, symbol_bytes);
    std::memcpy(at + symbol_bytes, memory.escapes.data(), escapes);
    std::memset(room.data() + end, 0, bytes - end);
    return bytes;
  }

  static size_t CollectEscapes(const PlaneGeometry& geometry, const uint8_t* source,
                               EncodeMemory& memory) {
    size_t count = 0;
    const uint8_t* const begin = memory.symbols.data();
    const uint8_t* const end = begin + memory.symbols.size();
    for (const uint8_t* symbol = begin;; ++symbol) {
      symbol = static_cast<const uint8_t*>(
          std::memchr(symbol, kEscape, static_cast<size_t>(end - symbol)));
      if (symbol == nullptr) return count;
      memory.escapes[count++] =
          LosslessExponent(geometry.element, source, static_cast<size_t>(symbol - begin));
    }
  }

  CpuPath path_;
  std::unique_ptr<LosslessTables> tables_;
};

}  // namespace

std::unique_ptr<Codec> MakeLosslessCodec(CpuPath path) {
  return std::make_unique<LosslessCodec>(path);
}

}  // namespace larder

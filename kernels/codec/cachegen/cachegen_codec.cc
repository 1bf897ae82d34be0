#include "kernels/codec/cachegen/cachegen_codec.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/finite_value.h"
#include "kernels/codec/rans/rans_lanes.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

constexpr uint32_t kFineLayersOfKeys = 10;
constexpr uint32_t kFineLayersOfValues = 2;
constexpr uint32_t kFine = 15;   // 32 bins in the open code, one of them unused
constexpr uint32_t kCoarse = 7;  // 16 bins
constexpr size_t kDistribution = 33;
constexpr size_t kDistributionBytes = kDistribution * sizeof(uint16_t);
constexpr uint32_t kDistributionScale = 65536 - (kDistribution - 1);

using Values = CpuLanes::PerLane<uint32_t>;

uint32_t LargestCode(const PlanePlace& place) {
  const uint32_t fine_layers =
      place.kind == PlaneKind::kValue ? kFineLayersOfValues : kFineLayersOfKeys;
  return place.layer < fine_layers ? kFine : kCoarse;
}

size_t HeaderBytes(const PlaneGeometry& geometry) {
  return (sizeof(uint32_t) + geometry.filled_tokens * sizeof(uint16_t) + 3) / 4 * 4;
}

size_t Symbols(const PlaneGeometry& geometry) {
  return size_t{geometry.filled_tokens} * geometry.head_dim;
}

float ElementAt(const PlaneGeometry& geometry, const uint8_t* elements, size_t index) {
  return FiniteElementToFloat(
      geometry.element,
      LoadElementBytes(geometry.element, elements + index * CodecElementBytes(geometry.element)));
}

// To nearest even, as the open code rounds.
uint32_t SymbolOf(float value, float factor, uint32_t largest_code) {
  const float limit = static_cast<float>(largest_code);
  float steps = value == 0.0f ? 0.0f : value * factor;
  steps = steps > limit ? limit : (steps < -limit ? -limit : steps);
  // Adding 1.5 x 2^23 leaves no bits for a fraction.
  constexpr float kNoFraction = 12582912.0f;
  const float rounded = (steps + kNoFraction) - kNoFraction;
  return static_cast<uint32_t>(static_cast<int32_t>(rounded) + static_cast<int32_t>(largest_code));
}

// The distribution of a channel's symbols, as it is stored.
void StoreDistribution(std::span<const uint32_t, kSymbolsMax> counts, uint32_t tokens,
                       uint8_t* bytes) {
  uint64_t below = 0;
  for (uint32_t i = 0; i < kDistribution; ++i) {
    const uint64_t share = (2 * below * kDistributionScale + tokens) / (2 * uint64_t{tokens});
    StoreU16(bytes + i * sizeof(uint16_t), static_cast<uint16_t>(share + i));
    if (i < kSymbolsMax) below += counts[i];
  }
}

// False when the stored distribution does not begin at 0, rise and end at 2^16.
bool TableOf(const uint8_t* distribution, SymbolTable& table) {
  std::array<uint32_t, kSymbolsMax> counts;
  uint32_t below = 0;
  if (LoadU16(distribution) != 0) return false;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    const uint32_t stored = LoadU16(distribution + (symbol + 1) * sizeof(uint16_t));
    const uint32_t next = symbol + 1 == kSymbolsMax && stored == 0 ? 65536 : stored;
    if (next <= below) return false;
    counts[symbol] = next - below - 1;
    below = next;
  }
  if (below != 65536) return false;
  table = NormaliseCounts(counts);
  return true;
}

// The channels' tables in scratch memory, which is aligned for them; EncodeTable or DecodeTable.
template <typename Table>
Table* TablesIn(std::span<uint8_t> memory) {
  return reinterpret_cast<Table*>(memory.data());
}

class CachegenCodec : public Codec {
 public:
  CodecId id() const override { return CodecId::kCachegen; }
  uint32_t level_count() const override { return 1; }
  CodecStatus Check(const PlaneGeometry& geometry) const override { return geometry.Validate(); }
  size_t LevelBytesMax(const PlaneGeometry& geometry, uint32_t) const override {
    return HeaderBytes(geometry) + DirectoryBytes(geometry.heads) +
           geometry.heads * (geometry.head_dim * kDistributionBytes +
                             StreamBytesMax(Symbols(geometry) / kLanes));
  }
  size_t PlaneHeaderBytes(const PlaneGeometry& geometry, uint32_t) const override {
    return HeaderBytes(geometry);
  }

  CodecStatus EncodePlane(const PlaneGeometry& geometry, const PlanePlace& place,
                          std::span<const uint8_t> elements, std::span<LevelOutput> levels,
                          CodecScratch& scratch) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckEncode(geometry, elements, levels));
    const size_t table_bytes = geometry.head_dim * sizeof(EncodeTable);
    const std::span<uint8_t> memory = scratch.Take(table_bytes + Symbols(geometry));
    EncodeTable* tables = TablesIn<EncodeTable>(memory.first(table_bytes));
    const std::span<uint8_t> symbols = memory.subspan(table_bytes);

    RunWriter writer(levels[0].room, HeaderBytes(geometry), geometry.heads);
    const uint32_t largest_code = LargestCode(place);
    float largest[kCodecTokensMax];
    WriteHeader(geometry, largest_code, elements.data(), largest, writer.header());
    for (uint32_t head = 0; head < geometry.heads; ++head) {
      Quantise(geometry, largest_code, largest, elements.data() + head * geometry.HeadBytes(),
               symbols);
      writer.EndHead(EncodeHead(geometry, symbols, tables, writer.rest()));
    }
    levels[0].bytes = writer.bytes();
    return {};
  }

  CodecStatus DecodePlane(const PlaneGeometry& geometry, const PlanePlace&,
                          std::span<const std::span<const uint8_t>> levels, const PlaneRange& range,
                          std::span<uint8_t> destination, CodecScratch& scratch) const override {
    LARDER_RETURN_IF_CODEC_ERROR(CheckDecode(geometry, levels, range, destination));
    const std::span<const uint8_t> run = levels[0];
    if (run.size() < HeaderBytes(geometry)) {
      return CorruptCodecBytes("cachegen run: shorter than its header", run.size());
    }
    const uint32_t largest_code = LoadU32(run.data());
    if (largest_code != kFine && largest_code != kCoarse) {
      return CorruptCodecBytes("cachegen run: its number of steps is unknown", 0);
    }
    float largest[kCodecTokensMax];
    LARDER_RETURN_IF_CODEC_ERROR(ReadLargest(geometry, run, largest));
    DecodeTable* tables =
        TablesIn<DecodeTable>(scratch.Take(geometry.head_dim * sizeof(DecodeTable)));
    const size_t head_bytes = destination.size() / (range.head_end - range.head_begin);
    for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
      std::span<const uint8_t> stream;
      LARDER_RETURN_IF_CODEC_ERROR(
          RunView::FindHead(run, HeaderBytes(geometry), geometry.heads, head, stream));
      const uint64_t at = static_cast<uint64_t>(stream.data() - run.data());
      if (!BuildTables(geometry, stream, tables)) {
        return CorruptCodecBytes("cachegen head: a channel's distribution", at);
      }
      const HeadToDecode task = {stream.subspan(geometry.head_dim * kDistributionBytes), tables,
                                 largest, largest_code,
                                 destination.data() + (head - range.head_begin) * head_bytes};
      if (!DecodeHead(geometry, range, task)) {
        return CorruptCodecBytes("cachegen head: its symbols do not end where they should", at);
      }
    }
    return {};
  }

 private:
  struct HeadToDecode {
    std::span<const uint8_t> symbols;
    const DecodeTable* tables;  // one a channel
    const float* largest;       // of each filled token
    uint32_t largest_code;
    uint8_t* to;
  };

  // Finds the largest magnitude of each token. What is written is never read again: others may be
  // able to write there.
  static void WriteHeader(const PlaneGeometry& geometry, uint32_t largest_code,
                          const uint8_t* elements, float* largest, std::span<uint8_t> header) {
    std::memset(header.data(), 0, header.size());
    StoreU32(header.data(), largest_code);
    for (uint32_t token = 0; token < geometry.filled_tokens; ++token) {
      largest[token] = 0;
      for (uint32_t head = 0; head < geometry.heads; ++head) {
        const size_t first = (size_t{head} * geometry.tokens + token) * geometry.head_dim;
        for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
          const float value = ElementAt(geometry, elements, first + channel);
          largest[token] = std::max(largest[token], value < 0 ? -value : value);
        }
      }
      StoreU16(header.data() + sizeof(uint32_t) + token * sizeof(uint16_t),
               static_cast<uint16_t>(ElementFromFloat(geometry.element, largest[token])));
    }
  }

  static void Quantise(const PlaneGeometry& geometry, uint32_t largest_code, const float* largest,
                       const uint8_t* elements, std::span<uint8_t> symbols) {
    for (uint32_t token = 0; token < geometry.filled_tokens; ++token) {
      const float factor =
          largest[token] == 0 ? 0 : static_cast<float>(largest_code) / largest[token];
      for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
        const size_t i = size_t{token} * geometry.head_dim + channel;
        symbols[i] =
            static_cast<uint8_t>(SymbolOf(ElementAt(geometry, elements, i), factor, largest_code));
      }
    }
  }

  // Returns the bytes of the head's stream.
  static size_t EncodeHead(const PlaneGeometry& geometry, std::span<const uint8_t> symbols,
                           EncodeTable* tables, std::span<uint8_t> room) {
    const uint32_t dim = geometry.head_dim;
    for (uint32_t channel = 0; channel < dim; ++channel) {
      std::array<uint32_t, kSymbolsMax> counts = {};
      for (size_t i = channel; i < symbols.size(); i += dim) ++counts[symbols[i]];
      uint8_t distribution[kDistributionBytes];
      StoreDistribution(counts, geometry.filled_tokens, distribution);
      std::memcpy(room.data() + channel * kDistributionBytes, distribution, kDistributionBytes);
      SymbolTable table;
      TableOf(distribution, table);
      BuildEncodeTable(table, &tables[channel]);
    }
    LaneEncoder<CpuLanes> encoder;
    uint8_t* const end = room.data() + room.size();
    encoder.Begin(end);
    for (size_t row = symbols.size() / kLanes; row-- > 0;) {
      Values table, symbol;
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        table[lane] = static_cast<uint32_t>(row * kLanes % dim) + lane;
        symbol[lane] = symbols[row * kLanes + lane];
      }
      encoder.EncodeRow(tables, table, symbol);
    }
    const uint8_t* stream = encoder.Finish();
    const size_t bytes = static_cast<size_t>(end - stream);
    std::memmove(room.data() + dim * kDistributionBytes, stream, bytes);
    return dim * kDistributionBytes + bytes;
  }

  static CodecStatus ReadLargest(const PlaneGeometry& geometry, std::span<const uint8_t> run,
                                 float* largest) {
    for (uint32_t token = 0; token < geometry.filled_tokens; ++token) {
      const size_t at = sizeof(uint32_t) + token * sizeof(uint16_t);
      const uint32_t bits = LoadU16(run.data() + at);
      const uint32_t magnitude_bits =
          static_cast<uint32_t>(8 * CodecElementBytes(geometry.element) - 1);
      largest[token] = ElementToFloat(geometry.element, bits);
      if (bits >> magnitude_bits != 0 || !IsFiniteFloat(largest[token])) {
        return CorruptCodecBytes("cachegen run: a token's largest magnitude", at);
      }
    }
    const size_t end = sizeof(uint32_t) + geometry.filled_tokens * sizeof(uint16_t);
    if (end < HeaderBytes(geometry) && LoadU16(run.data() + end) != 0) {
      return CorruptCodecBytes("cachegen run: padding is not zero", end);
    }
    return {};
  }

  static bool BuildTables(const PlaneGeometry& geometry, std::span<const uint8_t> stream,
                          DecodeTable* tables) {
    if (stream.size() < geometry.head_dim * kDistributionBytes) return false;
    for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
      SymbolTable table;
      if (!TableOf(stream.data() + channel * kDistributionBytes, table)) return false;
      BuildDecodeTable(table, &tables[channel]);
    }
    return true;
  }

  // Tokens of the range that are not filled become zero.
  static bool DecodeHead(const PlaneGeometry& geometry, const PlaneRange& range,
                         const HeadToDecode& head) {
    const size_t token_bytes = geometry.head_dim * CodecElementBytes(geometry.element);
    const uint32_t end = std::min(range.token_end, geometry.filled_tokens);
    LaneDecoder<CpuLanes> decoder;
    if (!decoder.Begin(head.symbols.data(), head.symbols.size())) return false;
    uint8_t* to = head.to;
    for (uint32_t token = 0; token < end; ++token) {
      for (uint32_t group = 0; group < geometry.Groups(); ++group) {
        Values table, symbol;
        for (uint32_t lane = 0; lane < kLanes; ++lane) table[lane] = group * kLanes + lane;
        decoder.DecodeRow(head.tables, table, symbol);
        if (token >= range.token_begin) {
          StoreRow(geometry.element, symbol, head.largest_code, head.largest[token],
                   to + group * kLanes * CodecElementBytes(geometry.element));
        }
      }
      if (token >= range.token_begin) to += token_bytes;
    }
    const uint8_t* const last = head.to + (range.token_end - range.token_begin) * token_bytes;
    std::memset(to, 0, static_cast<size_t>(last - to));
    return end < geometry.filled_tokens ? decoder.IsSound() : decoder.Finish();
  }

  static void StoreRow(CodecElement element, const Values& symbol, uint32_t largest_code,
                       float largest, uint8_t* to) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const int32_t steps = static_cast<int32_t>(symbol[lane]) - static_cast<int32_t>(largest_code);
      const float share = static_cast<float>(steps) / static_cast<float>(largest_code);
      StoreElementBytes(element, ElementFromFloat(element, MultiplyRounded(share, largest)), to);
      to += CodecElementBytes(element);
    }
  }
};

}  // namespace

std::unique_ptr<Codec> MakeCachegenCodec() { return std::make_unique<CachegenCodec>(); }

}  // namespace larder

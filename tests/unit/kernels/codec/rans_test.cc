// The entropy coder: its tables, its arithmetic, and that every path codes the same bytes.
#include "kernels/codec/rans/rans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "common/random.h"
#include "kernels/codec/rans/rans_avx2.h"
#include "kernels/codec/rans/rans_avx512.h"
#include "kernels/codec/rans/rans_lanes.h"

namespace larder {
namespace {

using ::testing::Each;
using ::testing::Lt;

using Counts = std::array<uint32_t, kSymbolsMax>;

// Counts of between one and all symbols, some rare and some frequent.
Counts RandomCounts(Random& random) {
  Counts counts = {};
  const uint64_t symbols = 1 + random.Below(kSymbolsMax);
  for (uint64_t i = 0; i < symbols; ++i) {
    counts[random.Below(kSymbolsMax)] = static_cast<uint32_t>(random.Next() >> random.Below(64));
  }
  return counts;
}

// The size of `counts` symbols in bits, coded by `table`.
double Bits(const Counts& counts, const SymbolTable& table) {
  double bits = 0;
  for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
    if (counts[symbol] == 0) continue;
    bits -= counts[symbol] * std::log2(table.frequency[symbol] / double{kProbabilityScale});
  }
  return bits;
}

TEST(SymbolTableTest, NormalisedCountsSumToTheScaleAndCodeWhatWasCounted) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Counts counts = RandomCounts(random);
    const SymbolTable table = NormaliseCounts(counts);
    ASSERT_TRUE(IsValid(table));
    const bool any = std::accumulate(counts.begin(), counts.end(), uint64_t{0}) > 0;
    for (uint32_t symbol = 0; any && symbol < kSymbolsMax; ++symbol) {
      ASSERT_EQ(table.frequency[symbol] > 0, counts[symbol] > 0) << symbol;
    }
  }
}

TEST(SymbolTableTest, NoNeighbouringTableCodesTheCountsInFewerBits) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    Counts counts = {};
    for (uint32_t& count : counts) count = static_cast<uint32_t>(random.Below(100000));
    const SymbolTable table = NormaliseCounts(counts);
    const double bits = Bits(counts, table);
    for (uint32_t from = 0; from < kSymbolsMax; ++from) {
      for (uint32_t to = 0; to < kSymbolsMax; ++to) {
        if (from == to || table.frequency[from] < 2) continue;
        SymbolTable other = table;
        --other.frequency[from];
        ++other.frequency[to];
        EXPECT_GE(Bits(counts, other), bits * (1 - 1e-4)) << from << " to " << to;
      }
    }
  }
}

TEST(SymbolTableTest, NoCountsMakeATableOfEqualFrequencies) {
  EXPECT_THAT(NormaliseCounts(Counts{}).frequency, Each(32));
}

TEST(SymbolTableTest, TheReciprocalDividesExactly) {
  SeededRandom random(1);
  for (uint32_t frequency = 1; frequency <= kProbabilityScale; ++frequency) {
    SymbolTable table;
    table.frequency[0] = static_cast<uint16_t>(frequency);
    table.frequency[1] = static_cast<uint16_t>(kProbabilityScale - frequency);
    EncodeTable encode;
    BuildEncodeTable(table, &encode);
    const uint64_t states = uint64_t{frequency} << (32 - kProbabilityBits);
    for (int i = 0; i < 400; ++i) {
      // Multiples of the frequency and what is just below them, where an inexact quotient shows.
      uint64_t state = random.Below(states) / frequency * frequency + (i % 2 ? frequency - 1 : 0);
      if (i < 2) state = states - 1 - (i == 0 ? 0 : frequency - 1);
      const uint32_t x = static_cast<uint32_t>(state);
      ASSERT_FALSE(IsStateFull(x, encode.entry[0]));
      ASSERT_EQ(StateAfterEncode(x, encode.entry[0], encode.reciprocal[0]),
                x / frequency * kProbabilityScale + x % frequency)
          << x << " / " << frequency;
    }
  }
}

// A stream's tables, channels and symbols.
struct Sample {
  std::vector<SymbolTable> tables;
  std::vector<DecodeTable> decode;
  std::vector<EncodeTable> encode;
  std::vector<uint8_t> table_of_channel;
  std::vector<uint8_t> symbols;

  Sample(Random& random, size_t table_count, size_t groups, size_t tokens)
      : decode(table_count), encode(table_count) {
    std::vector<std::vector<uint8_t>> draw(table_count);
    for (size_t table = 0; table < table_count; ++table) {
      tables.push_back(NormaliseCounts(RandomCounts(random)));
      BuildDecodeTable(tables[table], &decode[table]);
      BuildEncodeTable(tables[table], &encode[table]);
      for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
        const uint16_t frequency = tables[table].frequency[symbol];
        draw[table].insert(draw[table].end(), frequency, static_cast<uint8_t>(symbol));
      }
    }
    for (size_t i = 0; i < groups * kLanes; ++i) {
      table_of_channel.push_back(static_cast<uint8_t>(random.Below(table_count)));
    }
    for (size_t i = 0; i < tokens * groups * kLanes; ++i) {
      const uint8_t table = table_of_channel[i % (groups * kLanes)];
      symbols.push_back(draw[table][random.Below(kProbabilityScale)]);
    }
  }

  EncodeModel encode_model() const { return {encode, table_of_channel}; }
  DecodeModel decode_model() const { return {decode, table_of_channel}; }

  std::vector<uint8_t> Encode(CpuPath path) const {
    std::vector<uint8_t> room(StreamBytesMax(symbols.size() / kLanes));
    const size_t bytes = EncodeStream(path, encode_model(), symbols, room);
    return {room.end() - static_cast<ptrdiff_t>(bytes), room.end()};
  }
};

Sample RandomSample(Random& random) {
  return Sample(random, 1 + random.Below(64), 1 + random.Below(6), random.Below(80));
}

// Streams are copied to memory of their own size, so that AddressSanitizer sees a read beyond.
CodecStatus Decode(CpuPath path, const Sample& sample, const std::vector<uint8_t>& stream,
                   std::vector<uint8_t>& symbols) {
  symbols.assign(sample.symbols.size(), 255);
  const std::vector<uint8_t> copy(stream);
  const StreamToDecode one = {copy, sample.decode_model(), symbols};
  return DecodeStreams(path, {&one, 1});
}

class RansPathTest : public ::testing::TestWithParam<CpuPath> {};

INSTANTIATE_TEST_SUITE_P(All, RansPathTest, ::testing::ValuesIn(AvailableCpuPaths()),
                         [](const auto& path) { return std::string(CpuPathName(path.param)); });

TEST_P(RansPathTest, EncodesTheBytesOfTheReference) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample = RandomSample(random);
    ASSERT_EQ(sample.Encode(GetParam()), sample.Encode(CpuPath::kScalar));
  }
}

TEST_P(RansPathTest, DecodesWhatWasEncoded) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample = RandomSample(random);
    std::vector<uint8_t> symbols;
    ASSERT_TRUE(Decode(GetParam(), sample, sample.Encode(CpuPath::kScalar), symbols).ok());
    ASSERT_EQ(symbols, sample.symbols);
  }
}

TEST_P(RansPathTest, ManyStreamsOfEqualAndOfOtherShapeDecodeTogether) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    std::vector<Sample> samples;
    std::vector<std::vector<uint8_t>> encoded, symbols;
    for (uint64_t i = random.Below(9); i-- > 0;) {
      samples.emplace_back(random, 3, 2, random.Below(4) == 0 ? random.Below(50) : 20);
      encoded.push_back(samples.back().Encode(CpuPath::kScalar));
      symbols.emplace_back(samples.back().symbols.size());
    }
    std::vector<StreamToDecode> streams;
    for (size_t i = 0; i < samples.size(); ++i) {
      streams.push_back({encoded[i], samples[i].decode_model(), symbols[i]});
    }
    ASSERT_TRUE(DecodeStreams(GetParam(), streams).ok());
    for (size_t i = 0; i < samples.size(); ++i) ASSERT_EQ(symbols[i], samples[i].symbols) << i;

    if (streams.empty()) continue;
    const size_t damaged = random.Below(streams.size());
    encoded[damaged][random.Below(kStateBytes)] ^= 1;
    const CodecStatus status = DecodeStreams(GetParam(), streams);
    EXPECT_EQ(status.code, CodecCode::kCorrupt);
    EXPECT_EQ(status.offset, damaged);
  }
}

TEST_P(RansPathTest, TheSizeIsNearTheEntropy) {
  SeededRandom random(7);
  const Sample sample(random, 8, 4, 256);
  double bits = 0;
  for (size_t i = 0; i < sample.symbols.size(); ++i) {
    const SymbolTable& table =
        sample.tables[sample.table_of_channel[i % sample.table_of_channel.size()]];
    bits -= std::log2(table.frequency[sample.symbols[i]] / double{kProbabilityScale});
  }
  const double coded = 8.0 * static_cast<double>(sample.Encode(GetParam()).size() - kStateBytes);
  EXPECT_LT(coded, bits * 1.001 + 32);
}

TEST_P(RansPathTest, EveryTruncationIsFound) {
  SeededRandom random(3);
  const Sample sample(random, 4, 2, 40);
  const std::vector<uint8_t> stream = sample.Encode(CpuPath::kScalar);
  std::vector<uint8_t> symbols;
  for (size_t size = 0; size < stream.size(); ++size) {
    const std::vector<uint8_t> part(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(size));
    ASSERT_EQ(Decode(GetParam(), sample, part, symbols).code, CodecCode::kCorrupt) << size;
  }
}

TEST_P(RansPathTest, WordsThatAreLeftAreFound) {
  SeededRandom random(3);
  const Sample sample(random, 4, 2, 40);
  std::vector<uint8_t> stream = sample.Encode(CpuPath::kScalar);
  std::vector<uint8_t> symbols;
  for (int extra = 0; extra < 200; ++extra) {
    stream.push_back(0);
    ASSERT_EQ(Decode(GetParam(), sample, stream, symbols).code, CodecCode::kCorrupt) << extra;
  }
}

TEST_P(RansPathTest, ChangedBytesGiveTheVerdictAndSymbolsOfTheReference) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, 4, 1 + random.Below(3), 1 + random.Below(30));
    std::vector<uint8_t> stream = sample.Encode(CpuPath::kScalar);
    for (uint64_t i = random.Below(4); i-- > 0;) {
      stream[random.Below(stream.size())] ^= static_cast<uint8_t>(1 << random.Below(8));
    }
    if (random.Below(8) == 0) {
      for (uint8_t& byte : stream) byte = static_cast<uint8_t>(random.Next());
    }
    std::vector<uint8_t> expected, symbols;
    const CodecStatus reference = Decode(CpuPath::kScalar, sample, stream, expected);
    ASSERT_EQ(Decode(GetParam(), sample, stream, symbols).code, reference.code);
    if (reference.ok()) {
      ASSERT_EQ(symbols, expected);
    }
    ASSERT_THAT(symbols, Each(Lt(kSymbolsMax)));
  }
}

// Rows in which each lane has a table of its own, another one in every row.
struct FreeRows {
  Sample sample;
  std::vector<uint8_t> tables;  // [row][lane]

  explicit FreeRows(Random& random, size_t rows)
      : sample(random, 8, rows, 1), tables(sample.table_of_channel) {}

  size_t rows() const { return tables.size() / kLanes; }

  CpuLanes::PerLane<uint32_t> Row(const std::vector<uint8_t>& bytes, size_t row) const {
    CpuLanes::PerLane<uint32_t> values;
    for (uint32_t lane = 0; lane < kLanes; ++lane) values[lane] = bytes[row * kLanes + lane];
    return values;
  }

  std::vector<uint8_t> Encode() const {
    std::vector<uint8_t> room(StreamBytesMax(rows()));
    LaneEncoder<CpuLanes> encoder;
    encoder.Begin(room.data() + room.size());
    for (size_t row = rows(); row-- > 0;) {
      encoder.EncodeRow(sample.encode.data(), Row(tables, row), Row(sample.symbols, row));
    }
    return {room.begin() + (encoder.Finish() - room.data()), room.end()};
  }
};

bool DecodeScalarRows(const FreeRows& rows, const std::vector<uint8_t>& stream, uint8_t* symbols) {
  LaneDecoder<CpuLanes> decoder;
  if (!decoder.Begin(stream.data(), stream.size())) return false;
  for (size_t row = 0; row < rows.rows(); ++row) {
    CpuLanes::PerLane<uint32_t> symbol;
    decoder.DecodeRow(rows.sample.decode.data(), rows.Row(rows.tables, row), symbol);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      symbols[row * kLanes + lane] = static_cast<uint8_t>(symbol[lane]);
    }
  }
  return decoder.Finish();
}

#if defined(__x86_64__)

LARDER_TARGET_AVX2 bool DecodeAvx2Rows(const FreeRows& rows, const std::vector<uint8_t>& stream,
                                       uint8_t* symbols) {
  StreamTail tail;
  Avx2Decoder decoder;
  if (!decoder.Begin(stream.data(), stream.size(), tail)) return false;
  for (size_t row = 0; row < rows.rows(); ++row) {
    StoreBytesAvx2(
        decoder.DecodeRow(rows.sample.decode.data(), TableOffsetsAvx2(&rows.tables[row * kLanes])),
        symbols + row * kLanes);
  }
  return decoder.Finish();
}

LARDER_TARGET_AVX512 bool DecodeAvx512Rows(const FreeRows& rows, const std::vector<uint8_t>& stream,
                                           uint8_t* symbols) {
  StreamTail tail;
  Avx512Decoder decoder;
  if (!decoder.Begin(stream.data(), stream.size(), tail)) return false;
  for (size_t row = 0; row < rows.rows(); ++row) {
    StoreBytesAvx512(decoder.DecodeRow(rows.sample.decode.data(),
                                       TableOffsetsAvx512(&rows.tables[row * kLanes])),
                     symbols + row * kLanes);
  }
  return decoder.Finish();
}

#endif

TEST_P(RansPathTest, AStepTakesAnyTableForEachLaneAndRow) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const FreeRows rows(random, 1 + random.Below(60));
    const std::vector<uint8_t> stream = rows.Encode();
    std::vector<uint8_t> symbols(rows.sample.symbols.size());
    bool sound = false;
    switch (GetParam()) {
      case CpuPath::kScalar:
        sound = DecodeScalarRows(rows, stream, symbols.data());
        break;
#if defined(__x86_64__)
      case CpuPath::kAvx2:
        sound = DecodeAvx2Rows(rows, stream, symbols.data());
        break;
      case CpuPath::kAvx512:
        sound = DecodeAvx512Rows(rows, stream, symbols.data());
        break;
#endif
      default:
        FAIL() << "a path without steps";
    }
    ASSERT_TRUE(sound);
    ASSERT_EQ(symbols, rows.sample.symbols);
  }
}

}  // namespace
}  // namespace larder

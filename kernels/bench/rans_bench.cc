// Speed of the entropy coder alone, one thread, as one JSON object: what each path encodes, and
// decodes one stream after the other or in pairs, with one table and with 64 that the channels
// share. GB/s count a symbol as the two bytes of a bfloat16. Time is the process's own, so that
// other work on the machine counts little; of several runs the fastest counts.
//
//   rans_bench [SECONDS]     at least so long for each figure; 0.3 when not given
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/codec/rans/rans.h"

namespace larder {
namespace {

// The heads of a plane of Llama-3-8B's shape.
constexpr size_t kStreams = 8;
constexpr size_t kChannels = 128;
constexpr size_t kTokens = 256;
constexpr size_t kSymbols = kChannels * kTokens;

double ProcessSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Streams of Gaussian symbols; the tables' widths are spread evenly.
struct Plane {
  std::vector<DecodeTable> decode;
  std::vector<EncodeTable> encode;
  std::vector<std::vector<uint8_t>> table_of_channel, symbols, room, decoded;
  std::vector<StreamToDecode> streams;

  explicit Plane(size_t tables) : decode(tables), encode(tables) {
    std::mt19937 random(1);
    std::vector<std::vector<uint8_t>> draws(tables);
    for (size_t table = 0; table < tables; ++table) {
      const double deviation = 0.8 + 1.3 * static_cast<double>(table) / 64;
      std::array<uint32_t, kSymbolsMax> counts = {};
      for (int symbol = 0; symbol < 31; ++symbol) {
        const double x = (symbol - 15) / deviation;
        counts[static_cast<size_t>(symbol)] = static_cast<uint32_t>(1e6 * std::exp(-x * x / 2));
      }
      const SymbolTable frequencies = NormaliseCounts(counts);
      BuildDecodeTable(frequencies, &decode[table]);
      BuildEncodeTable(frequencies, &encode[table]);
      for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
        draws[table].insert(draws[table].end(), frequencies.frequency[symbol],
                            static_cast<uint8_t>(symbol));
      }
    }
    for (size_t stream = 0; stream < kStreams; ++stream) {
      std::vector<uint8_t>& channels = table_of_channel.emplace_back();
      for (size_t i = 0; i < kChannels; ++i) {
        channels.push_back(static_cast<uint8_t>(random() % tables));
      }
      std::vector<uint8_t>& drawn = symbols.emplace_back();
      for (size_t i = 0; i < kSymbols; ++i) {
        drawn.push_back(draws[channels[i % kChannels]][random() % kProbabilityScale]);
      }
      room.emplace_back(StreamBytesMax(kSymbols / kLanes));
      decoded.emplace_back(kSymbols);
    }
    streams.resize(kStreams);
  }

  bool Encode(CpuPath path) {
    for (size_t i = 0; i < kStreams; ++i) {
      const size_t bytes = EncodeStream(path, {encode, table_of_channel[i]}, symbols[i], room[i]);
      streams[i] = {std::span(room[i]).last(bytes), {decode, table_of_channel[i]}, decoded[i]};
    }
    return true;
  }
  bool DecodeOneByOne(CpuPath path) const {
    bool sound = true;
    for (const StreamToDecode& stream : streams) {
      sound = DecodeStreams(path, {&stream, 1}).ok() && sound;
    }
    return sound;
  }
  bool DecodeInPairs(CpuPath path) const { return DecodeStreams(path, streams).ok(); }

  double BitsPerSymbol() const {
    size_t bytes = 0;
    for (const StreamToDecode& stream : streams) bytes += stream.bytes.size();
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(kStreams * kSymbols);
  }
};

// GB/s of the fastest run of `work`, 0 if one failed.
template <typename Work>
double Rate(double seconds, Work work) {
  double fastest = 1e9;
  for (const double begin = ProcessSeconds(); ProcessSeconds() < begin + seconds;) {
    const double start = ProcessSeconds();
    if (!work()) return 0;
    fastest = std::min(fastest, ProcessSeconds() - start);
  }
  return 2.0 * kStreams * kSymbols / fastest / 1e9;
}

int Run(double seconds) {
  bool right = true;
  std::printf("{");
  for (const size_t tables : {size_t{1}, size_t{64}}) {
    Plane plane(tables);
    for (const CpuPath path : AvailableCpuPaths()) {
      const double encode = Rate(seconds, [&] { return plane.Encode(path); });
      const double single = Rate(seconds, [&] { return plane.DecodeOneByOne(path); });
      const double pairs = Rate(seconds, [&] { return plane.DecodeInPairs(path); });
      right = right && single > 0 && pairs > 0 && plane.decoded == plane.symbols;
      std::printf(
          "\"%s_%zu_tables\": {\"encode_gb_per_s\": %.2f, \"decode_gb_per_s\": %.2f, "
          "\"decode_pairs_gb_per_s\": %.2f}, ",
          CpuPathName(path), tables, encode, single, pairs);
    }
    std::printf("\"bits_per_symbol_%zu_tables\": %.3f, ", tables, plane.BitsPerSymbol());
  }
  std::printf("\"right\": %s}\n", right ? "true" : "false");
  return right ? 0 : 1;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.3;
  return larder::Run(seconds);
}

#include "kernels/codec/larder/warp_profile.h"

#include <cstring>

namespace larder {
namespace {

constexpr size_t kAlignment = 64;

// Puts arrays one after the other; without memory it only measures.
class BlockWriter {
 public:
  BlockWriter(uint8_t* block, const void* address)
      : block_(block), address_(static_cast<const uint8_t*>(address)) {}

  // Returns where the array is for the kernels. `tight` arrays follow the one before without a gap.
  template <typename T>
  const T* Put(const T* values, size_t count, bool tight = false) {
    if (!tight) {
      bytes_ = (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
    }
    const size_t at = bytes_;
    bytes_ += count * sizeof(T);
    if (block_ == nullptr) {
      return nullptr;
    }
    if (count != 0) {
      std::memcpy(block_ + at, values, count * sizeof(T));
    }
    return reinterpret_cast<const T*>(address_ + at);
  }

  size_t bytes() const { return (bytes_ + kAlignment - 1) / kAlignment * kAlignment; }

 private:
  uint8_t* block_;
  const uint8_t* address_;
  size_t bytes_ = 0;
};

void PutTables(const TableFamily& family, BlockWriter& writer, WarpProfile* view) {
  std::vector<uint32_t> ranges;
  std::vector<uint8_t> symbols;
  std::vector<uint8_t> symbol_max;
  for (const DecodeTable& table : family.base_decode()) {
    std::array<uint32_t, kSymbolsMax> range = {};
    for (uint32_t slot = 0; slot < kProbabilityScale; ++slot) {
      const uint32_t symbol = DecodeEntrySymbol(table.entry[slot]);
      // The frequency is the number of a symbol's slots, its start the first of them.
      range[symbol] = range[symbol] == 0 ? slot << 16 | 1 : range[symbol] + 1;
      symbols.push_back(static_cast<uint8_t>(symbol));
    }
    ranges.insert(ranges.end(), range.begin(), range.end());
  }
  std::vector<int16_t> costs;
  for (uint32_t table = 0; table < family.size(); ++table) {
    symbol_max.push_back(family.table(table).symbol_max);
    costs.insert(costs.end(), family.costs(table).begin(), family.costs(table).end());
  }
  view->ranges = writer.Put(ranges.data(), ranges.size());
  writer.Put(symbols.data(), symbols.size(), /*tight=*/true);
  view->encode_tables = writer.Put(family.base_encode().data(), family.size());
  view->symbol_max = writer.Put(symbol_max.data(), symbol_max.size());
  view->costs = writer.Put(costs.data(), costs.size());
}

WarpProfile Write(const LarderProfile& profile, BlockWriter& writer) {
  const ProfileContents& contents = profile.contents();
  WarpProfile view;
  view.id = profile.id();
  view.layers = contents.layers;
  view.planes_per_layer = contents.planes_per_layer;
  view.heads = contents.heads;
  view.head_dim = contents.head_dim;
  view.table_count = profile.family().size();
  view.rotation = profile.rotation().shape();
  PutTables(profile.family(), writer, &view);
  view.turns = writer.Put(profile.rotation().turns().data(), view.rotation.pairs);
  std::vector<CosineSine> within_chunk;
  for (size_t i = 0; i < profile.rotation().cosines().size(); ++i) {
    within_chunk.push_back({profile.rotation().cosines()[i], profile.rotation().sines()[i]});
  }
  view.within_chunk = writer.Put(within_chunk.data(), within_chunk.size());
  std::vector<uint32_t> channels(contents.steps.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    channels[i] = PackChannel(contents.steps[i], contents.channel_tables[i], contents.means[i]);
  }
  view.channels = writer.Put(channels.data(), channels.size());
  return view;
}

}  // namespace

size_t WarpProfileBytes(const LarderProfile& profile) {
  BlockWriter measure(nullptr, nullptr);
  Write(profile, measure);
  return measure.bytes();
}

WarpProfile WriteWarpProfile(const LarderProfile& profile, std::span<uint8_t> block,
                             const void* address) {
  BlockWriter writer(block.data(), address);
  return Write(profile, writer);
}

}  // namespace larder

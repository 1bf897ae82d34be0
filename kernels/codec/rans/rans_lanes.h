// The entropy coder's rows, written once for a warp of a GPU and for a CPU that runs the lanes in
// order; with CpuLanes this is the specification that every other implementation must equal.
//
// Not thread-safe; neither class owns the memory it is given. Both are "steps" that fused kernels
// put into their own loops: symbols need not go through memory, and each lane of each row may use
// another table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/lanes.h"
#include "kernels/codec/rans/rans_format.h"
#include "kernels/codec/rans/symbol_table.h"

namespace larder {

template <class Lanes>
class LaneDecoder {
 public:
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  // False when the bytes are too few to be a stream; the decoder must not be used then.
  LARDER_HD bool Begin(const uint8_t* stream, size_t bytes) {
    if (bytes < kStateBytes || bytes % kWordBytes != 0) return false;
    BeginAt(stream, stream + kStateBytes, bytes - kStateBytes);
    return true;
  }

  // Begins between two rows, where the states are these and the next rows have `bytes` of words.
  LARDER_HD void BeginAt(const uint8_t* states, const uint8_t* words, size_t bytes) {
    Lanes::ForEach([&](uint32_t lane) { state_[lane] = LoadState(states, lane); });
    next_ = words;
    words_left_ = static_cast<uint32_t>(bytes / kWordBytes);
    overrun_ = false;
  }

  // The next symbol of each lane, from table `table[lane]` of `tables`. After the stream's end the
  // symbols mean nothing, and Finish says so.
  LARDER_HD void DecodeRow(const DecodeTable* tables, const PerLane<uint32_t>& table,
                           PerLane<uint32_t>& symbol) {
    DecodeRowBy([&](uint32_t lane, uint32_t slot) { return tables[table[lane]].entry[slot]; },
                symbol);
  }

  // The same with entry_of(lane, slot) for the tables' entries, for kernels that keep them in
  // another form.
  template <typename EntryOf>
  LARDER_HD void DecodeRowBy(const EntryOf& entry_of, PerLane<uint32_t>& symbol) {
    Lanes::ForEach([&](uint32_t lane) {
      const uint32_t state = state_[lane];
      const uint32_t entry = entry_of(lane, state % kProbabilityScale);
      symbol[lane] = DecodeEntrySymbol(entry);
      state_[lane] = StateAfterDecode(state, entry);
    });
    const uint32_t low = Lanes::Ballot([&](uint32_t lane) { return state_[lane] < kStateLow; });
    const uint32_t words = Lanes::CountSet(low);
    if (words > words_left_) {
      overrun_ = true;
      return;
    }
    Lanes::ForEachSet(low, [&](uint32_t lane, uint32_t rank) {
      state_[lane] = state_[lane] << 16 | LoadWord(next_ + rank * kWordBytes);
    });
    next_ += words * kWordBytes;
    words_left_ -= words;
  }

  // Whether every row so far was there.
  LARDER_HD bool IsSound() const { return !overrun_; }

  // Whether every row was there and these are the states, with so many words left.
  LARDER_HD bool IsAt(const uint8_t* states, uint32_t words_left) const {
    const uint32_t wrong =
        Lanes::Ballot([&](uint32_t lane) { return state_[lane] != LoadState(states, lane); });
    return !overrun_ && words_left_ == words_left && wrong == 0;
  }

  // Whether every row was there and the stream ends here as an encoder began it.
  LARDER_HD bool Finish() const {
    const uint32_t wrong = Lanes::Ballot([&](uint32_t lane) { return state_[lane] != kStateLow; });
    return !overrun_ && words_left_ == 0 && wrong == 0;
  }

 private:
  LARDER_HD static uint32_t LoadState(const uint8_t* states, uint32_t lane) {
    const uint8_t* const state = states + lane * sizeof(uint32_t);
    return LoadWord(state) | LoadWord(state + kWordBytes) << 16;
  }

  PerLane<uint32_t> state_;
  const uint8_t* next_ = nullptr;
  uint32_t words_left_ = 0;
  bool overrun_ = false;
};

// Encodes rows from the last to the first.
template <class Lanes>
class LaneEncoder {
 public:
  template <typename T>
  using PerLane = typename Lanes::template PerLane<T>;

  // The stream will end at `end`. REQUIRES: StreamBytesMax(rows) bytes before it.
  LARDER_HD void Begin(uint8_t* end) {
    Lanes::ForEach([&](uint32_t lane) { state_[lane] = kStateLow; });
    next_ = end;
  }

  // REQUIRES: every symbol has a frequency in its table.
  LARDER_HD void EncodeRow(const EncodeTable* tables, const PerLane<uint32_t>& table,
                           const PerLane<uint32_t>& symbol) {
    PerLane<uint32_t> entry;
    Lanes::ForEach([&](uint32_t lane) { entry[lane] = tables[table[lane]].entry[symbol[lane]]; });
    const uint32_t full =
        Lanes::Ballot([&](uint32_t lane) { return IsStateFull(state_[lane], entry[lane]); });
    next_ -= Lanes::CountSet(full) * kWordBytes;
    Lanes::ForEachSet(full, [&](uint32_t lane, uint32_t rank) {
      StoreWord(next_ + rank * kWordBytes, state_[lane] & 0xffffu);
      state_[lane] >>= 16;
    });
    Lanes::ForEach([&](uint32_t lane) {
      state_[lane] =
          StateAfterEncode(state_[lane], entry[lane], tables[table[lane]].reciprocal[symbol[lane]]);
    });
  }

  // Where the words begin of the rows so far.
  LARDER_HD const uint8_t* words() const { return next_; }

  // What a decoder of those rows begins with: kStateBytes, at an even address on a GPU.
  LARDER_HD void StoreStates(uint8_t* states) const {
    Lanes::ForEach([&](uint32_t lane) {
      uint8_t* const state = states + lane * sizeof(uint32_t);
      StoreWord(state, state_[lane] & 0xffffu);
      StoreWord(state + kWordBytes, state_[lane] >> 16);
    });
  }

  // Writes the states; returns where the stream begins.
  LARDER_HD uint8_t* Finish() {
    next_ -= kStateBytes;
    StoreStates(next_);
    return next_;
  }

 private:
  PerLane<uint32_t> state_;
  uint8_t* next_ = nullptr;
};

}  // namespace larder

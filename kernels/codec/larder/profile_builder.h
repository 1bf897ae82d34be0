// Makes a profile from samples of a model's KV cache, in two passes: spreads and means, then, once
// the steps are set, the tables.
//
// Not thread-safe. Offline work: floating point as it comes, and memory for the whole model.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/larder/head_symbols.h"
#include "kernels/codec/larder/profile.h"

namespace larder {

class ProfileBuilder {
 public:
  // The counts, rotation and turns of `contents` are the model's; its tables are the family, the
  // default one if there are none; steps, channel tables and means are filled in here.
  explicit ProfileBuilder(ProfileContents contents);

  // OK when such planes are the model's.
  CodecStatus Check(const PlaneGeometry& geometry, const PlanePlace& place) const;

  // First pass. REQUIRES: Check is OK, `elements` is the plane.
  void AddValues(const PlaneGeometry& geometry, const PlanePlace& place,
                 std::span<const uint8_t> elements);

  // Root mean square over a head's channels of their deviations, in AddValues so far.
  double Deviation(uint32_t layer, PlaneKind kind, uint32_t head) const;
  double ChannelDeviation(uint32_t layer, PlaneKind kind, uint32_t head, uint32_t channel) const;

  // The base quantiser's step of a channel, rounded to the nearest that a profile can say.
  void SetStep(uint32_t layer, PlaneKind kind, uint32_t head, uint32_t channel, double step);
  // Ends the first pass: means of the channels in units of their steps.
  void SetMeans();

  // Second pass, after SetMeans. REQUIRES: as AddValues.
  void AddSymbols(const PlaneGeometry& geometry, const PlanePlace& place,
                  std::span<const uint8_t> elements);
  // The tables that code those symbols in the fewest bits; what remains is the profile.
  const ProfileContents& Finish();

 private:
  struct Channel {
    double sum = 0;
    double squares = 0;
    uint64_t count = 0;
    std::array<uint64_t, kBaseSymbolMax + 1> symbols = {};
  };

  size_t FirstChannel(uint32_t layer, PlaneKind kind, uint32_t head) const;
  HeadShape ShapeOf(const PlaneGeometry& geometry, const PlanePlace& place) const;

  ProfileContents contents_;
  TableFamily family_;
  Rotation rotation_;
  std::vector<Channel> channels_;
};

}  // namespace larder

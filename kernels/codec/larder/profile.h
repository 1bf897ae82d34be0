// A model's profile: its distributions, its rotation, and for each layer, plane and head a step, a
// table and a mean a channel. A file of docs/formats/codec_larder.md, named by a hash of its bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/head_parameters.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/larder/rotation.h"
#include "kernels/codec/larder/table_family.h"

namespace larder {

// What a profile file says, for those who write one. Vectors of channels are in the order layer,
// plane, head, channel.
struct ProfileContents {
  uint32_t layers = 0;
  uint32_t planes_per_layer = 0;
  uint32_t heads = 0;
  uint32_t head_dim = 0;
  RotationShape rotation;
  std::vector<uint64_t> turns;  // a pair, in units of 2^-64 turns a token
  std::vector<ProfileTable> tables;
  std::vector<uint8_t> steps;
  std::vector<uint8_t> channel_tables;
  std::vector<int16_t> means;  // in units of kMeanUnit fine steps
};

// REQUIRES: the vectors have the sizes that the counts say.
std::vector<uint8_t> SerializeProfile(const ProfileContents& contents);

// Immutable, thread-safe.
class LarderProfile {
 public:
  // The built-in one for unknown models: the default family, no rotation, no parameters.
  static std::shared_ptr<const LarderProfile> Generic();

  // Reads hostile bytes. `id` is what encoders write into containers: not zero, and by convention
  // a hash of the bytes, so that a decoder with another profile refuses.
  static CodecStatus Parse(std::span<const uint8_t> bytes, const ProfileId& id,
                           std::shared_ptr<const LarderProfile>& profile);

  const ProfileId& id() const { return id_; }
  const ProfileContents& contents() const { return contents_; }
  const TableFamily& family() const { return family_; }
  const Rotation& rotation() const { return rotation_; }
  // 0: any.
  uint32_t head_dim() const { return contents_.head_dim; }
  // False: parameters stand in the stream of each head.
  bool HasParameters() const { return contents_.layers != 0; }

  // OK when the planes of `place` and `geometry` are within the profile.
  CodecStatus Check(const PlaneGeometry& geometry, const PlanePlace& place) const;

  // Parameters of the plane's head `head`. REQUIRES: HasParameters(), Check is OK.
  void FillParameters(const PlanePlace& place, uint32_t head, HeadParameters* parameters) const;

 private:
  LarderProfile() = default;

  ProfileId id_ = {};
  ProfileContents contents_;
  TableFamily family_;
  Rotation rotation_;
};

}  // namespace larder

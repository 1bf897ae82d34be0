#include "kernels/codec/larder/profile.h"

#include <cstring>

#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

template <typename T>
void Append(const T* values, size_t count, std::vector<uint8_t>& bytes) {
  const size_t begin = bytes.size();
  bytes.resize(begin + count * sizeof(T));
  if (count != 0) {
    std::memcpy(bytes.data() + begin, values, count * sizeof(T));
  }
}

CodecStatus CheckHeader(const ProfileHeader& header) {
  if (header.magic != kProfileMagic) {
    return CorruptCodecBytes("profile: magic", 0);
  }
  if (header.version != kProfileVersion) {
    return CorruptCodecBytes("profile: version", offsetof(ProfileHeader, version));
  }
  if (header.layers > kProfileLayersMax) {
    return CorruptCodecBytes("profile: layers over 1024", offsetof(ProfileHeader, layers));
  }
  if (header.layers != 0 && (header.planes_per_layer == 0 || header.planes_per_layer > 2)) {
    return CorruptCodecBytes("profile: planes per layer not 1 or 2",
                             offsetof(ProfileHeader, planes_per_layer));
  }
  if (header.layers != 0 && (header.heads == 0 || header.heads > kCodecHeadsMax)) {
    return CorruptCodecBytes("profile: heads not in 1 to 1024", offsetof(ProfileHeader, heads));
  }
  const bool any_head_dim = header.head_dim == 0 && header.layers == 0 && header.rope_pairs == 0;
  if (!any_head_dim && (header.head_dim < kCodecHeadDimMin || header.head_dim > kCodecHeadDimMax ||
                        header.head_dim % kLanes != 0)) {
    return CorruptCodecBytes("profile: head dim not a multiple of 32 in 32 to 576",
                             offsetof(ProfileHeader, head_dim));
  }
  if (header.rope_style > static_cast<uint8_t>(RopeStyle::kInterleaved) ||
      (header.rope_style == 0) != (header.rope_pairs == 0)) {
    return CorruptCodecBytes("profile: rotation style", offsetof(ProfileHeader, rope_style));
  }
  if (uint32_t{header.rope_channel_begin} + 2 * uint32_t{header.rope_pairs} > header.head_dim) {
    return CorruptCodecBytes("profile: rotated channels beyond the head",
                             offsetof(ProfileHeader, rope_pairs));
  }
  if (header.table_count == 0 || header.table_count > kTablesMax) {
    return CorruptCodecBytes("profile: table count not in 1 to 64",
                             offsetof(ProfileHeader, table_count));
  }
  return {};
}

// Takes `count` values off the front of `rest`. REQUIRES: they are there.
template <typename T>
std::vector<T> TakeValues(size_t count, std::span<const uint8_t>& rest) {
  std::vector<T> values(count);
  if (count != 0) {
    std::memcpy(values.data(), rest.data(), count * sizeof(T));
  }
  rest = rest.subspan(count * sizeof(T));
  return values;
}

}  // namespace

std::vector<uint8_t> SerializeProfile(const ProfileContents& contents) {
  ProfileHeader header = {};
  header.magic = kProfileMagic;
  header.version = kProfileVersion;
  header.planes_per_layer = static_cast<uint8_t>(contents.planes_per_layer);
  header.rope_style = static_cast<uint8_t>(contents.rotation.style);
  header.layers = static_cast<uint16_t>(contents.layers);
  header.heads = static_cast<uint16_t>(contents.heads);
  header.head_dim = static_cast<uint16_t>(contents.head_dim);
  header.rope_channel_begin = static_cast<uint16_t>(contents.rotation.channel_begin);
  header.rope_pairs = static_cast<uint16_t>(contents.rotation.pairs);
  header.table_count = static_cast<uint16_t>(contents.tables.size());

  std::vector<uint8_t> bytes;
  Append(&header, 1, bytes);
  Append(contents.tables.data(), contents.tables.size(), bytes);
  Append(contents.turns.data(), contents.turns.size(), bytes);
  const size_t dim = contents.head_dim;
  const size_t heads = size_t{contents.layers} * contents.planes_per_layer * contents.heads;
  for (size_t head = 0; head < heads; ++head) {
    Append(contents.steps.data() + head * dim, dim, bytes);
    Append(contents.channel_tables.data() + head * dim, dim, bytes);
    Append(contents.means.data() + head * dim, dim, bytes);
  }
  return bytes;
}

std::shared_ptr<const LarderProfile> LarderProfile::Generic() {
  std::shared_ptr<LarderProfile> profile(new LarderProfile);
  // The built-in tables are valid; a test builds them.
  (void)profile->family_.Build(DefaultTables());
  return profile;
}

CodecStatus LarderProfile::Parse(std::span<const uint8_t> bytes, const ProfileId& id,
                                 std::shared_ptr<const LarderProfile>& profile) {
  if (id == ProfileId{}) {
    return InvalidCodecArgument("profile id: zero, which is the built-in profile's");
  }
  ProfileHeader header;
  if (bytes.size() < sizeof(header)) {
    return CorruptCodecBytes("profile: shorter than its header", bytes.size());
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  LARDER_RETURN_IF_CODEC_ERROR(CheckHeader(header));

  const size_t heads = size_t{header.layers} * header.planes_per_layer * header.heads;
  const size_t dim = header.head_dim;
  const size_t head_bytes = dim * (sizeof(uint8_t) + sizeof(uint8_t) + sizeof(int16_t));
  const size_t expected = sizeof(header) + header.table_count * sizeof(ProfileTable) +
                          header.rope_pairs * sizeof(uint64_t) + heads * head_bytes;
  if (bytes.size() != expected) {
    return CorruptCodecBytes("profile: its size does not follow from its header", bytes.size());
  }

  std::shared_ptr<LarderProfile> result(new LarderProfile);
  result->id_ = id;
  ProfileContents& contents = result->contents_;
  contents.layers = header.layers;
  contents.planes_per_layer = header.planes_per_layer;
  contents.heads = header.heads;
  contents.head_dim = header.head_dim;
  contents.rotation = {static_cast<RopeStyle>(header.rope_style), header.rope_channel_begin,
                       header.rope_pairs};
  std::span<const uint8_t> rest = bytes.subspan(sizeof(header));
  contents.tables = TakeValues<ProfileTable>(header.table_count, rest);
  LARDER_RETURN_IF_CODEC_ERROR(result->family_.Build(contents.tables));
  contents.turns = TakeValues<uint64_t>(header.rope_pairs, rest);
  for (size_t head = 0; head < heads; ++head) {
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(contents.steps, TakeValues<uint8_t>(dim, rest));
    append(contents.channel_tables, TakeValues<uint8_t>(dim, rest));
    append(contents.means, TakeValues<int16_t>(dim, rest));
  }
  for (size_t i = 0; i < contents.channel_tables.size(); ++i) {
    if (contents.channel_tables[i] >= header.table_count) {
      return CorruptCodecBytes("profile: a channel's table is not in the family", i);
    }
  }
  result->rotation_ = Rotation(contents.rotation, contents.turns);
  profile = std::move(result);
  return {};
}

CodecStatus LarderProfile::Check(const PlaneGeometry& geometry, const PlanePlace& place) const {
  if (contents_.head_dim != 0 && geometry.head_dim != contents_.head_dim) {
    return InvalidCodecArgument("head dim: not the profile's");
  }
  if (!HasParameters()) {
    return {};
  }
  if (place.layer >= contents_.layers) {
    return InvalidCodecArgument("layer: beyond the profile's");
  }
  if (place.head_begin > contents_.heads || geometry.heads > contents_.heads - place.head_begin) {
    return InvalidCodecArgument("heads: beyond the profile's");
  }
  if ((place.kind == PlaneKind::kLatent) != (contents_.planes_per_layer == 1)) {
    return InvalidCodecArgument("plane kind: the profile has other planes");
  }
  return {};
}

void LarderProfile::FillParameters(const PlanePlace& place, uint32_t head,
                                   HeadParameters* parameters) const {
  const size_t plane =
      size_t{place.layer} * contents_.planes_per_layer + (place.kind == PlaneKind::kValue ? 1 : 0);
  const size_t begin = (plane * contents_.heads + place.head_begin + head) * contents_.head_dim;
  for (uint32_t channel = 0; channel < contents_.head_dim; ++channel) {
    const size_t at = begin + channel;
    parameters->SetChannel(channel, contents_.steps[at], contents_.channel_tables[at],
                           contents_.means[at], family_);
  }
}

}  // namespace larder

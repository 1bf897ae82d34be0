// Byte runs of the larder codec and its profile file, shared by encoder and decoder, CPU and GPU.
// docs/formats/codec_larder.md describes them. Everything is little-endian; reserved bytes are
// zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace larder {

inline constexpr uint16_t kLarderRunVersion = 1;
// Of a run whose heads have split points, which older readers do not know.
inline constexpr uint16_t kLarderSplitVersion = 2;
inline constexpr uint32_t kLarderLevels = 4;
inline constexpr uint32_t kDigitLevels = kLarderLevels - 1;

// Base symbols are index + kBaseSymbolMax, for indices of -15 to 15.
inline constexpr int32_t kBaseSymbolMax = 15;
inline constexpr uint32_t kBaseSymbols = 2 * kBaseSymbolMax + 1;
// The finest quantiser has 27 steps in one of the base: three digits of -1, 0 or 1.
inline constexpr int32_t kFineSteps = 27;
inline constexpr int32_t kFineMax = kBaseSymbolMax * kFineSteps + kFineSteps / 2;
// A byte holds the digits that a lane has in five consecutive rows of 32 channels.
inline constexpr uint32_t kDigitsInByte = 5;
// Means are stored in units of this many fine steps.
inline constexpr int32_t kMeanUnit = 4;

inline constexpr uint32_t kTablesMax = 64;
inline constexpr uint32_t kStepIndexMax = 255;
// A channel's table byte where parameters are inline: table, and above it by how many octaves the
// channel's step exceeds its group's.
inline constexpr uint32_t kTableBits = 6;
// So many tokens at the start of a sequence are stored exactly: attention sinks.
inline constexpr uint64_t kExactTokens = 4;

using ProfileId = std::array<uint8_t, 16>;

// Split points are a multiple of kSplitUnit tokens apart; 0: there are none.
inline constexpr uint32_t kSplitUnit = 16;
inline constexpr uint32_t kSplitTokensMax = 255 * kSplitUnit;
constexpr bool IsSplitTokens(uint32_t tokens) {
  return tokens % kSplitUnit == 0 && tokens <= kSplitTokensMax;
}

// Plane header of the base level's run; the other levels' runs have none.
struct LarderRunHeader {
  uint16_t version;
  uint8_t exact_tokens;
  uint8_t split_units;  // tokens between split points, in units of kSplitUnit; version 1: 0
  uint32_t filled_tokens;
  ProfileId profile;  // zero: the built-in generic profile
};
static_assert(sizeof(LarderRunHeader) == 24);
static_assert(std::has_unique_object_representations_v<LarderRunHeader>, "no padding");

// How a head is stored.
enum class HeadMode : uint8_t {
  kProfile = 0,  // coded with the profile's parameters
  kInline = 1,   // coded with parameters that follow
  kRaw = 2,      // the elements of the filled tokens, when coding would take more
};

// First bytes of a head's stream in the base level. After it: split points (none if raw), patch
// indices (u32, ascending, token x head dim + channel), the entropy-coded stream, (kInline)
// parameters, elements of the exact tokens, elements of the patches; zeroes up to a multiple of
// kStreamAlignment.
struct LarderHeadHeader {
  uint8_t mode;
  uint8_t reserved[3];
  uint32_t coded_bytes;  // of the entropy-coded stream
  uint32_t patch_count;  // elements that are stored exactly
};
static_assert(sizeof(LarderHeadHeader) == 12);
static_assert(std::has_unique_object_representations_v<LarderHeadHeader>, "no padding");

// Before a token: where decoding can begin. Both counts are of what comes from there on.
struct LarderSplit {
  uint32_t patches;
  uint32_t words;  // of the entropy-coded stream
  std::array<uint8_t, 128> states;
};
static_assert(sizeof(LarderSplit) == 136);
static_assert(std::has_unique_object_representations_v<LarderSplit>, "no padding");

// A head's stream in a refinement level is kLanes bytes for every kDigitsInByte rows (token x
// groups
// + group): byte `lane` holds the digits of that lane as a fraction, see digit_packing.h. The
// stream of a raw head is empty.
constexpr size_t DigitBlocks(size_t rows) { return (rows + kDigitsInByte - 1) / kDigitsInByte; }

inline constexpr size_t kStreamAlignment = 4;
constexpr size_t AlignStream(size_t bytes) {
  return (bytes + kStreamAlignment - 1) / kStreamAlignment * kStreamAlignment;
}

// --- The profile file ---------------------------------------------------------------------------

inline constexpr std::array<uint8_t, 4> kProfileMagic = {'L', 'K', 'V', 'P'};
inline constexpr uint16_t kProfileVersion = 1;
inline constexpr uint32_t kProfileLayersMax = 1024;

enum class RopeStyle : uint8_t {
  kNone = 0,
  kHalves = 1,       // channel c turns with c + pairs (Llama, Qwen, ...)
  kInterleaved = 2,  // channel 2i turns with 2i + 1
};

// Followed by the table family (ProfileTable x table_count), the turns of each rotated pair (u64 x
// rope_pairs) and, for every layer, plane and head: u8 step x head_dim, u8 table x head_dim, i16
// mean x head_dim.
struct ProfileHeader {
  std::array<uint8_t, 4> magic;
  uint16_t version;
  uint8_t planes_per_layer;
  uint8_t rope_style;
  uint16_t layers;  // 0: the profile has a family and perhaps a rotation, but no parameters
  uint16_t heads;
  uint16_t head_dim;
  uint16_t rope_channel_begin;
  uint16_t rope_pairs;
  uint16_t table_count;
};
static_assert(sizeof(ProfileHeader) == 20);
static_assert(std::has_unique_object_representations_v<ProfileHeader>, "no padding");

// One distribution of base symbols, symmetric about zero, and what follows from it. Ratios are in
// units of 2^-16: P(1) = first x P(0), P(2) = second x P(1), and each later ratio is the one before
// times `decay`.
struct ProfileTable {
  uint16_t first;
  uint16_t second;
  uint16_t decay;
  uint8_t symbol_max;  // larger indices are patched; 1 to kBaseSymbolMax
  uint8_t reserved;
};
static_assert(sizeof(ProfileTable) == 8);
static_assert(std::has_unique_object_representations_v<ProfileTable>, "no padding");

}  // namespace larder

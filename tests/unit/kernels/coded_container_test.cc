#include "kernels/format/coded_container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/random.h"
#include "kernels/codec/larder/larder_format.h"
#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

Manifest SmallManifest() {
  Manifest manifest;
  manifest.model = "test/coded";
  manifest.layers = 3;
  manifest.heads = 2;
  manifest.head_dim = 64;
  manifest.tokens_per_chunk = 32;
  return manifest;
}

uint16_t ToBfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x8000) >> 16);
}

float FromBfloat16(uint16_t element) {
  const uint32_t bits = uint32_t{element} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Values like those of a cache: each channel has a mean of its own.
Bytes Payload(const Manifest& manifest, const Part& part, uint64_t seed) {
  SeededRandom random(seed);
  Bytes payload(manifest.PayloadBytes(part));
  for (size_t i = 0; i < payload.size(); i += 2) {
    double sum = -6;
    for (int j = 0; j < 12; ++j) sum += static_cast<double>(random.Below(1000)) / 1000;
    const double mean = static_cast<double>(i / 2 % manifest.head_dim % 7) - 3;
    const uint16_t element = ToBfloat16(static_cast<float>(mean + sum));
    std::memcpy(&payload[i], &element, sizeof element);
  }
  return payload;
}

double ErrorOf(const Bytes& exact, const Bytes& decoded) {
  double squares = 0;
  for (size_t i = 0; i < exact.size(); i += 2) {
    uint16_t a, b;
    std::memcpy(&a, &exact[i], sizeof a);
    std::memcpy(&b, &decoded[i], sizeof b);
    const double difference = FromBfloat16(a) - FromBfloat16(b);
    squares += difference * difference;
  }
  return std::sqrt(squares / (static_cast<double>(exact.size()) / 2));
}

class CodedContainerTest : public testing::Test {
 protected:
  CodedContainerTest() {
    identity_ = RandomIdentity(random_, manifest_, manifest_.WholePart());
    identity_.token_count = manifest_.tokens_per_chunk;
    identity_.depth = 5;
    payload_ = Payload(manifest_, identity_.part, 7);
  }

  Bytes Encode(ContainerCodec codec, uint32_t levels = 0) {
    const auto container =
        EncodeContainer(codecs_, codec, levels, manifest_, identity_,
                        RandomSegments(random_, std::span<const uint8_t>(payload_)));
    EXPECT_TRUE(container.ok()) << container.status();
    return container.value_or(Bytes{});
  }
  absl::Status Read(const Bytes& container, const Part& wanted, uint32_t levels, Bytes* decoded) {
    const auto view = ContainerView::Parse(container);
    if (!view.ok()) return view.status();
    const absl::Status sound =
        view->CheckIdentity(manifest_, identity_.space, identity_.key, identity_.part);
    if (!sound.ok()) return sound;
    decoded->assign(manifest_.PayloadBytes(wanted), 0xee);
    return ReadContainer(codecs_, *view, manifest_, wanted, levels,
                         RandomSegments(random_, std::span(*decoded)));
  }

  SeededRandom random_{3};
  const ContainerCodecs codecs_;
  const Manifest manifest_ = SmallManifest();
  ChunkIdentity identity_;
  Bytes payload_;
};

TEST_F(CodedContainerTest, LosslessGivesTheSameBytesBackInFewer) {
  const Bytes container = Encode(ContainerCodec::kLossless);
  EXPECT_LT(container.size(), payload_.size() * 9 / 10);
  EXPECT_TRUE(ContainerView::Parse(container)->VerifyBodies().ok());
  Bytes decoded;
  const absl::Status read = Read(container, identity_.part, 0, &decoded);
  ASSERT_TRUE(read.ok()) << read;
  EXPECT_EQ(decoded, payload_);
}

TEST_F(CodedContainerTest, EveryCodecGivesBackWhatItPromises) {
  for (const absl::string_view name : {"raw", "lossless", "larder", "cachegen", "kivi"}) {
    SCOPED_TRACE(name);
    const auto codec = ParseContainerCodec(name);
    ASSERT_TRUE(codec.ok());
    EXPECT_EQ(ContainerCodecName(*codec), name);
    const Bytes container = Encode(*codec);
    const auto view = ContainerView::Parse(container);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->codec(), *codec);
    EXPECT_EQ(view->level_count(), LevelsMax(*codec));
    Bytes decoded;
    const absl::Status read = Read(container, identity_.part, 0, &decoded);
    ASSERT_TRUE(read.ok()) << read;
    EXPECT_LT(ErrorOf(payload_, decoded), 0.4);
  }
  EXPECT_THAT(ParseContainerCodec("zip").status().message(), HasSubstr("none of raw, lossless"));
}

TEST_F(CodedContainerTest, MoreLevelsAreMoreExactHoweverManyAreStored) {
  const Bytes all = Encode(ContainerCodec::kLarder);
  double last_error = 1e9;
  size_t last_bytes = 0;
  for (uint32_t levels = 1; levels <= 4; ++levels) {
    SCOPED_TRACE(absl::StrCat(levels, " levels"));
    const Bytes some = Encode(ContainerCodec::kLarder, levels);
    EXPECT_GT(some.size(), last_bytes);
    last_bytes = some.size();
    Bytes of_all, of_some;
    ASSERT_TRUE(Read(all, identity_.part, levels, &of_all).ok());
    ASSERT_TRUE(Read(some, identity_.part, 0, &of_some).ok());
    EXPECT_EQ(of_all, of_some);
    const double error = ErrorOf(payload_, of_all);
    EXPECT_LT(error, last_error / 1.5);
    last_error = error;
  }
  EXPECT_EQ(last_bytes, all.size());
}

TEST_F(CodedContainerTest, CutAtTheEndOfALevelItIsAContainerOfFewerLevels) {
  const Bytes all = Encode(ContainerCodec::kLarder);
  const auto whole = ContainerView::Parse(all);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->LevelEnd(3), all.size());
  for (uint32_t levels = 1; levels <= 4; ++levels) {
    SCOPED_TRACE(absl::StrCat(levels, " levels"));
    const Bytes cut(all.begin(), all.begin() + static_cast<ptrdiff_t>(whole->LevelEnd(levels - 1)));
    const auto view = ContainerView::Parse(cut);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->level_count(), levels);
    EXPECT_EQ(view->LevelEnd(levels - 1), cut.size());
    EXPECT_TRUE(view->VerifyBodies().ok());
    Bytes of_cut, of_all;
    ASSERT_TRUE(Read(cut, identity_.part, 0, &of_cut).ok());
    ASSERT_TRUE(Read(all, identity_.part, levels, &of_all).ok());
    EXPECT_EQ(of_cut, of_all);
    // More than there is: what there is.
    ASSERT_TRUE(Read(cut, identity_.part, 4, &of_cut).ok());
    EXPECT_EQ(of_cut, of_all);
  }
}

TEST_F(CodedContainerTest, CutAnywhereElseItIsDataLoss) {
  const Bytes all = Encode(ContainerCodec::kLarder);
  const auto whole = ContainerView::Parse(all);
  std::vector<size_t> ends;
  for (uint32_t level = 0; level < 4; ++level) ends.push_back(whole->LevelEnd(level));
  for (size_t size = 0; size < all.size() + 64; ++size) {
    if (size > 4096 && size % 64 > 1 && size % 61 != 0) continue;
    if (std::count(ends.begin(), ends.end(), size) != 0) continue;
    Bytes cut = all;
    cut.resize(size);
    EXPECT_TRUE(absl::IsDataLoss(ContainerView::Parse(cut).status())) << size;
  }
}

TEST_F(CodedContainerTest, ASliceIsTheSameAsThatOfTheWhole) {
  for (const ContainerCodec codec : {ContainerCodec::kLossless, ContainerCodec::kLarder}) {
    const Bytes container = Encode(codec);
    Bytes whole;
    ASSERT_TRUE(Read(container, identity_.part, 0, &whole).ok());
    const Part wanted{.layer_begin = 1, .layer_end = 3, .head_begin = 1, .head_end = 2};
    Bytes slice;
    std::vector<uint16_t> layers;
    ASSERT_TRUE(Read(container, wanted, 0, &slice).ok());
    // Layers 1 and 2, keys and values, the second of two heads.
    Bytes expected;
    const size_t plane = manifest_.PlaneBytes(identity_.part);
    for (size_t number = 2; number < 6; ++number) {
      const auto begin = whole.begin() + static_cast<ptrdiff_t>(number * plane + plane / 2);
      expected.insert(expected.end(), begin, begin + static_cast<ptrdiff_t>(plane / 2));
    }
    EXPECT_EQ(slice, expected);
  }
}

// A reader of the tokens [20, 30) of some heads of one layer, who has nothing but metadata and what
// it is told that it needs.
TEST_F(CodedContainerTest, TokensAreReadFromTheirRangesAlone) {
  const Part wanted{.layer_begin = 1, .layer_end = 2, .head_begin = 1, .head_end = 2};
  const TokenRange tokens{.begin = 20, .end = 30};
  for (const ContainerCodec codec :
       {ContainerCodec::kRaw, ContainerCodec::kLossless, ContainerCodec::kLarder}) {
    SCOPED_TRACE(ContainerCodecName(codec));
    const ContainerCodecs codecs(nullptr, {}, /*split_tokens=*/16);
    const auto container =
        EncodeContainer(codecs, codec, 0, manifest_, identity_,
                        RandomSegments(random_, std::span<const uint8_t>(payload_)));
    ASSERT_TRUE(container.ok()) << container.status();
    Bytes slice;
    ASSERT_TRUE(Read(*container, wanted, 0, &slice).ok());

    const size_t body = ContainerView::Parse(*container)->entries()[0].offset;
    Bytes sparse(container->size(), 0xa5);
    std::copy_n(container->begin(), body, sparse.begin());
    const auto view = ContainerView::Parse(sparse);
    ASSERT_TRUE(view.ok()) << view.status();
    size_t fetched = 0;
    for (uint32_t step = 0; step < kNeededSteps; ++step) {
      const auto ranges = FindContainerTokens(codecs, *view, manifest_, wanted, tokens, 0, step);
      ASSERT_TRUE(ranges.ok()) << ranges.status();
      for (const ContainerRange& range : *ranges) {
        std::copy(container->begin() + static_cast<ptrdiff_t>(range.begin),
                  container->begin() + static_cast<ptrdiff_t>(range.end),
                  sparse.begin() + static_cast<ptrdiff_t>(range.begin));
        fetched += range.end - range.begin;
      }
    }
    // One of three layers, one of two heads: a sixth of the bytes, of which ten tokens of 32.
    EXPECT_LT(fetched, (container->size() - body) / 6);
    const size_t row = manifest_.HeadBytes() / manifest_.tokens_per_chunk;
    Bytes expected;
    for (size_t plane = 0; plane < 2; ++plane) {
      const auto begin = slice.begin() + static_cast<ptrdiff_t>(plane * manifest_.HeadBytes());
      expected.insert(expected.end(), begin + static_cast<ptrdiff_t>(tokens.begin * row),
                      begin + static_cast<ptrdiff_t>(tokens.end * row));
    }
    Bytes decoded(expected.size());
    const absl::Status read = ReadContainerTokens(codecs, *view, manifest_, wanted, tokens, 0,
                                                  RandomSegments(random_, std::span(decoded)));
    ASSERT_TRUE(read.ok()) << read;
    EXPECT_EQ(decoded, expected);
  }
}

TEST_F(CodedContainerTest, TokensThatAreNotThereAreTheCallersError) {
  const Bytes container = Encode(ContainerCodec::kLarder);
  const auto view = ContainerView::Parse(container);
  for (const TokenRange& tokens :
       {TokenRange{3, 3}, TokenRange{0, manifest_.tokens_per_chunk + 1}}) {
    const absl::Status read =
        ReadContainerTokens(codecs_, *view, manifest_, identity_.part, tokens, 0, {});
    EXPECT_TRUE(absl::IsInvalidArgument(read)) << read;
    EXPECT_THAT(read.message(), HasSubstr("token range"));
  }
  const absl::Status read =
      ReadContainerTokens(codecs_, *view, manifest_, identity_.part, {0, 1}, 0, {});
  EXPECT_THAT(read.message(), HasSubstr("segments hold 0"));
}

TEST_F(CodedContainerTest, DamageIsDataLossAndNamed) {
  for (const ContainerCodec codec : {ContainerCodec::kLossless, ContainerCodec::kLarder}) {
    const Bytes sound = Encode(codec);
    const auto view = ContainerView::Parse(sound);
    for (const ContainerTocEntry& entry : view->entries()) {
      Bytes damaged = sound;
      damaged[entry.offset + entry.stored_bytes / 2] ^= 1;
      Bytes decoded;
      const absl::Status read = Read(damaged, identity_.part, 0, &decoded);
      EXPECT_TRUE(absl::IsDataLoss(read)) << read;
      EXPECT_THAT(read.message(), HasSubstr("has CRC32C"));
      EXPECT_TRUE(absl::IsDataLoss(ContainerView::Parse(damaged)->VerifyBodies()));
    }
  }
}

// A producer that lies: its checksums are right, its runs are not what the codec writes.
TEST_F(CodedContainerTest, RunsThatNoEncoderWritesAreDataLoss) {
  const Bytes sound = Encode(ContainerCodec::kLarder);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    Bytes forged = sound;
    const auto view = ContainerView::Parse(sound);
    const ContainerTocEntry& entry = view->entries()[random.Below(view->entries().size())];
    forged[entry.offset + random.Below(entry.stored_bytes)] ^=
        static_cast<uint8_t>(1 + random.Below(255));
    // The entry's checksum, then those of header and table.
    const size_t index = static_cast<size_t>(&entry - view->entries().data());
    ContainerTocEntry changed = entry;
    changed.crc32c = Crc32c(std::span(forged).subspan(entry.offset, entry.stored_bytes));
    std::memcpy(&forged[sizeof(ContainerHeader) + index * sizeof changed], &changed,
                sizeof changed);
    RepairChecksums(forged);
    Bytes decoded;
    const absl::Status read = Read(forged, identity_.part, 0, &decoded);
    // Some changes only give other values, or name another profile.
    EXPECT_TRUE(read.ok() || absl::IsDataLoss(read) || absl::IsFailedPrecondition(read)) << read;
  }
}

TEST_F(CodedContainerTest, WhatACodecCannotStoreIsRefusedWithAReason) {
  const auto refusal = [&](const Manifest& manifest) {
    ChunkIdentity identity = identity_;
    identity.manifest = manifest.Id();
    identity.part = manifest.WholePart();
    const Bytes payload(manifest.PayloadBytes(identity.part));
    const ConstSegment segment{payload.data(), payload.size()};
    return EncodeContainer(codecs_, ContainerCodec::kLarder, 0, manifest, identity, {&segment, 1})
        .status();
  };
  Manifest floats = manifest_;
  floats.element_type = ElementType::kFloat32;
  EXPECT_TRUE(absl::IsInvalidArgument(refusal(floats))) << refusal(floats);
  Manifest narrow = manifest_;
  narrow.head_dim = 16;
  EXPECT_TRUE(absl::IsInvalidArgument(refusal(narrow))) << refusal(narrow);
  Manifest state = manifest_;
  state.kind = CacheKind::kRecurrent;
  EXPECT_THAT(refusal(state).message(), HasSubstr("recurrent"));
}

// The bytes of a file in tests/golden.
Bytes ReadGolden(const std::string& name) {
  std::ifstream file(LARDER_GOLDEN_DIR "/" + name, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

TEST_F(CodedContainerTest, AReaderNeedsTheProfileOfTheWriter) {
  const Bytes file = ReadGolden("codec/larder_profile.bin");
  const auto profile = ParseProfile(file);
  ASSERT_TRUE(profile.ok()) << profile.status();
  Manifest manifest = manifest_;
  manifest.layers = (*profile)->contents().layers;
  ChunkIdentity identity = identity_;
  identity.manifest = manifest.Id();
  identity.part = manifest.WholePart();
  const Bytes payload = Payload(manifest, identity.part, 8);
  const ConstSegment source{payload.data(), payload.size()};
  const auto write = [&](const ContainerCodecs& codecs) {
    return *EncodeContainer(codecs, ContainerCodec::kLarder, 0, manifest, identity, {&source, 1});
  };
  Bytes decoded(payload.size());
  const auto read = [&](const ContainerCodecs& codecs, const Bytes& container) {
    const Segment destination{decoded.data(), decoded.size()};
    return ReadContainer(codecs, *ContainerView::Parse(container), manifest, identity.part, 0,
                         {&destination, 1});
  };
  const ContainerCodecs generic, with_profile(*profile);
  const ContainerCodecs reads_it(nullptr, {&*profile, 1});

  const Bytes container = write(with_profile);
  ASSERT_TRUE(read(with_profile, container).ok());
  EXPECT_LT(ErrorOf(payload, decoded), 0.4);
  const Bytes of_writer = decoded;
  EXPECT_TRUE(read(reads_it, container).ok());
  EXPECT_EQ(decoded, of_writer);
  EXPECT_TRUE(read(with_profile, write(generic)).ok());
  EXPECT_EQ(write(reads_it), write(generic)) << "it only reads";
  const absl::Status without = read(generic, container);
  EXPECT_TRUE(absl::IsFailedPrecondition(without)) << without;
  const ProfileId& id = (*profile)->id();
  const absl::string_view name(reinterpret_cast<const char*>(id.data()), id.size());
  EXPECT_THAT(without.message(), HasSubstr(absl::BytesToHexString(name)));

  // A name that was damaged in store is damage, whoever reads.
  Bytes damaged = container;
  damaged[ContainerView::Parse(container)->Entry(0, 0).offset +
          offsetof(LarderRunHeader, profile)] ^= 1;
  EXPECT_TRUE(absl::IsDataLoss(read(generic, damaged)));
  EXPECT_TRUE(absl::IsDataLoss(read(with_profile, damaged)));

  const absl::Status cut = ParseProfile(std::span(file).first(file.size() - 1)).status();
  EXPECT_TRUE(absl::IsDataLoss(cut)) << cut;
  EXPECT_THAT(cut.message(), HasSubstr("profile: "));
}

TEST_F(CodedContainerTest, WhatACodecCanStoreIsKnownBefore) {
  for (const ContainerCodec codec : {ContainerCodec::kRaw, ContainerCodec::kLossless,
                                     ContainerCodec::kLarder, ContainerCodec::kKivi}) {
    EXPECT_TRUE(CheckCodec(codecs_, codec, manifest_).ok());
  }
  Manifest bytes = manifest_;
  bytes.element_type = ElementType::kInt8;
  EXPECT_TRUE(CheckCodec(codecs_, ContainerCodec::kRaw, bytes).ok());
  const absl::Status refused = CheckCodec(codecs_, ContainerCodec::kLarder, bytes);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("larder"));

  EXPECT_TRUE(CheckLevels(ContainerCodec::kLarder, 4).ok());
  EXPECT_TRUE(CheckLevels(ContainerCodec::kRaw, 0).ok());
  EXPECT_EQ(CheckLevels(ContainerCodec::kLarder, 5).message(), "levels is 5, codec larder has 4");
  EXPECT_EQ(CheckLevels(ContainerCodec{6}, 0).message(), "no codec has the number 6");
}

TEST_F(CodedContainerTest, ARawReaderRefusesACodedContainer) {
  const Bytes container = Encode(ContainerCodec::kLossless);
  const auto view = ContainerView::Parse(container);
  Bytes decoded(payload_.size());
  const Segment segment{decoded.data(), decoded.size()};
  EXPECT_TRUE(
      absl::IsInvalidArgument(ReadRawContainer(*view, manifest_, identity_.part, {&segment, 1})));
}

}  // namespace
}  // namespace larder

#include "tests/sim/sim_chunks.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/hash.h"

namespace larder {
namespace {

const Manifest& ManifestOf(uint32_t space) {
  static const auto* const kManifests = [] {
    auto* manifests = new std::vector<Manifest>;
    for (uint32_t i = 0; i < kSimSpaces; ++i) manifests->push_back(SimSpace(i).manifest);
    return manifests;
  }();
  return (*kManifests)[space];
}

// Two of three conversations begin as another one does.
uint32_t SharedDepth(uint32_t conversation) { return conversation % 3 == 0 ? 0 : 5; }
uint32_t SharedWith(uint32_t conversation) { return conversation - conversation % 3; }

std::vector<uint8_t> KeyBytes(const SimChunk& chunk) {
  const uint64_t number = NumberOf(chunk);
  std::vector<uint8_t> key(sizeof(number));
  std::memcpy(key.data(), &number, sizeof(number));
  return key;
}

std::vector<uint8_t> PayloadOf(const SimChunk& chunk, const Part& part, size_t bytes) {
  std::vector<uint8_t> payload(bytes);
  uint64_t state = NumberOf(chunk) * 0x9e3779b97f4a7c15 + chunk.space * 77 + part.layer_begin;
  for (uint8_t& byte : payload) {
    state = state * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<uint8_t>(state >> 56);
  }
  return payload;
}

}  // namespace

SpaceDescription SimSpace(uint32_t space) {
  SpaceDescription description;
  description.tenant = "tenant";
  description.salt = absl::StrCat("salt", space);
  description.manifest.model = "sim/model";
  description.manifest.element_type = ElementType::kInt8;
  description.manifest.kind = CacheKind::kKeyValue;
  description.manifest.layers = space == 0 ? 4 : 6;
  description.manifest.heads = 2;
  description.manifest.head_dim = 64;
  description.manifest.tokens_per_chunk = 4;
  return description;
}

std::vector<SimChunk> SimPrefix(uint32_t space, uint32_t conversation, uint32_t count) {
  std::vector<SimChunk> chunks;
  for (uint32_t depth = 0; depth < count; ++depth) {
    const bool shared = depth < SharedDepth(conversation);
    chunks.push_back({space, shared ? SharedWith(conversation) : conversation, depth});
  }
  return chunks;
}

std::vector<SimChunk> AllSimChunks() {
  std::vector<SimChunk> all;
  for (uint32_t space = 0; space < kSimSpaces; ++space) {
    for (uint32_t conversation = 0; conversation < kSimConversations; ++conversation) {
      for (uint32_t depth = SharedDepth(conversation); depth < kSimDepth; ++depth) {
        all.push_back({space, conversation, depth});
      }
    }
  }
  return all;
}

uint64_t NumberOf(const SimChunk& chunk) {
  return 1 + chunk.conversation * uint64_t{1000} + chunk.depth;
}

KeyHash KeyOf(const SimChunk& chunk) { return HashKey(KeyBytes(chunk)); }

KeyHash ParentOf(const SimChunk& chunk) {
  if (chunk.depth == 0) return {};
  return KeyOf(SimPrefix(chunk.space, chunk.conversation, chunk.depth).back());
}

std::vector<Part> PartsOf(const SimChunk& chunk, uint32_t parts) {
  const Manifest& manifest = ManifestOf(chunk.space);
  std::vector<Part> all;
  for (uint32_t i = 0; i < parts; ++i) {
    Part part = manifest.WholePart();
    part.layer_begin = static_cast<uint16_t>(i * manifest.layers / parts);
    part.layer_end = static_cast<uint16_t>((i + 1) * manifest.layers / parts);
    all.push_back(part);
  }
  return all;
}

void WriteSimContainer(const SimChunk& chunk, const SpaceId& space, const Part& part,
                       std::span<uint8_t> memory) {
  const Manifest& manifest = ManifestOf(chunk.space);
  const std::vector<uint8_t> key = KeyBytes(chunk);
  const ChunkIdentity identity{.space = space,
                               .manifest = manifest.Id(),
                               .key = ChunkKey(key.begin(), key.end()),
                               .parent = ParentOf(chunk),
                               .depth = chunk.depth,
                               .token_count = manifest.tokens_per_chunk,
                               .part = part};
  const std::vector<uint8_t> payload = PayloadOf(chunk, part, manifest.PayloadBytes(part));
  const ConstSegment segment{payload.data(), payload.size()};
  LARDER_CHECK(WriteRawContainer(memory, manifest, identity, {&segment, 1}).ok());
}

std::string CheckSimContainer(const SimChunk& chunk, const SpaceId& space, const Part& part,
                              std::span<const uint8_t> memory) {
  const Manifest& manifest = ManifestOf(chunk.space);
  const auto view = ContainerView::Parse(memory);
  if (!view.ok()) return std::string(view.status().message());
  const absl::Status identity = view->CheckIdentity(manifest, space, KeyBytes(chunk), part);
  if (!identity.ok()) return std::string(identity.message());
  std::vector<uint8_t> payload(manifest.PayloadBytes(part));
  const Segment segment{payload.data(), payload.size()};
  const absl::Status read = ReadRawContainer(*view, manifest, part, {&segment, 1});
  if (!read.ok()) return std::string(read.message());
  return payload == PayloadOf(chunk, part, payload.size()) ? "" : "another chunk's payload";
}

}  // namespace larder

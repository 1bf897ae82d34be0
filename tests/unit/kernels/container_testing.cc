#include "tests/unit/kernels/container_testing.h"

#include <algorithm>
#include <cstring>

#include "common/crc32c.h"

namespace larder {
namespace {

template <typename SegmentType, typename Byte>
std::vector<SegmentType> Split(Random& random, std::span<Byte> bytes) {
  std::vector<SegmentType> segments;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), random.Below(70));
    segments.push_back({bytes.data(), size});
    bytes = bytes.subspan(size);
  }
  segments.push_back({});
  return segments;
}

}  // namespace

Manifest RandomManifest(Random& random) {
  Manifest manifest;
  manifest.model = "test/model";
  manifest.revision = "revision";
  manifest.hash_scheme = "sha256";
  manifest.hash_seed = random.Next();
  manifest.element_type = static_cast<ElementType>(1 + random.Below(6));
  manifest.kind = static_cast<CacheKind>(1 + random.Below(3));
  manifest.layers = static_cast<uint32_t>(1 + random.Below(6));
  manifest.heads = static_cast<uint32_t>(1 + random.Below(5));
  manifest.head_dim = static_cast<uint32_t>(1 + random.Below(12));
  manifest.tokens_per_chunk = static_cast<uint32_t>(1 + random.Below(8));
  manifest.codec = static_cast<ContainerCodec>(1 + random.Below(5));
  manifest.levels = static_cast<uint32_t>(random.Below(LevelsMax(manifest.codec)));
  return manifest;
}

Part RandomPart(Random& random, const Part& whole) {
  const auto slice = [&random](uint16_t& begin, uint16_t& end) {
    const uint16_t size = static_cast<uint16_t>(1 + random.Below(end - begin));
    begin = static_cast<uint16_t>(begin + random.Below(end - begin - size + 1));
    end = begin + size;
  };
  Part part = whole;
  slice(part.layer_begin, part.layer_end);
  slice(part.head_begin, part.head_end);
  return part;
}

ChunkIdentity RandomIdentity(Random& random, const Manifest& manifest, const Part& part) {
  ChunkIdentity identity;
  identity.manifest = manifest.Id();
  identity.space = ComputeSpaceId("tenant", identity.manifest, "salt");
  identity.key.resize(1 + random.Below(kContainerKeyBytesMax));
  for (uint8_t& byte : identity.key) byte = static_cast<uint8_t>(random.Next());
  identity.parent = {random.Next(), random.Next()};
  identity.depth = static_cast<uint32_t>(random.Next());
  identity.token_count = static_cast<uint32_t>(1 + random.Below(manifest.tokens_per_chunk));
  identity.part = part;
  return identity;
}

std::vector<uint8_t> ModelPayload(const Manifest& manifest, const Part& part) {
  std::vector<uint8_t> payload;
  for (uint32_t layer = part.layer_begin; layer < part.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < manifest.PlanesPerLayer(); ++plane) {
      for (uint32_t head = part.head_begin; head < part.head_end; ++head) {
        for (uint64_t i = 0; i < manifest.HeadBytes(); ++i) {
          payload.push_back(static_cast<uint8_t>(layer * 101 + plane * 53 + head * 29 + i * 7 + 3));
        }
      }
    }
  }
  return payload;
}

std::vector<ConstSegment> RandomSegments(Random& random, std::span<const uint8_t> bytes) {
  return Split<ConstSegment>(random, bytes);
}

std::vector<Segment> RandomSegments(Random& random, std::span<uint8_t> bytes) {
  return Split<Segment>(random, bytes);
}

std::vector<uint8_t> ModelContainer(const Manifest& manifest, const ChunkIdentity& identity) {
  const std::vector<uint8_t> payload = ModelPayload(manifest, identity.part);
  std::vector<uint8_t> container(RawContainerBytes(manifest, identity.part), 0xee);
  const ConstSegment segment = {payload.data(), payload.size()};
  // A failure shows in every test that parses the container: nothing valid is there then.
  (void)WriteRawContainer(container, manifest, identity, {&segment, 1});
  return container;
}

void RepairChecksums(std::span<uint8_t> container) {
  ContainerHeader header;
  if (container.size() < sizeof header) return;
  std::memcpy(&header, container.data(), sizeof header);
  const uint64_t toc_bytes = uint64_t{header.toc_entry_count} * sizeof(ContainerTocEntry);
  if (toc_bytes <= container.size() - sizeof header) {
    header.toc_crc32c = Crc32c(container.subspan(sizeof header, toc_bytes));
  }
  header.header_crc32c =
      Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(ContainerHeader, header_crc32c)});
  std::memcpy(container.data(), &header, sizeof header);
}

}  // namespace larder

#include "daemon/index/event_batch.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/crc32c.h"
#include "daemon/index/event_batch_format.h"

namespace larder {
namespace {

std::span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class BatchWriter {
 public:
  explicit BatchWriter(size_t bytes) { text_.resize(bytes); }

  template <std::integral T>
  void Write(T value) {
    StoreLittleEndian(text_.data() + at_, value);
    at_ += sizeof value;
  }
  std::string Finish() {
    Write(Crc32c(BytesOf(absl::string_view(text_).substr(0, at_))));
    return std::move(text_);
  }

 private:
  std::string text_;
  size_t at_ = 0;
};

absl::Status Wrong(const absl::AlphaNum& what) {
  return absl::InvalidArgumentError(absl::StrCat("event batch: ", what));
}

struct BatchSizes {
  size_t spaces = 0;
  size_t events = 0;
};

absl::StatusOr<BatchSizes> ReadHeader(ByteReader* reader, size_t bytes) {
  const uint32_t magic = reader->Read<uint32_t>();
  const uint16_t version = reader->Read<uint16_t>();
  const BatchSizes sizes = {.spaces = reader->Read<uint16_t>(), .events = reader->Read<uint32_t>()};
  if (!reader->ok()) return Wrong(absl::StrCat(bytes, " bytes are no header"));
  if (magic != kEventBatchMagic) return Wrong("no magic at its beginning");
  if (version != kEventBatchVersion) {
    return Wrong(absl::StrCat("version ", version, ", this node reads ", kEventBatchVersion));
  }
  if (sizes.events == 0 || sizes.events > kEventBatchEventsMax) {
    return Wrong(absl::StrCat(sizes.events, " events, it has 1 to ", kEventBatchEventsMax));
  }
  const size_t wanted = sizeof(EventBatchHeader) + sizes.spaces * kEventBatchSpaceBytes +
                        sizes.events * kEventBatchEventBytes + kEventBatchChecksumBytes;
  if (bytes != wanted) {
    return Wrong(absl::StrCat(bytes, " bytes instead of ", wanted, " for ", sizes.spaces,
                              " spaces and ", sizes.events, " events"));
  }
  return sizes;
}

absl::StatusOr<std::vector<SpaceId>> ReadSpaces(ByteReader* reader, size_t count) {
  std::vector<SpaceId> spaces(count);
  absl::flat_hash_map<SpaceId, size_t> places;
  for (size_t i = 0; i < count; ++i) {
    spaces[i].low = reader->Read<uint64_t>();
    spaces[i].high = reader->Read<uint64_t>();
    if (!places.emplace(spaces[i], i).second) {
      return Wrong(absl::StrCat("space ", i, " is named twice"));
    }
  }
  return spaces;
}

absl::Status CheckEvent(const ChunkEvent& event, uint8_t reserved) {
  if (event.key.IsZero()) return Wrong("a key of zeros");
  if (event.tiers > kTiersAll) return Wrong(absl::StrCat("tiers ", event.tiers));
  if (event.tiers == 0 && event.pages != 0) return Wrong("pages of a chunk that is gone");
  if (reserved != 0) return Wrong("a reserved byte that is not zero");
  return absl::OkStatus();
}

}  // namespace

std::string EncodeEvents(std::span<const ChunkEvent> events) {
  if (events.empty()) return "";
  absl::flat_hash_map<SpaceId, uint16_t> places;
  std::vector<SpaceId> spaces;
  std::vector<uint16_t> space_of;
  space_of.reserve(events.size());
  for (const ChunkEvent& event : events) {
    if (!space_of.empty() && spaces[space_of.back()] == event.space) {
      space_of.push_back(space_of.back());
      continue;
    }
    const auto [place, added] = places.emplace(event.space, static_cast<uint16_t>(spaces.size()));
    if (added) spaces.push_back(event.space);
    space_of.push_back(place->second);
  }
  BatchWriter writer(sizeof(EventBatchHeader) + spaces.size() * kEventBatchSpaceBytes +
                     events.size() * kEventBatchEventBytes + kEventBatchChecksumBytes);
  writer.Write(kEventBatchMagic);
  writer.Write(kEventBatchVersion);
  writer.Write(static_cast<uint16_t>(spaces.size()));
  writer.Write(static_cast<uint32_t>(events.size()));
  for (const SpaceId& space : spaces) {
    writer.Write(space.low);
    writer.Write(space.high);
  }
  for (size_t i = 0; i < events.size(); ++i) {
    writer.Write(events[i].key.low);
    writer.Write(events[i].key.high);
    writer.Write(events[i].pages);
    writer.Write(space_of[i]);
    writer.Write(events[i].tiers);
    writer.Write(uint8_t{0});
  }
  return writer.Finish();
}

absl::StatusOr<std::vector<ChunkEvent>> DecodeEvents(absl::string_view bytes) {
  std::vector<ChunkEvent> events;
  if (bytes.empty()) return events;
  ByteReader reader(BytesOf(bytes));
  ASSIGN_OR_RETURN(const BatchSizes sizes, ReadHeader(&reader, bytes.size()));
  const size_t summed = bytes.size() - kEventBatchChecksumBytes;
  if (Crc32c(BytesOf(bytes.substr(0, summed))) !=
      LoadLittleEndian<uint32_t>(bytes.data() + summed)) {
    return Wrong("its checksum is wrong");
  }
  ASSIGN_OR_RETURN(const std::vector<SpaceId> spaces, ReadSpaces(&reader, sizes.spaces));
  events.resize(sizes.events);
  size_t spaces_used = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    ChunkEvent& event = events[i];
    event.key.low = reader.Read<uint64_t>();
    event.key.high = reader.Read<uint64_t>();
    event.pages = reader.Read<uint32_t>();
    const uint16_t space = reader.Read<uint16_t>();
    event.tiers = reader.Read<uint8_t>();
    // Spaces are in the order in which they are used first.
    if (space >= spaces.size() || space > spaces_used) {
      return Wrong(absl::StrCat("event ", i, " names space ", space));
    }
    if (space == spaces_used) ++spaces_used;
    event.space = spaces[space];
    RETURN_IF_ERROR(Annotate(CheckEvent(event, reader.Read<uint8_t>()), absl::StrCat("event ", i)));
  }
  if (spaces_used < spaces.size()) return Wrong("a space that no event names");
  return events;
}

}  // namespace larder

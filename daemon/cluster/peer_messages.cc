#include "daemon/cluster/peer_messages.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "daemon/index/chunk_event.h"
#include "kernels/format/manifest.h"
#include "transport/local/message_codec.h"
#include "transport/local/message_format.h"

namespace larder {
namespace {

PeerMessageHeader HeaderOf(PeerMessageKind kind, size_t count) {
  return {
      .kind = static_cast<uint16_t>(kind), .reserved = 0, .count = static_cast<uint32_t>(count)};
}

std::vector<uint8_t> BytesOf(const MessageWriter& writer) {
  return {writer.payload().begin(), writer.payload().end()};
}

absl::Status CheckHeader(const PeerMessageHeader& header, PeerMessageKind kind) {
  if (header.kind != static_cast<uint16_t>(kind) || header.reserved != 0) {
    return absl::InvalidArgumentError("peer message: wrong kind, or a reserved field is not zero");
  }
  if (header.count > kPeerItemsMax) {
    return absl::InvalidArgumentError(absl::StrCat("peer message of kind ", header.kind, ": ",
                                                   header.count, " items; at most ",
                                                   kPeerItemsMax));
  }
  return absl::OkStatus();
}

absl::Status CheckThat(bool sound, absl::string_view what) {
  if (sound) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("peer message: ", what));
}

}  // namespace

absl::StatusOr<PeerMessageKind> KindOf(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto header = reader.Read<PeerMessageHeader>();
  if (message.size() < sizeof(header) || header.kind == 0 ||
      header.kind > static_cast<uint16_t>(PeerMessageKind::kAlive)) {
    return absl::InvalidArgumentError(
        absl::StrCat("peer message of ", message.size(), " bytes: no kind is ", header.kind));
  }
  return static_cast<PeerMessageKind>(header.kind);
}

// --- fetch --------------------------------------------------------------------------------------

absl::StatusOr<PeerFetch> ReadFetch(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<FetchMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kFetch));
  PeerFetch fetch{.space = fixed.space,
                  .granule_bytes = fixed.granule_bytes,
                  .deadline_ms = fixed.deadline_ms,
                  .items = reader.ReadArray<FetchItem>(fixed.header.count, kPeerItemsMax)};
  RETURN_IF_ERROR(reader.Finish("fetch"));
  const uint32_t granule = fetch.granule_bytes;
  RETURN_IF_ERROR(CheckThat(granule >= kHoldingPageBytes && (granule & (granule - 1)) == 0,
                            "fetch: the granule is no power of two from 4096 on"));
  for (const FetchItem& item : fetch.items) {
    RETURN_IF_ERROR(CheckThat(!item.key.IsZero() && item.window != 0 && item.window_bytes != 0,
                              "fetch: an item's key, window or size is zero"));
  }
  return fetch;
}

std::vector<uint8_t> WriteMessage(const PeerFetch& message) {
  MessageWriter writer;
  writer.Write(FetchMessage{.header = HeaderOf(PeerMessageKind::kFetch, message.items.size()),
                            .space = message.space,
                            .granule_bytes = message.granule_bytes,
                            .deadline_ms = message.deadline_ms});
  writer.WriteArray<FetchItem>(message.items.size(), [&](size_t i) { return message.items[i]; });
  return BytesOf(writer);
}

absl::StatusOr<PeerFetched> ReadFetched(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<FetchedMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kFetched));
  PeerFetched fetched{.window = fixed.window,
                      .code = static_cast<FetchResultCode>(fixed.code),
                      .bytes_or_log_end = fixed.bytes_or_log_end,
                      .ttl_ms = fixed.ttl_ms,
                      .parts = reader.ReadArray<FetchedPart>(fixed.header.count, kPeerItemsMax)};
  RETURN_IF_ERROR(reader.Finish("fetched"));
  RETURN_IF_ERROR(
      CheckThat(fixed.code <= static_cast<uint32_t>(FetchResultCode::kBusy) && fixed.reserved == 0,
                "fetched: unknown code, or a reserved field is not zero"));
  RETURN_IF_ERROR(CheckThat((fetched.code == FetchResultCode::kWritten) == !fetched.parts.empty(),
                            "fetched: parts do not go with the code"));
  return fetched;
}

std::vector<uint8_t> WriteMessage(const PeerFetched& message) {
  MessageWriter writer;
  writer.Write(FetchedMessage{.header = HeaderOf(PeerMessageKind::kFetched, message.parts.size()),
                              .window = message.window,
                              .code = static_cast<uint32_t>(message.code),
                              .reserved = 0,
                              .bytes_or_log_end = message.bytes_or_log_end,
                              .ttl_ms = message.ttl_ms});
  writer.WriteArray<FetchedPart>(message.parts.size(), [&](size_t i) { return message.parts[i]; });
  return BytesOf(writer);
}

absl::StatusOr<std::vector<uint64_t>> ReadRelease(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<ReleaseMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kRelease));
  std::vector<uint64_t> windows = reader.ReadArray<uint64_t>(fixed.header.count, kPeerItemsMax);
  RETURN_IF_ERROR(reader.Finish("release"));
  return windows;
}

std::vector<uint8_t> WriteRelease(std::span<const uint64_t> windows) {
  MessageWriter writer;
  writer.Write(ReleaseMessage{.header = HeaderOf(PeerMessageKind::kRelease, windows.size())});
  writer.WriteArray<uint64_t>(windows.size(), [&](size_t i) { return windows[i]; });
  return BytesOf(writer);
}

// --- offer --------------------------------------------------------------------------------------

absl::StatusOr<PeerOffer> ReadOffer(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<OfferMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kOffer));
  RETURN_IF_ERROR(
      CheckThat(fixed.tenant_bytes <= kTenantBytesMax && fixed.salt_bytes <= kSaltBytesMax,
                "offer: tenant or salt too long"));
  PeerOffer offer{.deadline_ms = fixed.deadline_ms, .space = {}, .items = {}};
  offer.space.tenant = std::string(reader.ReadText(fixed.tenant_bytes));
  offer.space.salt = std::string(reader.ReadText(fixed.salt_bytes));
  const std::span<const uint8_t> manifest = reader.ReadBytes(fixed.manifest_bytes);
  offer.items = reader.ReadArray<OfferItem>(fixed.header.count, kPeerItemsMax);
  RETURN_IF_ERROR(reader.Finish("offer"));
  for (const OfferItem& item : offer.items) {
    RETURN_IF_ERROR(CheckThat(!item.key.IsZero() && item.pages != 0 && item.reserved == 0,
                              "offer: an item's key or size is zero, or a reserved field is not"));
  }
  ASSIGN_OR_RETURN(offer.space.manifest, Manifest::Parse(manifest));
  return offer;
}

std::vector<uint8_t> WriteMessage(const PeerOffer& message) {
  const std::vector<uint8_t> manifest = message.space.manifest.Serialize();
  MessageWriter writer;
  writer.Write(OfferMessage{.header = HeaderOf(PeerMessageKind::kOffer, message.items.size()),
                            .deadline_ms = message.deadline_ms,
                            .tenant_bytes = static_cast<uint32_t>(message.space.tenant.size()),
                            .salt_bytes = static_cast<uint32_t>(message.space.salt.size()),
                            .manifest_bytes = static_cast<uint32_t>(manifest.size())});
  writer.WriteText(message.space.tenant);
  writer.WriteText(message.space.salt);
  writer.WriteBytes(manifest);
  writer.WriteArray<OfferItem>(message.items.size(), [&](size_t i) { return message.items[i]; });
  return BytesOf(writer);
}

absl::StatusOr<std::vector<OfferedItem>> ReadOffered(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<OfferedMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kOffered));
  auto items = reader.ReadArray<OfferedItem>(fixed.header.count, kPeerItemsMax);
  RETURN_IF_ERROR(reader.Finish("offered"));
  for (const OfferedItem& item : items) {
    RETURN_IF_ERROR(CheckThat(
        item.answer <= static_cast<uint32_t>(OfferAnswerCode::kFailed) && item.reserved == 0,
        "offered: unknown answer, or a reserved field is not zero"));
  }
  return items;
}

std::vector<uint8_t> WriteOffered(std::span<const OfferedItem> items) {
  MessageWriter writer;
  writer.Write(OfferedMessage{.header = HeaderOf(PeerMessageKind::kOffered, items.size())});
  writer.WriteArray<OfferedItem>(items.size(), [&](size_t i) { return items[i]; });
  return BytesOf(writer);
}

// --- locate -------------------------------------------------------------------------------------

absl::StatusOr<PeerLocate> ReadLocate(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<LocateMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kLocate));
  PeerLocate locate{.space = fixed.space,
                    .question = fixed.question,
                    .keys = reader.ReadArray<KeyHash>(fixed.header.count, kLocateKeysMax)};
  RETURN_IF_ERROR(reader.Finish("locate"));
  return locate;
}

std::vector<uint8_t> WriteMessage(const PeerLocate& message) {
  MessageWriter writer;
  writer.Write(LocateMessage{.header = HeaderOf(PeerMessageKind::kLocate, message.keys.size()),
                             .space = message.space,
                             .question = message.question});
  writer.WriteArray<KeyHash>(message.keys.size(), [&](size_t i) { return message.keys[i]; });
  return BytesOf(writer);
}

absl::StatusOr<PeerLocated> ReadLocated(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto fixed = reader.Read<LocatedMessage>();
  RETURN_IF_ERROR(CheckHeader(fixed.header, PeerMessageKind::kLocated));
  const auto items = reader.ReadArray<LocatedItem>(fixed.header.count, kPeerItemsMax);
  RETURN_IF_ERROR(reader.Finish("located"));
  RETURN_IF_ERROR(CheckThat(fixed.partial <= 1 && fixed.reserved == 0,
                            "located: its flag or the reserved field is out of bounds"));
  PeerLocated located{.question = fixed.question, .partial = fixed.partial != 0, .items = {}};
  for (const LocatedItem& item : items) {
    RETURN_IF_ERROR(CheckThat(item.name_bytes >= 1 && item.name_bytes <= sizeof(item.name) &&
                                  item.tiers != 0 && item.tiers <= kTiersAll && item.pages != 0 &&
                                  std::all_of(std::begin(item.reserved), std::end(item.reserved),
                                              [](uint8_t byte) { return byte == 0; }),
                              "located: an item's name, tiers or size is out of bounds, or a "
                              "reserved field is not zero"));
    located.items.push_back({.key = item.key,
                             .pages = item.pages,
                             .tiers = item.tiers,
                             .node = std::string(item.name, item.name_bytes)});
  }
  return located;
}

std::vector<uint8_t> WriteMessage(const PeerLocated& message) {
  MessageWriter writer;
  writer.Write(LocatedMessage{.header = HeaderOf(PeerMessageKind::kLocated, message.items.size()),
                              .question = message.question,
                              .partial = message.partial ? 1u : 0u,
                              .reserved = 0});
  for (const PeerLocated::Item& item : message.items) {
    LocatedItem bytes{};
    bytes.key = item.key;
    bytes.pages = item.pages;
    bytes.tiers = item.tiers;
    bytes.name_bytes = static_cast<uint8_t>(std::min(item.node.size(), sizeof(bytes.name)));
    std::copy_n(item.node.data(), bytes.name_bytes, bytes.name);
    writer.Write(bytes);
  }
  return BytesOf(writer);
}

// --- probe --------------------------------------------------------------------------------------

absl::Status CheckProbe(std::span<const uint8_t> message) {
  MessageReader reader(message);
  const auto header = reader.Read<PeerMessageHeader>();
  RETURN_IF_ERROR(CheckHeader(header, static_cast<PeerMessageKind>(header.kind)));
  RETURN_IF_ERROR(CheckThat(header.count == 0, "probe: it has no items"));
  return reader.Finish("probe");
}

std::vector<uint8_t> WriteProbe(PeerMessageKind kind) {
  MessageWriter writer;
  writer.Write(HeaderOf(kind, 0));
  return BytesOf(writer);
}

}  // namespace larder

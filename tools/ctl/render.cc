#include "tools/ctl/render.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tools/console/units.h"
#include "tools/ctl/enum_names.h"

namespace larder {
namespace {

constexpr size_t kBarColumns = 24;

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
}

std::string FormatMs(uint64_t ms) {
  // Beyond this a duration would overflow; a thousand years are no less wrong.
  constexpr uint64_t kMsMax = uint64_t{1000} * 365 * 24 * 3600 * 1000;
  return FormatTimeSpan(absl::Milliseconds(static_cast<int64_t>(std::min(ms, kMsMax))));
}

template <typename Counts>
std::string RemovalText(const Counts& counts) {
  std::string text;
  for (const v1::RemovalCount& count : counts) {
    if (count.chunks() == 0) continue;
    const std::string name = EnumName(*v1::RemovalCause_descriptor(), count.cause());
    absl::StrAppend(&text, text.empty() ? "" : ", ", name.empty() ? "other" : name, " ",
                    FormatCount(count.chunks()));
  }
  return text.empty() ? "none" : text;
}

std::string PartText(const v1::Part& part) {
  return absl::StrFormat("layers %d-%d, heads %d-%d", part.layer_begin(), part.layer_end(),
                         part.head_begin(), part.head_end());
}

std::string ShortId(const std::string& id) { return id.substr(0, kShortIdDigits); }

std::string YesNo(bool yes) { return yes ? "yes" : "no"; }

std::string OrNone(const std::string& text) { return text.empty() ? "none" : text; }

std::string ArenaText(const v1::ArenaStatus& arena) {
  return absl::StrCat(arena.directory(), ", ", FormatBytes(arena.capacity_bytes()),
                      arena.huge_pages() ? " on huge pages" : "",
                      arena.backed_bytes() < arena.capacity_bytes()
                          ? absl::StrCat(", ", FormatBytes(arena.backed_bytes()), " of it ready")
                          : "");
}

std::string ContainerText(const v1::ContainerStatus& container) {
  if (!container.error().empty()) return container.error();
  return container.verified() ? "verified" : "header sound, payload not checked";
}

Table ContainersTable(const v1::InspectResponse& response) {
  Table table;
  table.AddColumn("PART");
  table.AddColumn("OFFSET", Align::kRight);
  table.AddColumn("BYTES", Align::kRight);
  table.AddColumn("TOKENS", Align::kRight);
  table.AddColumn("HEADER CRC32C");
  table.AddColumn("STATE");
  for (const v1::ContainerStatus& container : response.containers()) {
    const v1::ContainerHeader& header = container.header();
    table.AddRow({PartText(container.part()), absl::StrCat(container.arena_offset()),
                  FormatCount(container.bytes()),
                  container.has_header() ? absl::StrCat(header.token_count()) : "-",
                  container.has_header() ? absl::StrFormat("%08x", header.header_crc32c()) : "-",
                  ContainerText(container)});
  }
  return table;
}

}  // namespace

std::string UsageBar(uint64_t used, uint64_t capacity) {
  const double share = Share(used, capacity);
  const auto filled = static_cast<size_t>(std::lround(share * kBarColumns));
  return absl::StrFormat("[%s%s] %3.0f%%", std::string(filled, '#'),
                         std::string(kBarColumns - filled, '.'), share * 100);
}

std::string FormatRatio(uint64_t hits, uint64_t misses) {
  if (hits == 0 && misses == 0) return "-";
  const double hit = static_cast<double>(hits);
  return absl::StrFormat("%.1f%%", 100 * hit / (hit + static_cast<double>(misses)));
}

std::string FieldLines(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, DisplayWidth(name));
  std::string text;
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&text, name, std::string(width - DisplayWidth(name) + 2, ' '), Printable(value),
                    "\n");
  }
  return text;
}

void AppendDisk(const v1::DiskStatus& disk,
                std::vector<std::pair<std::string, std::string>>* fields) {
  fields->push_back({"disk", absl::StrCat(UsageBar(disk.live_bytes(), disk.capacity_bytes()), "  ",
                                          FormatBytes(disk.live_bytes()), " of ",
                                          FormatBytes(disk.capacity_bytes()), ", ",
                                          FormatCount(disk.chunks()), " chunks")});
  fields->push_back({"", absl::StrCat("written ", FormatCount(disk.demotions()), " chunks, loaded ",
                                      FormatCount(disk.loads()), ", failed loads ",
                                      FormatCount(disk.failed_loads()), ", evicted unwritten ",
                                      FormatCount(disk.dropped_before_demotion()), ", corrupt ",
                                      FormatCount(disk.corrupt_records()))});
  for (const v1::DiskDeviceStatus& device : disk.devices()) {
    fields->push_back(
        {"", absl::StrCat(
                 device.path(), ": ", device.out_of_service() ? "out of service" : device.engine(),
                 device.retired() ? ", retired" : "", ", read ", FormatBytes(device.bytes_read()),
                 ", written ", FormatBytes(device.bytes_written()), ", failed ",
                 FormatCount(device.failed()))});
  }
}

std::string StatusText(const v1::StatusResponse& status) {
  const v1::ArenaStatus& arena = status.arena();
  const v1::LocalServerStatus& local = status.local_server();
  std::vector<std::pair<std::string, std::string>> fields = {
      {"daemon", absl::StrCat("larderd ", status.version(), ", up ", FormatMs(status.uptime_ms()),
                              status.draining() ? ", draining" : ", serving")},
      {"arena", ArenaText(arena)},
      {"used",
       absl::StrCat(UsageBar(arena.used_bytes(), arena.capacity_bytes()), "  ",
                    FormatBytes(arena.used_bytes()), " of ", FormatBytes(arena.capacity_bytes()))},
      {"",
       absl::StrCat("pinned ", FormatBytes(arena.pinned_bytes()), ", being written ",
                    FormatBytes(arena.reserved_bytes()), ", free ", FormatBytes(arena.free_bytes()),
                    ", largest free piece ", FormatBytes(arena.largest_free_bytes()))},
      {"chunks", absl::StrCat(FormatCount(status.chunks()), " in ", FormatCount(status.spaces()),
                              status.spaces() == 1 ? " space" : " spaces")},
      {"removed", RemovalText(status.removed())},
      {"shortened", absl::StrCat(FormatCount(status.shortened_chunks()), " chunks by ",
                                 FormatBytes(status.shortened_bytes()), ", moved ",
                                 FormatBytes(status.moved_bytes()))},
      {"sessions", FormatCount(status.sessions())},
      {"leases", FormatCount(status.leases())},
      {"reservations",
       absl::StrCat(FormatCount(status.reservations()), ", given up but perhaps in use ",
                    FormatCount(status.void_reservations()), ", expired ",
                    FormatCount(status.expired_reservations()), ", refused for want of room ",
                    FormatCount(status.reserve_no_space()))},
      {"recovered", absl::StrCat(FormatCount(status.recovery().chunks()), " chunks, ",
                                 FormatBytes(status.recovery().bytes()), "; discarded ",
                                 FormatCount(status.recovery().discarded_blocks()), " blocks")},
      {"clients",
       absl::StrCat("accepted ", FormatCount(local.accepted()), ", refused ",
                    FormatCount(local.refused()), ", lost ", FormatCount(local.revoked()),
                    ", malformed frames ", FormatCount(local.malformed()), ", frames ",
                    FormatCount(local.frames()))}};
  if (status.has_disk()) AppendDisk(status.disk(), &fields);
  return FieldLines(fields);
}

std::string CodecText(const v1::Manifest& manifest) {
  // A daemon that does not say knows no other.
  const int codec = std::max<int>(manifest.codec(), v1::CODEC_RAW);
  std::string name = EnumName(*v1::Codec_descriptor(), codec);
  if (manifest.levels() == 0) return name;
  return absl::StrCat(name, ", ", manifest.levels(), manifest.levels() == 1 ? " level" : " levels");
}

Table SpacesTable(std::span<const v1::SpaceStatus> spaces) {
  Table table;
  table.AddColumn("SPACE");
  table.AddColumn("TENANT");
  table.AddColumn("MODEL");
  table.AddColumn("CODEC");
  table.AddColumn("CHUNK", Align::kRight);
  table.AddColumn("TOKENS", Align::kRight);
  table.AddColumn("STORED", Align::kRight);
  table.AddColumn("BYTES", Align::kRight);
  table.AddColumn("LOOKUPS", Align::kRight);
  table.AddColumn("HITS", Align::kRight);
  table.AddColumn("REMOVED");
  for (const v1::SpaceStatus& space : spaces) {
    const v1::SpaceDescription& description = space.description();
    table.AddRow({space.space_id(), description.tenant(), description.manifest().model(),
                  CodecText(description.manifest()), FormatBytes(space.chunk_payload_bytes()),
                  absl::StrCat(description.manifest().tokens_per_chunk()),
                  FormatCount(space.resident_chunks()), FormatBytes(space.resident_bytes()),
                  FormatCount(space.lookups()),
                  FormatRatio(space.hit_tokens(), space.miss_tokens()),
                  RemovalText(space.removed())});
  }
  return table;
}

Table ChunksTable(std::span<const v1::ChunkStatus> chunks) {
  Table table;
  table.AddColumn("SPACE");
  table.AddColumn("HASH");
  table.AddColumn("DEPTH", Align::kRight);
  table.AddColumn("CHILDREN", Align::kRight);
  table.AddColumn("PARTS", Align::kRight);
  table.AddColumn("BYTES", Align::kRight);
  table.AddColumn("LEASES", Align::kRight);
  table.AddColumn("VISIBLE");
  table.AddColumn("PINNED");
  table.AddColumn("IDLE", Align::kRight);
  table.AddColumn("EXPIRES", Align::kRight);
  for (const v1::ChunkStatus& chunk : chunks) {
    table.AddRow({ShortId(chunk.space_id()), chunk.key_hash(), absl::StrCat(chunk.depth()),
                  absl::StrCat(chunk.children()), absl::StrCat(chunk.parts()),
                  FormatBytes(chunk.bytes()), absl::StrCat(chunk.leases()), YesNo(chunk.visible()),
                  YesNo(chunk.pinned()), FormatMs(chunk.idle_ms()),
                  chunk.has_expires_in_ms() ? FormatMs(chunk.expires_in_ms()) : "never"});
  }
  return table;
}

std::string InspectText(const v1::InspectResponse& response) {
  const v1::ChunkStatus& chunk = response.chunk();
  std::string parent = "not known";
  for (const v1::ContainerStatus& container : response.containers()) {
    if (container.has_header()) parent = OrNone(container.header().parent_hash());
  }
  std::string text = FieldLines(
      {{"key", response.key().empty() ? "not readable" : absl::BytesToHexString(response.key())},
       {"hash", chunk.key_hash()},
       {"space", chunk.space_id()},
       {"tenant", response.tenant()},
       {"model", response.model()},
       {"manifest", response.manifest_id()},
       {"parent", parent},
       {"depth", absl::StrCat(chunk.depth())},
       {"children", absl::StrCat(chunk.children())},
       {"size", absl::StrCat(FormatBytes(chunk.bytes()), " in ", chunk.parts(),
                             chunk.parts() == 1 ? " part" : " parts",
                             chunk.visible() ? "" : "; others are missing, nobody sees it")},
       {"pinned", YesNo(chunk.pinned())},
       {"leases", absl::StrCat(chunk.leases())},
       {"last use", absl::StrCat(FormatMs(chunk.idle_ms()), " ago")},
       {"expires", chunk.has_expires_in_ms() ? "in " + FormatMs(chunk.expires_in_ms()) : "never"}});
  absl::StrAppend(&text, "\n", ContainersTable(response).ToString());
  return text;
}

bool HasProblem(const v1::InspectResponse& response) {
  return std::any_of(response.containers().begin(), response.containers().end(),
                     [](const auto& container) { return !container.error().empty(); });
}

}  // namespace larder

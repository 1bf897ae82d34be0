#include "tools/ctl/cluster_text.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tools/console/table.h"
#include "tools/console/units.h"
#include "tools/ctl/render.h"

namespace larder {
namespace {

std::string StateOf(const v1::ClusterMember& member) {
  std::string state = member.self() ? "this node" : member.up() ? "up" : "down";
  if (member.directory()) absl::StrAppend(&state, ", directory");
  if (member.draining()) absl::StrAppend(&state, ", draining");
  if (member.breaker() == v1::BREAKER_STATE_OPEN) absl::StrAppend(&state, ", left alone");
  if (member.breaker() == v1::BREAKER_STATE_TRIAL) absl::StrAppend(&state, ", on trial");
  return state;
}

std::string IndexOf(const v1::ClusterResponse& cluster, const v1::ClusterMember& member) {
  if (member.self() || cluster.asks_directory()) return "-";
  if (!member.in_sync()) return "not in sync";
  return member.index_lag() == 0 ? "in sync"
                                 : absl::StrCat(FormatCount(member.index_lag()), " behind");
}

std::string MicrosecondsText(uint64_t microseconds) {
  return FormatTimeSpan(absl::Microseconds(static_cast<int64_t>(microseconds)));
}

Table MembersTable(const v1::ClusterResponse& cluster) {
  Table table;
  for (const char* header : {"NODE", "STATE", "EPOCH", "INDEX"}) table.AddColumn(header);
  for (const char* header : {"CHUNKS", "MEMORY", "DISK", "LATENCY", "RATE", "FROM IT", "TO IT"}) {
    table.AddColumn(header, Align::kRight);
  }
  for (const v1::ClusterMember& member : cluster.members()) {
    const bool known = !member.self();
    table.AddRow(
        {member.name(), StateOf(member), absl::StrFormat("%016x", member.epoch()),
         IndexOf(cluster, member), known ? FormatCount(member.chunks()) : "-",
         known ? FormatBytes(member.memory_bytes()) : "-",
         known ? FormatBytes(member.disk_bytes()) : "-",
         known ? MicrosecondsText(member.predicted_latency_us()) : "-",
         known ? absl::StrCat(FormatBytes(static_cast<uint64_t>(member.bytes_per_second())), "/s")
               : "-",
         known ? FormatBytes(member.fetched_bytes()) : "-",
         known ? FormatBytes(member.served_bytes()) : "-"});
  }
  return table;
}

}  // namespace

std::string ClusterText(const v1::ClusterResponse& cluster) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"cluster", absl::StrCat(cluster.cluster(), ", ", cluster.members_size(), " members")},
      {"index", absl::StrCat(FormatCount(cluster.index_entries()), " chunks in ",
                             FormatBytes(cluster.index_bytes()))},
      {"fetched", absl::StrCat(FormatCount(cluster.fetched_chunks()), " chunks, ",
                               FormatBytes(cluster.fetched_bytes()), "; ",
                               FormatCount(cluster.fetch_failures()), " failed, ",
                               FormatCount(cluster.hedged_fetches()), " asked twice, ",
                               FormatCount(cluster.corrupt_arrivals()), " damaged")},
      {"served", absl::StrCat(FormatCount(cluster.served_chunks()), " chunks, ",
                              FormatBytes(cluster.served_bytes()))},
      {"copies", absl::StrCat(FormatCount(cluster.taken_chunks()), " taken of ",
                              FormatCount(cluster.offered_chunks()), " offered")}};
  if (cluster.asks_directory()) {
    fields.emplace_back("directory",
                        absl::StrCat(FormatCount(cluster.directory_questions()), " questions, ",
                                     FormatCount(cluster.directory_unanswered()), " unanswered; ",
                                     FormatCount(cluster.directory_found()), " chunks found, ",
                                     FormatCount(cluster.directory_nowhere()), " nowhere"));
  }
  if (cluster.answered_questions() > 0) {
    fields.emplace_back("answered",
                        absl::StrCat(FormatCount(cluster.answered_questions()), " questions for ",
                                     FormatCount(cluster.answered_keys()), " chunks"));
  }
  if (!cluster.source_reachable()) {
    fields.insert(fields.begin() + 1,
                  {"members", absl::StrCat("as last known ",
                                           FormatTimeSpan(absl::Milliseconds(
                                               static_cast<int64_t>(cluster.source_silent_ms()))),
                                           " ago: ", Printable(cluster.source_problem()))});
  } else if (!cluster.source_problem().empty()) {
    fields.insert(fields.begin() + 1, {"members", Printable(cluster.source_problem())});
  }
  for (const v1::RefusedPeers& refused : cluster.refused()) {
    fields.emplace_back("refused", absl::StrCat(FormatCount(refused.count()),
                                                " connections: ", Printable(refused.reason())));
  }
  std::string text = absl::StrCat(FieldLines(fields), "\n", MembersTable(cluster).ToString());
  for (const v1::ClusterMember& member : cluster.members()) {
    if (member.self() || member.up() || member.last_error().empty()) continue;
    absl::StrAppend(&text, Printable(member.name()), ": ", Printable(member.last_error()), "\n");
  }
  return text;
}

std::string WhereText(const v1::WhereResponse& where) {
  std::string text;
  for (const v1::ChunkHolders& chunk : where.chunks()) {
    absl::StrAppend(&text, chunk.key_hash(), ":");
    if (chunk.holders_size() == 0) absl::StrAppend(&text, " nowhere");
    const char* separator = " ";
    for (const v1::ChunkHolder& holder : chunk.holders()) {
      absl::StrAppend(&text, separator, Printable(holder.node()), " (",
                      holder.in_memory() && holder.on_disk() ? "memory, disk"
                      : holder.in_memory()                   ? "memory"
                                                             : "disk");
      if (holder.predicted_us() > 0) {
        absl::StrAppend(&text, ", ", MicrosecondsText(holder.predicted_us()), " away");
      }
      absl::StrAppend(&text, ")");
      separator = ", ";
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace larder

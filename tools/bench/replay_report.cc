#include "tools/bench/replay_report.h"

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/console/table.h"
#include "tools/console/units.h"

namespace larder {
namespace {

// By ChunkLocation::Tier.
constexpr std::array<const char*, 4> kPlaceNames = {"memory", "disk", "peer_memory", "peer_disk"};

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

double GigabytesPerSecond(uint64_t bytes, absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  return seconds <= 0 ? 0 : static_cast<double>(bytes) / seconds / 1e9;
}

std::string Speed(uint64_t bytes, absl::Duration time) {
  if (bytes == 0) return "nothing moved";
  return absl::StrFormat("%.3g GB/s", GigabytesPerSecond(bytes, time));
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", share * 100); }

std::string Verdict(const ReplayCounts& counts) {
  if (counts.corrupt > 0) {
    return absl::StrCat("WRONG: ", FormatCount(counts.corrupt), " blocks had wrong bytes");
  }
  if (counts.bytes_fetched == 0) return "nothing was fetched, so nothing could be wrong";
  return absl::StrCat("every byte of ", FormatBytes(counts.bytes_fetched), " was right");
}

std::string PutFailures(const ReplayCounts& counts) {
  std::string text;
  for (const auto& [cause, count] : counts.put_failures) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", cause, " ", FormatCount(count));
  }
  return text.empty() ? "none" : text;
}

nlohmann::ordered_json LatencyJson(const LatencyHistogram& latency) {
  return {{"p50", absl::ToDoubleMicroseconds(latency.Percentile(0.5))},
          {"p99", absl::ToDoubleMicroseconds(latency.Percentile(0.99))}};
}

nlohmann::ordered_json PlacesJson(const ReplayCounts& counts) {
  nlohmann::ordered_json json;
  for (size_t i = 0; i < counts.hit_blocks_at.size(); ++i) {
    json[kPlaceNames[i]] = counts.hit_blocks_at[i];
  }
  return json;
}

nlohmann::ordered_json NodesJson(const std::vector<ReplayNode>& nodes) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const ReplayNode& node : nodes) {
    json.push_back({{"socket", node.socket_path},
                    {"lost", node.lost},
                    {"requests", node.counts.requests},
                    {"hit_ratio", Share(node.counts.hit_tokens, node.counts.tokens)},
                    {"hit_blocks", node.counts.hit_blocks},
                    {"hit_blocks_at", PlacesJson(node.counts)},
                    {"blocks_put", node.counts.blocks_put},
                    {"unavailable_calls", node.counts.unavailable_calls},
                    {"evicted_chunks", node.evicted_chunks},
                    {"stored_chunks", node.stats.chunks},
                    {"match_us", LatencyJson(node.counts.match_latency)},
                    {"fetch_us", LatencyJson(node.counts.fetch_latency)}});
  }
  return json;
}

void PrintNodes(const ReplayReport& report, FILE* file) {
  Table table;
  table.AddColumn("daemon");
  for (const char* header : {"requests", "hit ratio", "here", "from others", "lookup",
                             "fetch, median", "fetch, p99", "evicted", "holds"}) {
    table.AddColumn(header, Align::kRight);
  }
  for (const ReplayNode& node : report.nodes) {
    const ReplayCounts& counts = node.counts;
    const auto& at = counts.hit_blocks_at;
    table.AddRow({Printable(node.socket_path), FormatCount(counts.requests),
                  Percent(Share(counts.hit_tokens, counts.tokens)), FormatCount(at[0] + at[1]),
                  FormatCount(at[2] + at[3]), FormatTimeSpan(counts.match_latency.Percentile(0.5)),
                  FormatTimeSpan(counts.fetch_latency.Percentile(0.5)),
                  FormatTimeSpan(counts.fetch_latency.Percentile(0.99)),
                  node.lost ? "-" : FormatCount(node.evicted_chunks),
                  node.lost ? "lost" : FormatCount(node.stats.chunks)});
  }
  std::fprintf(file, "\n");
  table.Print(file);
}

}  // namespace

std::string ReplayReportJson(const ReplayReport& report) {
  const ReplayCounts& counts = report.counts;
  nlohmann::ordered_json json = {
      {"requests", counts.requests},
      {"tokens", counts.tokens},
      {"hit_tokens", counts.hit_tokens},
      {"hit_ratio", Share(counts.hit_tokens, counts.tokens)},
      {"blocks", counts.blocks},
      {"hit_blocks", counts.hit_blocks},
      {"block_hit_ratio", Share(counts.hit_blocks, counts.blocks)},
      {"block_bytes", report.block_bytes},
      {"partial_blocks_skipped", counts.partial_blocks_skipped},
      {"bytes_put", counts.bytes_put},
      {"container_bytes_put", counts.container_bytes_put},
      {"blocks_refused", counts.blocks_refused},
      {"blocks_put", counts.blocks_put},
      {"blocks_already_stored", counts.blocks_already_stored},
      {"bytes_fetched", counts.bytes_fetched},
      {"blocks_evicted_before_fetch", counts.blocks_evicted_before_fetch},
      {"corrupt", counts.corrupt},
      {"errors", counts.errors},
      {"error_texts", counts.error_texts},
      {"put_failures", counts.put_failures},
      {"evicted_chunks", report.evicted_chunks},
      {"disk_loads", report.stats.disk_loads},
      {"disk_payload_bytes_written", report.stats.disk_payload_bytes_written},
      {"disk_device_bytes_written", report.stats.disk_device_bytes_written},
      {"stored_chunks", report.stats.chunks},
      {"arena_bytes", report.stats.data_bytes},
      {"match_us", LatencyJson(counts.match_latency)},
      {"fetch_us", LatencyJson(counts.fetch_latency)},
      {"fetch_gb_per_s", GigabytesPerSecond(counts.bytes_fetched, counts.fetch_time)},
      {"put_gb_per_s", GigabytesPerSecond(counts.bytes_put, counts.put_time)},
      {"elapsed_s", absl::ToDoubleSeconds(report.elapsed)},
  };
  if (report.nodes.size() > 1) {
    json["hit_blocks_at"] = PlacesJson(counts);
    json["lost_nodes"] = report.lost_nodes;
    json["nodes"] = NodesJson(report.nodes);
  }
  // Texts may quote bytes of a trace file that are not UTF-8.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void PrintReplayReport(const ReplayReport& report, FILE* file) {
  const ReplayCounts& counts = report.counts;
  const LatencyHistogram& match = counts.match_latency;
  Table table;
  table.AddColumn("replay");
  table.AddColumn("");
  table.AddColumn("meaning");
  const auto row = [&](std::string what, std::string value, std::string meaning = "") {
    table.AddRow({std::move(what), std::move(value), std::move(meaning)});
  };
  row("requests", FormatCount(counts.requests),
      absl::StrCat("in ", FormatTimeSpan(report.elapsed), ", contents made and checked included"));
  row("prompt tokens", FormatCount(counts.tokens), "what a model without a store computes");
  row("tokens found", FormatCount(counts.hit_tokens), "fetched instead of computed again");
  row("hit ratio", Percent(Share(counts.hit_tokens, counts.tokens)),
      absl::StrCat(Percent(Share(counts.hit_blocks, counts.blocks)), " of the ",
                   FormatCount(counts.blocks), " full blocks of ",
                   FormatBytes(report.block_bytes)));
  if (report.nodes.size() > 1) {
    const auto& at = counts.hit_blocks_at;
    row("found here", FormatCount(at[0] + at[1]),
        absl::StrCat("blocks on the daemon that was asked, ", FormatCount(at[1]),
                     " of them on disk"));
    row("from others", FormatCount(at[2] + at[3]),
        absl::StrCat("blocks on other nodes, ", FormatCount(at[3]), " of them on disk"));
  }
  row("fetched", FormatBytes(counts.bytes_fetched),
      absl::StrCat(Speed(counts.bytes_fetched, counts.fetch_time), " in each thread's calls"));
  row("stored", FormatBytes(counts.bytes_put),
      absl::StrCat(Speed(counts.bytes_put, counts.put_time), " in each thread's calls"));
  row("lookup, median", FormatTimeSpan(match.Percentile(0.5)), "of a whole prompt");
  row("lookup, p99", FormatTimeSpan(match.Percentile(0.99)), "one in a hundred takes longer");
  row("evicted", FormatCount(report.evicted_chunks),
      absl::StrCat("blocks that made room; the store holds ", FormatCount(report.stats.chunks),
                   " in ", FormatBytes(report.stats.data_bytes)));
  row("lost in between", FormatCount(counts.blocks_evicted_before_fetch),
      "blocks evicted between lookup and fetch: computed again");
  row("partial blocks", FormatCount(counts.partial_blocks_skipped), "never stored");
  row("puts cut short", PutFailures(counts));
  row("errors", FormatCount(counts.errors));
  row("verification", counts.corrupt == 0 ? "passed" : "FAILED", Verdict(counts));
  if (report.lost_nodes > 0) {
    row("daemons lost", FormatCount(report.lost_nodes),
        absl::StrCat(FormatCount(counts.unavailable_calls), " calls found nobody"));
  }
  table.Print(file);
  if (report.nodes.size() > 1) PrintNodes(report, file);
  for (const std::string& text : counts.error_texts) {
    std::fprintf(file, "error: %s\n", Printable(text).c_str());
  }
}

}  // namespace larder

#include "tools/bench/replay_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/console/table.h"
#include "tools/console/units.h"

namespace larder {
namespace {

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

}  // namespace

std::string ReplayReportJson(const ReplayReport& report) {
  const ReplayCounts& counts = report.counts;
  const LatencyHistogram& match = counts.match_latency;
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
      {"match_us",
       {{"p50", absl::ToDoubleMicroseconds(match.Percentile(0.5))},
        {"p99", absl::ToDoubleMicroseconds(match.Percentile(0.99))}}},
      {"fetch_gb_per_s", GigabytesPerSecond(counts.bytes_fetched, counts.fetch_time)},
      {"put_gb_per_s", GigabytesPerSecond(counts.bytes_put, counts.put_time)},
      {"elapsed_s", absl::ToDoubleSeconds(report.elapsed)},
  };
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
  table.Print(file);
  for (const std::string& text : counts.error_texts) {
    std::fprintf(file, "error: %s\n", Printable(text).c_str());
  }
}

}  // namespace larder

#include "tools/bench/micro_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/console/table.h"

namespace larder {
namespace {

std::string Number(double value) { return absl::StrFormat("%.4g", value); }

std::string Goal(const MicroFigure& figure) {
  return absl::StrCat(figure.goal_kind == GoalKind::kAtLeast ? ">= " : "<= ", Number(figure.goal));
}

}  // namespace

std::string MicroReportJson(const MicroReport& report) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const MicroFigure& figure : report.figures()) json[figure.name] = figure.value;
  nlohmann::ordered_json raw = nlohmann::ordered_json::object();
  for (const RawFigure& figure : report.raw()) raw[figure.name] = figure.value;
  json["raw"] = std::move(raw);
  for (const RunSetting& setting : report.settings()) json["run"][setting.name] = setting.value;
  return json.dump(2);
}

void PrintMicroReport(const MicroReport& report, FILE* file) {
  Table figures;
  figures.AddColumn("figure");
  figures.AddColumn("value", Align::kRight);
  figures.AddColumn("goal", Align::kRight);
  figures.AddColumn("");
  figures.AddColumn("limited by");
  for (const MicroFigure& figure : report.figures()) {
    figures.AddRow({figure.name, Number(figure.value), Goal(figure),
                    figure.reached() ? "reached" : "missed", figure.limited_by});
  }
  figures.Print(file);
  std::fputc('\n', file);
  Table raw;
  raw.AddColumn("raw figure");
  raw.AddColumn("value", Align::kRight);
  for (const RawFigure& figure : report.raw()) raw.AddRow({figure.name, Number(figure.value)});
  raw.Print(file);
  for (const RunSetting& setting : report.settings()) {
    absl::FPrintF(file, "%s: %s\n", setting.name, setting.value);
  }
}

}  // namespace larder

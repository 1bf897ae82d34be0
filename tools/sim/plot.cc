#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tools/console/table.h"
#include "tools/sim/report.h"

namespace larder {
namespace {

constexpr double kWidth = 760, kHeight = 480;
constexpr double kLeft = 64, kTop = 40, kRight = 150, kBottom = 52;
// Dark enough on white and apart for most eyes (after Okabe and Ito).
constexpr std::array<const char*, 12> kColours = {"#000000", "#0072b2", "#d55e00", "#009e73",
                                                  "#cc79a7", "#e69f00", "#56b4e9", "#8c564b",
                                                  "#7f7f7f", "#5e3c99", "#b2182b", "#1b7837"};

struct Point {
  double capacity_pct;
  double hit_pct;
};

// Capacity on a logarithmic axis, hits on a linear one from 0.
struct Axes {
  double low_pct, high_pct, top_pct;

  double X(double capacity_pct) const {
    const double span = std::log(high_pct / low_pct);
    const double part = span <= 0 ? 0.5 : std::log(capacity_pct / low_pct) / span;
    return kLeft + part * (kWidth - kLeft - kRight);
  }
  double Y(double hit_pct) const {
    return kHeight - kBottom - hit_pct / top_pct * (kHeight - kTop - kBottom);
  }
};

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(Printable(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string Text(double x, double y, absl::string_view anchor, absl::string_view text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                         Escape(text));
}

std::string Line(double x1, double y1, double x2, double y2) {
  return absl::StrFormat(
      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#cccccc\"/>\n", x1, y1, x2,
      y2);
}

std::string Frame(const Axes& axes, const SimulationReport& report) {
  std::string svg = Text(kLeft, 24, "start", report.workload);
  for (int part = 0; part <= 5; ++part) {
    const double hit_pct = axes.top_pct * part / 5;
    absl::StrAppend(&svg, Line(kLeft, axes.Y(hit_pct), kWidth - kRight, axes.Y(hit_pct)),
                    Text(kLeft - 8, axes.Y(hit_pct) + 4, "end", absl::StrFormat("%.4g", hit_pct)));
  }
  std::map<double, bool> capacities;
  for (const SimulationRow& row : report.rows) capacities[row.capacity_pct] = true;
  for (const auto& [capacity_pct, present] : capacities) {
    const double x = axes.X(capacity_pct);
    absl::StrAppend(
        &svg, Line(x, kTop, x, kHeight - kBottom),
        Text(x, kHeight - kBottom + 18, "middle", absl::StrFormat("%.3g", capacity_pct)));
  }
  absl::StrAppend(&svg,
                  Text((kLeft + kWidth - kRight) / 2, kHeight - 12, "middle",
                       "capacity, % of unique blocks (logarithmic)"),
                  Text(kLeft, kTop - 6, "end", "block hit %"));
  return svg;
}

std::string Curve(const Axes& axes, const std::string& policy, const std::vector<Point>& points,
                  size_t number) {
  const char* colour = kColours[number % kColours.size()];
  std::string svg = "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"";
  absl::StrAppend(&svg, colour, "\" points=\"");
  for (const Point& point : points) {
    absl::StrAppendFormat(&svg, "%.1f,%.1f ", axes.X(point.capacity_pct), axes.Y(point.hit_pct));
  }
  absl::StrAppend(&svg, "\"/>\n");
  for (const Point& point : points) {
    absl::StrAppendFormat(&svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                          axes.X(point.capacity_pct), axes.Y(point.hit_pct), colour);
  }
  const double y = kTop + 18.0 * static_cast<double>(number);
  absl::StrAppendFormat(&svg,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"4\" fill=\"%s\"/>\n",
                        kWidth - kRight + 16, y - 4, colour);
  return svg + Text(kWidth - kRight + 36, y + 2, "start", policy);
}

}  // namespace

std::string SimulationPlot(const SimulationReport& report) {
  std::vector<std::string> policies;  // in the order of the rows
  std::map<std::string, std::vector<Point>> curves;
  Axes axes{.low_pct = 100, .high_pct = 0.001, .top_pct = 0};
  for (const SimulationRow& row : report.rows) {
    if (curves.count(row.policy) == 0) policies.push_back(row.policy);
    const double hit_pct = row.result.accesses == 0
                               ? 0
                               : 100.0 * static_cast<double>(row.result.hit_blocks) /
                                     static_cast<double>(row.result.accesses);
    curves[row.policy].push_back({row.capacity_pct, hit_pct});
    axes.low_pct = std::min(axes.low_pct, row.capacity_pct);
    axes.high_pct = std::max(axes.high_pct, row.capacity_pct);
    axes.top_pct = std::max(axes.top_pct, hit_pct);
  }
  axes.top_pct = std::max(5.0, std::ceil(axes.top_pct / 5) * 5);
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      kWidth, kHeight);
  absl::StrAppend(&svg, Frame(axes, report));
  for (size_t number = 0; number < policies.size(); ++number) {
    std::vector<Point>& points = curves[policies[number]];
    std::sort(points.begin(), points.end(),
              [](Point a, Point b) { return a.capacity_pct < b.capacity_pct; });
    absl::StrAppend(&svg, Curve(axes, policies[number], points, number));
  }
  return svg + "</svg>\n";
}

}  // namespace larder

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "absl/strings/str_format.h"
#include "tools/sim/plot_canvas.h"
#include "tools/sim/report.h"

namespace larder {
namespace {

constexpr double kWidth = 760, kHeight = 480;
constexpr double kLeft = 64, kTop = 40, kRight = 150, kBottom = 52;
constexpr uint32_t kGridColour = 0xcccccc;
// Dark enough on white and apart for most eyes (after Okabe and Ito).
constexpr std::array<uint32_t, 12> kColours = {0x000000, 0x0072b2, 0xd55e00, 0x009e73,
                                               0xcc79a7, 0xe69f00, 0x56b4e9, 0x8c564b,
                                               0x7f7f7f, 0x5e3c99, 0xb2182b, 0x1b7837};

struct Sample {
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

void DrawFrame(const Axes& axes, const SimulationReport& report, PlotCanvas& canvas) {
  const auto line = [&](PlotPoint from, PlotPoint to) {
    canvas.Polyline(std::array{from, to}, 1, kGridColour);
  };
  canvas.Text({kLeft, 16}, PlotAnchor::kStart, report.workload);
  for (int part = 0; part <= 5; ++part) {
    const double hit_pct = axes.top_pct * part / 5;
    const double y = axes.Y(hit_pct);
    line({kLeft, y}, {kWidth - kRight, y});
    canvas.Text({kLeft - 8, y + 4}, PlotAnchor::kEnd, absl::StrFormat("%.4g", hit_pct));
  }
  std::map<double, bool> capacities;
  for (const SimulationRow& row : report.rows) capacities[row.capacity_pct] = true;
  for (const auto& [capacity_pct, present] : capacities) {
    const double x = axes.X(capacity_pct);
    line({x, kTop}, {x, kHeight - kBottom});
    canvas.Text({x, kHeight - kBottom + 18}, PlotAnchor::kMiddle,
                absl::StrFormat("%.3g", capacity_pct));
  }
  canvas.Text({(kLeft + kWidth - kRight) / 2, kHeight - 12}, PlotAnchor::kMiddle,
              "capacity, % of unique blocks (logarithmic)");
  canvas.Text({kLeft, kTop - 6}, PlotAnchor::kMiddle, "block hit %");
}

void DrawCurve(const Axes& axes, const std::string& policy, const std::vector<Sample>& samples,
               size_t number, PlotCanvas& canvas) {
  const uint32_t colour = kColours[number % kColours.size()];
  std::vector<PlotPoint> points;
  for (const Sample& sample : samples) {
    points.push_back({axes.X(sample.capacity_pct), axes.Y(sample.hit_pct)});
  }
  canvas.Polyline(points, 2, colour);
  for (const PlotPoint& point : points) canvas.Disc(point, 3, colour);
  const double x = kWidth - kRight + 16;
  const double y = kTop + 18.0 * static_cast<double>(number);
  canvas.Polyline(std::array{PlotPoint{x, y - 2}, PlotPoint{x + 14, y - 2}}, 4, colour);
  canvas.Text({x + 20, y + 2}, PlotAnchor::kStart, policy);
}

}  // namespace

std::string SimulationPlot(const SimulationReport& report, PlotFormat format) {
  std::vector<std::string> policies;  // in the order of the rows
  std::map<std::string, std::vector<Sample>> curves;
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
  const PlotSize size{kWidth, kHeight};
  const auto canvas = format == PlotFormat::kPng ? MakePngCanvas(size) : MakeSvgCanvas(size);
  DrawFrame(axes, report, *canvas);
  for (size_t number = 0; number < policies.size(); ++number) {
    std::vector<Sample>& samples = curves[policies[number]];
    std::sort(samples.begin(), samples.end(),
              [](Sample a, Sample b) { return a.capacity_pct < b.capacity_pct; });
    DrawCurve(axes, policies[number], samples, number, *canvas);
  }
  return canvas->Finish();
}

}  // namespace larder

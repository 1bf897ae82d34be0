#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/codec/comparison.h"

namespace larder {
namespace {

constexpr double kWidth = 760, kHeight = 480;
constexpr double kLeft = 64, kTop = 32, kRight = 130, kBottom = 52;
constexpr int kBitsTickMax = 16;
// Dark enough on white and apart for most eyes (after Okabe and Ito).
constexpr std::array<const char*, 6> kColours = {"#000000", "#0072b2", "#d55e00",
                                                 "#009e73", "#cc79a7", "#e69f00"};

// Bits on a linear axis, errors on a logarithmic one.
struct Axes {
  double bits_max = 1;
  double low = 1, high = 0;  // powers of ten

  double X(double bits) const { return kLeft + bits / bits_max * (kWidth - kLeft - kRight); }
  double Y(double error) const {
    const double part = (std::log10(error) - low) / (high - low);
    return kHeight - kBottom - part * (kHeight - kTop - kBottom);
  }
};

double ErrorOf(const ComparisonRow& row) {
  if (row.distortion.output_error > 0) return row.distortion.output_error;
  return row.distortion.values_snr_db >= kSnrMaxDb
             ? 0
             : std::pow(10, -row.distortion.values_snr_db / 20);
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                         text);
}

std::string Line(double x1, double y1, double x2, double y2) {
  return absl::StrFormat(
      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#cccccc\"/>\n", x1, y1, x2,
      y2);
}

std::string Frame(const Axes& axes) {
  std::string svg;
  for (int bits = 0; bits <= kBitsTickMax && bits <= axes.bits_max; ++bits) {
    absl::StrAppend(&svg, Line(axes.X(bits), kTop, axes.X(bits), kHeight - kBottom),
                    Text(axes.X(bits), kHeight - kBottom + 18, "middle", absl::StrCat(bits)));
  }
  for (double power = axes.low; power <= axes.high; ++power) {
    const double y = axes.Y(std::pow(10, power));
    absl::StrAppend(&svg, Line(kLeft, y, kWidth - kRight, y),
                    Text(kLeft - 8, y + 4, "end", absl::StrFormat("%g", std::pow(10, power))));
  }
  absl::StrAppend(
      &svg, Text((kLeft + kWidth - kRight) / 2, kHeight - 12, "middle", "bits a value, all told"),
      Text(kLeft, kTop - 12, "start", "relative error of the attention's output"));
  return svg;
}

std::string Curve(const Axes& axes, const std::string& name,
                  const std::vector<const ComparisonRow*>& rows, size_t number) {
  const char* colour = kColours[number % kColours.size()];
  std::string svg =
      absl::StrCat("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"", colour, "\" points=\"");
  std::string dots;
  for (const ComparisonRow* row : rows) {
    const double x = axes.X(row->bits), y = axes.Y(ErrorOf(*row));
    absl::StrAppendFormat(&svg, "%.1f,%.1f ", x, y);
    absl::StrAppendFormat(&dots, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x, y,
                          colour);
  }
  const double y = kTop + 18.0 * static_cast<double>(number);
  absl::StrAppendFormat(&dots,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"4\" fill=\"%s\"/>\n",
                        kWidth - kRight + 16, y - 4, colour);
  return absl::StrCat(svg, "\"/>\n", dots, Text(kWidth - kRight + 36, y + 2, "start", name));
}

}  // namespace

std::string ComparisonPlot(const std::vector<ComparisonRow>& rows) {
  std::map<std::string, std::vector<const ComparisonRow*>> curves;
  Axes axes;
  for (const ComparisonRow& row : rows) {
    const double error = ErrorOf(row);
    if (error <= 0) continue;  // lossless has no place on a logarithmic axis
    curves[row.codec].push_back(&row);
    axes.bits_max = std::max(axes.bits_max, std::ceil(row.bits));
    axes.low = std::min(axes.low, std::floor(std::log10(error)));
    axes.high = std::max(axes.high, std::ceil(std::log10(error)));
  }
  axes.high = std::max(axes.high, axes.low + 1);
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      kWidth, kHeight);
  absl::StrAppend(&svg, Frame(axes));
  size_t number = 0;
  for (const auto& [name, curve] : curves)
    absl::StrAppend(&svg, Curve(axes, name, curve, number++));
  return svg + "</svg>\n";
}

}  // namespace larder

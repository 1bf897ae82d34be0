// What a plot is drawn on: a picture of lines, discs and text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace larder {

// Distances are in units of a picture, from its upper left corner; an SVG unit is one of these.
struct PlotPoint {
  double x, y;
};

struct PlotSize {
  double width, height;
};

enum class PlotAnchor { kStart, kMiddle, kEnd };

// Colours are 0xRRGGBB, on white. Not thread-safe.
class PlotCanvas {
 public:
  virtual ~PlotCanvas() = default;

  virtual void Polyline(std::span<const PlotPoint> points, double width, uint32_t colour) = 0;
  virtual void Disc(PlotPoint centre, double radius, uint32_t colour) = 0;
  // In black, on a base line at `point`.
  virtual void Text(PlotPoint point, PlotAnchor anchor, absl::string_view text) = 0;
  // The file's bytes. Call it once, at the end.
  virtual std::string Finish() = 0;
};

std::unique_ptr<PlotCanvas> MakeSvgCanvas(PlotSize size);
// Two pixels a unit.
std::unique_ptr<PlotCanvas> MakePngCanvas(PlotSize size);

}  // namespace larder

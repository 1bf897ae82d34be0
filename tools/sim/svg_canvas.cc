#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tools/console/table.h"
#include "tools/sim/plot_canvas.h"

namespace larder {
namespace {

class SvgCanvas final : public PlotCanvas {
 public:
  explicit SvgCanvas(PlotSize size)
      : svg_(absl::StrFormat(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            size.width, size.height)) {}

  void Polyline(std::span<const PlotPoint> points, double width, uint32_t colour) override {
    absl::StrAppendFormat(
        &svg_, "<polyline fill=\"none\" stroke-width=\"%.4g\" stroke=\"#%06x\" points=\"", width,
        colour);
    for (const PlotPoint& point : points) {
      absl::StrAppendFormat(&svg_, "%.1f,%.1f ", point.x, point.y);
    }
    absl::StrAppend(&svg_, "\"/>\n");
  }

  void Disc(PlotPoint centre, double radius, uint32_t colour) override {
    absl::StrAppendFormat(&svg_, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.4g\" fill=\"#%06x\"/>\n",
                          centre.x, centre.y, radius, colour);
  }

  void Text(PlotPoint point, PlotAnchor anchor, absl::string_view text) override {
    const char* name = anchor == PlotAnchor::kStart    ? "start"
                       : anchor == PlotAnchor::kMiddle ? "middle"
                                                       : "end";
    absl::StrAppendFormat(
        &svg_, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", point.x, point.y, name,
        absl::StrReplaceAll(Printable(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}}));
  }

  std::string Finish() override { return svg_ + "</svg>\n"; }

 private:
  std::string svg_;
};

}  // namespace

std::unique_ptr<PlotCanvas> MakeSvgCanvas(PlotSize size) {
  return std::make_unique<SvgCanvas>(size);
}

}  // namespace larder

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/console/table.h"
#include "tools/sim/dot_font.h"
#include "tools/sim/plot_canvas.h"

namespace larder {
namespace {

constexpr double kPixelsPerUnit = 2;
constexpr int kPixelsPerDot = 2;
constexpr int kGlyphAdvance = (kGlyphColumns + 1) * kPixelsPerDot;
constexpr int kBytesPerPixel = 3;

double Square(double x) { return x * x; }

double DistanceToSegment(PlotPoint point, PlotPoint a, PlotPoint b) {
  const double length = Square(b.x - a.x) + Square(b.y - a.y);
  const double along = (point.x - a.x) * (b.x - a.x) + (point.y - a.y) * (b.y - a.y);
  const double part = length == 0 ? 0 : std::clamp(along / length, 0.0, 1.0);
  return std::hypot(point.x - a.x - part * (b.x - a.x), point.y - a.y - part * (b.y - a.y));
}

void AppendBigEndian(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

// Length, name, data, checksum of name and data.
void AppendChunk(absl::string_view name, absl::string_view data, std::string* out) {
  AppendBigEndian(static_cast<uint32_t>(data.size()), out);
  const size_t checked = out->size();
  out->append(name.data(), name.size());
  out->append(data.data(), data.size());
  const auto* bytes = reinterpret_cast<const Bytef*>(out->data() + checked);
  AppendBigEndian(static_cast<uint32_t>(crc32(0, bytes, static_cast<uInt>(out->size() - checked))),
                  out);
}

// Rows of red, green and blue, each after the number of its filter, which is none.
class PngCanvas final : public PlotCanvas {
 public:
  explicit PngCanvas(PlotSize size)
      : width_(static_cast<int>(std::ceil(size.width * kPixelsPerUnit))),
        height_(static_cast<int>(std::ceil(size.height * kPixelsPerUnit))),
        rows_(static_cast<size_t>(height_) * RowBytes(), 0xff) {
    for (int y = 0; y < height_; ++y) rows_[static_cast<size_t>(y) * RowBytes()] = 0;
  }

  void Polyline(std::span<const PlotPoint> points, double width, uint32_t colour) override {
    for (size_t i = 1; i < points.size(); ++i) Stroke(points[i - 1], points[i], width / 2, colour);
  }

  void Disc(PlotPoint centre, double radius, uint32_t colour) override {
    Stroke(centre, centre, radius, colour);
  }

  void Text(PlotPoint point, PlotAnchor anchor, absl::string_view text) override {
    const std::string printable = Printable(text);
    const int length = static_cast<int>(printable.size()) * kGlyphAdvance;
    int x = static_cast<int>(point.x * kPixelsPerUnit);
    if (anchor == PlotAnchor::kMiddle) x -= length / 2;
    if (anchor == PlotAnchor::kEnd) x -= length;
    const int top = static_cast<int>(point.y * kPixelsPerUnit) - kGlyphRows * kPixelsPerDot;
    for (const char character : printable) {
      DrawGlyph(x, top, character);
      x += kGlyphAdvance;
    }
  }

  std::string Finish() override {
    std::string header;
    AppendBigEndian(static_cast<uint32_t>(width_), &header);
    AppendBigEndian(static_cast<uint32_t>(height_), &header);
    header.append({8, 2, 0, 0, 0});  // bits a sample, colours, deflate, no filter, no interlacing
    uLongf size = compressBound(rows_.size());
    std::string data(size, '\0');
    // With that much room it cannot fail.
    (void)compress(reinterpret_cast<Bytef*>(data.data()), &size, rows_.data(), rows_.size());
    data.resize(size);
    std::string png = "\x89PNG\r\n\x1a\n";
    AppendChunk("IHDR", header, &png);
    AppendChunk("IDAT", data, &png);
    AppendChunk("IEND", "", &png);
    return png;
  }

 private:
  size_t RowBytes() const { return 1 + static_cast<size_t>(width_) * kBytesPerPixel; }

  // Everything nearer than `radius` to the line from `a` to `b`, with soft edges.
  void Stroke(PlotPoint a, PlotPoint b, double radius, uint32_t colour) {
    a = {a.x * kPixelsPerUnit, a.y * kPixelsPerUnit};
    b = {b.x * kPixelsPerUnit, b.y * kPixelsPerUnit};
    radius *= kPixelsPerUnit;
    const int left = static_cast<int>(std::floor(std::min(a.x, b.x) - radius - 1));
    const int right = static_cast<int>(std::ceil(std::max(a.x, b.x) + radius + 1));
    const int top = static_cast<int>(std::floor(std::min(a.y, b.y) - radius - 1));
    const int bottom = static_cast<int>(std::ceil(std::max(a.y, b.y) + radius + 1));
    for (int y = std::max(top, 0); y <= std::min(bottom, height_ - 1); ++y) {
      for (int x = std::max(left, 0); x <= std::min(right, width_ - 1); ++x) {
        const double distance = DistanceToSegment({x + 0.5, y + 0.5}, a, b);
        Blend(x, y, colour, std::clamp(radius + 0.5 - distance, 0.0, 1.0));
      }
    }
  }

  void DrawGlyph(int left, int top, char character) {
    const int number = static_cast<unsigned char>(character) - ' ';
    const bool known = number >= 0 && number < static_cast<int>(kGlyphs.size());
    const auto& columns = kGlyphs[static_cast<size_t>(known ? number : '?' - ' ')];
    for (int x = 0; x < kGlyphColumns * kPixelsPerDot; ++x) {
      for (int y = 0; y < (kGlyphRows + 1) * kPixelsPerDot; ++y) {
        const uint8_t column = columns[static_cast<size_t>(x / kPixelsPerDot)];
        if ((column >> (y / kPixelsPerDot) & 1) != 0) BlendInside(left + x, top + y);
      }
    }
  }

  void BlendInside(int x, int y) {
    if (x >= 0 && x < width_ && y >= 0 && y < height_) Blend(x, y, 0, 1);
  }

  void Blend(int x, int y, uint32_t colour, double share) {
    uint8_t* pixel =
        &rows_[static_cast<size_t>(y) * RowBytes() + 1 + static_cast<size_t>(x) * kBytesPerPixel];
    for (int i = 0; i < kBytesPerPixel; ++i) {
      const double wanted = colour >> (16 - 8 * i) & 0xff;
      pixel[i] = static_cast<uint8_t>(std::lround(pixel[i] + (wanted - pixel[i]) * share));
    }
  }

  const int width_, height_;
  std::vector<uint8_t> rows_;
};

}  // namespace

std::unique_ptr<PlotCanvas> MakePngCanvas(PlotSize size) {
  return std::make_unique<PngCanvas>(size);
}

}  // namespace larder

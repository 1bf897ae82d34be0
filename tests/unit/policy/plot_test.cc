#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <vector>

#include "tools/sim/plot_canvas.h"
#include "tools/sim/report.h"

namespace larder {
namespace {

constexpr size_t kWidth = 1520, kHeight = 960;
constexpr uint32_t kFirstColour = 0x000000, kSecondColour = 0x0072b2;

SimulationReport TwoCurves(const std::string& workload) {
  SimulationReport report;
  report.workload = workload;
  for (const char* policy : {"larder", "lru"}) {
    for (const double capacity_pct : {1.0, 10.0}) {
      SimulationRow row;
      row.policy = policy;
      row.capacity_pct = capacity_pct;
      row.result.accesses = 100;
      row.result.hit_blocks = policy == std::string("lru") ? 20 : 60;
      report.rows.push_back(row);
    }
  }
  return report;
}

uint32_t BigEndian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes.at(at + i));
  return value;
}

// The pixels as 0xRRGGBB, row by row; every length and checksum must be right.
std::vector<uint32_t> DecodePng(const std::string& png) {
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  std::string names, data;
  for (size_t at = 8; at < png.size();) {
    const size_t size = BigEndian(png, at);
    const std::string name = png.substr(at + 4, 4);
    const auto* checked = reinterpret_cast<const Bytef*>(png.data() + at + 4);
    EXPECT_EQ(BigEndian(png, at + 8 + size), crc32(0, checked, static_cast<uInt>(size + 4)));
    if (name == "IHDR") {
      EXPECT_EQ(BigEndian(png, at + 8), kWidth);
      EXPECT_EQ(BigEndian(png, at + 12), kHeight);
      EXPECT_EQ(png.substr(at + 16, 5), std::string("\x08\x02\x00\x00\x00", 5));
    }
    if (name == "IDAT") data = png.substr(at + 8, size);
    names += name + " ";
    at += size + 12;
  }
  EXPECT_EQ(names, "IHDR IDAT IEND ");
  constexpr size_t kRowBytes = 1 + 3 * kWidth;
  std::vector<uint8_t> rows(kHeight * kRowBytes);
  uLongf size = rows.size();
  EXPECT_EQ(uncompress(rows.data(), &size, reinterpret_cast<const Bytef*>(data.data()),
                       static_cast<uLong>(data.size())),
            Z_OK);
  EXPECT_EQ(size, rows.size());
  std::vector<uint32_t> pixels;
  for (size_t y = 0; y < kHeight; ++y) {
    EXPECT_EQ(rows[y * kRowBytes], 0);
    for (size_t x = 0; x < kWidth; ++x) {
      const uint8_t* pixel = &rows[y * kRowBytes + 1 + 3 * x];
      pixels.push_back(uint32_t{pixel[0]} << 16 | uint32_t{pixel[1]} << 8 | pixel[2]);
    }
  }
  return pixels;
}

// The row in which most pixels have the colour: that of a level line.
size_t RowOf(const std::vector<uint32_t>& pixels, uint32_t colour) {
  size_t best = 0;
  int64_t most = 0;
  for (size_t y = 0; y < kHeight; ++y) {
    const auto row = pixels.begin() + static_cast<ptrdiff_t>(y * kWidth);
    const int64_t count = std::count(row, row + kWidth, colour);
    if (count > most) {
      most = count;
      best = y;
    }
  }
  EXPECT_GT(most, 600) << "no line of colour " << colour;
  return best;
}

TEST(PlotTest, PngHasTheCurves) {
  const std::vector<uint32_t> pixels =
      DecodePng(SimulationPlot(TwoCurves("a workload"), PlotFormat::kPng));
  EXPECT_EQ(pixels.front(), 0xffffffu);
  // More hits are higher up: 60 % at the top of the frame, 20 % at a third of its height.
  EXPECT_NEAR(static_cast<double>(RowOf(pixels, kFirstColour)), 2 * 40, 2);
  EXPECT_NEAR(static_cast<double>(RowOf(pixels, kSecondColour)), 2 * (40 + 388 * 2 / 3.0), 2);
}

TEST(PlotTest, PngDrawsTextAndKeepsInsideThePicture) {
  const auto blacks = [](const std::string& text, PlotPoint at) {
    const auto canvas = MakePngCanvas({kWidth / 2, kHeight / 2});
    canvas->Text(at, PlotAnchor::kMiddle, text);
    canvas->Disc({-1, -1}, 3, 0xff0000);
    canvas->Polyline(std::vector<PlotPoint>{{-100, 200}, {5000, 300}}, 2, 0x00ff00);
    const std::vector<uint32_t> pixels = DecodePng(canvas->Finish());
    return std::count(pixels.begin(), pixels.end(), 0u);
  };
  EXPECT_EQ(blacks("", {100, 100}), 0);
  EXPECT_EQ(blacks(".", {100, 100}), 4 * 4);
  EXPECT_EQ(blacks("\x01", {100, 100}), blacks("?", {100, 100}));
  EXPECT_GT(blacks("wider than the picture; wider than the picture", {0, 3}), 50);
}

TEST(PlotTest, SvgEscapesNames) {
  const std::string svg = SimulationPlot(TwoCurves("<&>"), PlotFormat::kSvg);
  EXPECT_NE(svg.find(">&lt;&amp;&gt;</text>"), std::string::npos);
  EXPECT_NE(svg.find("stroke=\"#0072b2\""), std::string::npos);
}

}  // namespace
}  // namespace larder

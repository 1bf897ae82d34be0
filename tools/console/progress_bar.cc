#include "tools/console/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tools/console/units.h"

namespace larder {
namespace {

constexpr absl::string_view kEraseLine = "\r\x1b[2K";
constexpr size_t kBarColumns = 24;
constexpr size_t kDefaultColumns = 80;
// Beyond this a guess of the time left says nothing.
constexpr absl::Duration kTimeLeftMax = absl::Hours(24 * 365);

size_t TerminalColumns(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultColumns;
  return size.ws_col;
}

}  // namespace

ProgressBar ProgressBar::OnTerminal(const Clock& clock, std::string unit,
                                    std::optional<uint64_t> total) {
  if (isatty(STDERR_FILENO) != 1) return ProgressBar(clock, std::move(unit), total, 0, {});
  // A line as wide as the terminal would wrap on some.
  const size_t columns = TerminalColumns(STDERR_FILENO) - 1;
  return ProgressBar(clock, std::move(unit), total, columns, [](absl::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  });
}

ProgressBar::ProgressBar(const Clock& clock, std::string unit, std::optional<uint64_t> total,
                         size_t columns, Writer writer)
    : clock_(&clock),
      unit_(std::move(unit)),
      total_(total),
      columns_(columns),
      writer_(std::move(writer)),
      started_(clock.Now()) {}

ProgressBar::ProgressBar(ProgressBar&& other) noexcept
    : clock_(other.clock_),
      unit_(std::move(other.unit_)),
      total_(other.total_),
      columns_(other.columns_),
      writer_(std::exchange(other.writer_, nullptr)),
      started_(other.started_),
      drawn_(other.drawn_) {}

void ProgressBar::Update(uint64_t done) {
  if (!writer_) return;
  const MonotonicTime now = clock_->Now();
  if (drawn_.has_value() && now - *drawn_ < absl::Seconds(1) / kRedrawsPerSecond) return;
  drawn_ = now;
  writer_(absl::StrCat(kEraseLine, Line(done, now).substr(0, columns_)));
}

void ProgressBar::Finish() {
  if (writer_ && drawn_.has_value()) writer_(kEraseLine);
  writer_ = nullptr;
}

std::string ProgressBar::Line(uint64_t done, MonotonicTime now) const {
  const double seconds = absl::ToDoubleSeconds(now - started_);
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string tail = absl::StrFormat(" %s  %.1f/s", unit_, rate);
  if (!total_.has_value() || *total_ == 0) return absl::StrCat(FormatCount(done), tail);

  const uint64_t shown = std::min(done, *total_);
  const double share = static_cast<double>(shown) / static_cast<double>(*total_);
  const auto filled = static_cast<size_t>(share * kBarColumns);
  std::string line = absl::StrFormat("[%s%s] %3.0f%%  %s of %s%s", std::string(filled, '#'),
                                     std::string(kBarColumns - filled, '.'), share * 100,
                                     FormatCount(shown), FormatCount(*total_), tail);
  if (rate > 0) {
    const absl::Duration left = absl::Seconds(static_cast<double>(*total_ - shown) / rate);
    if (left < kTimeLeftMax) absl::StrAppend(&line, "  ", FormatTimeSpan(left), " left");
  }
  return line;
}

}  // namespace larder

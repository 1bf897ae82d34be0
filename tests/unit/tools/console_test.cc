#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "tools/console/latency_histogram.h"
#include "tools/console/progress_bar.h"
#include "tools/console/table.h"
#include "tools/console/units.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

TEST(Units, FormatBytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.00 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.50 KiB");
  EXPECT_EQ(FormatBytes((1 << 20) - 1), "1.00 MiB");
  EXPECT_EQ(FormatBytes(uint64_t{8} << 30), "8.00 GiB");
  EXPECT_EQ(FormatBytes(uint64_t{100} << 30), "100 GiB");
  EXPECT_EQ(FormatBytes(std::numeric_limits<uint64_t>::max()), "16777216 TiB");
}

TEST(Units, FormatTimeSpan) {
  EXPECT_EQ(FormatTimeSpan(absl::ZeroDuration()), "0 ns");
  EXPECT_EQ(FormatTimeSpan(absl::Nanoseconds(850)), "850 ns");
  EXPECT_EQ(FormatTimeSpan(absl::Nanoseconds(12'340)), "12.3 us");
  EXPECT_EQ(FormatTimeSpan(absl::Nanoseconds(999'499)), "999 us");
  EXPECT_EQ(FormatTimeSpan(absl::Nanoseconds(999'500)), "1.00 ms");
  EXPECT_EQ(FormatTimeSpan(absl::Milliseconds(1200)), "1.20 s");
  EXPECT_EQ(FormatTimeSpan(absl::Milliseconds(59'960)), "1 min 00 s");
  EXPECT_EQ(FormatTimeSpan(absl::Seconds(185)), "3 min 05 s");
  EXPECT_EQ(FormatTimeSpan(absl::Minutes(130)), "2 h 10 min");
  EXPECT_EQ(FormatTimeSpan(absl::Hours(99)), "4 d 03 h");
  EXPECT_EQ(FormatTimeSpan(-absl::Seconds(2)), "-2.00 s");
  EXPECT_EQ(FormatTimeSpan(absl::InfiniteDuration()), "forever");
}

TEST(Units, FormatCount) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(12'031), "12,031");
  EXPECT_EQ(FormatCount(1'000'000), "1,000,000");
}

TEST(Units, ParseBytes) {
  EXPECT_EQ(ParseBytes("4096").value(), 4096u);
  EXPECT_EQ(ParseBytes("17B").value(), 17u);
  EXPECT_EQ(ParseBytes("512MiB").value(), 512u << 20);
  EXPECT_EQ(ParseBytes(" 8 GiB ").value(), uint64_t{8} << 30);
  EXPECT_EQ(ParseBytes("16777215TiB").value(), uint64_t{16'777'215} << 40);
  EXPECT_EQ(ParseBytes("18446744073709551615").value(), std::numeric_limits<uint64_t>::max());
}

TEST(Units, ParseBytesSaysWhatIsWrong) {
  const auto error = [](absl::string_view text) {
    const absl::Status status = ParseBytes(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  };
  EXPECT_EQ(error(""), "size '' must begin with a whole number, as in 512MiB");
  EXPECT_EQ(error("-1"), "size '-1' must begin with a whole number, as in 512MiB");
  EXPECT_EQ(error("GiB"), "size 'GiB' must begin with a whole number, as in 512MiB");
  EXPECT_EQ(error("8GB"),
            "size '8GB' has the unknown unit 'GB'; there are B, KiB, MiB, GiB and TiB");
  EXPECT_EQ(error("1.5GiB"),
            "size '1.5GiB' has the unknown unit '.5GiB'; there are B, KiB, MiB, GiB and TiB");
  EXPECT_EQ(error("16777216TiB"), "size '16777216TiB' is too large");
  EXPECT_EQ(error("18446744073709551616"), "size '18446744073709551616' is too large");
}

TEST(Units, ParseTimeSpan) {
  EXPECT_EQ(ParseTimeSpan("250ms").value(), absl::Milliseconds(250));
  EXPECT_EQ(ParseTimeSpan("1h30m").value(), absl::Minutes(90));
  for (const char* bad : {"", "250", "ms", "-1s", "inf", "5 parsecs"}) {
    const absl::Status status = ParseTimeSpan(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("'", bad, "'")));
  }
}

TEST(Table, AlignsColumns) {
  Table table;
  table.AddColumn("space");
  table.AddColumn("bytes", Align::kRight);
  table.AddColumn("note");
  table.AddRow({"a", "12", ""});
  table.AddRow({"longer name", "1,234,567", "x"});
  EXPECT_EQ(table.ToString(),
            "space            bytes  note\n"
            "a                   12\n"
            "longer name  1,234,567  x\n");
}

TEST(Table, CountsCodePointsAndCannotBeMadeToWriteEscapes) {
  Table table;
  table.AddColumn("name");
  table.AddColumn("n", Align::kRight);
  table.AddRow({"Grüße", "1"});
  table.AddRow({"\x1b[2Jevil\n", "2"});
  table.AddRow({"\xc3", "3"});
  EXPECT_EQ(table.ToString(),
            "name       n\n"
            "Grüße      1\n"
            "?[2Jevil?  2\n"
            "?          3\n");
}

TEST(Table, BoldHeadersOnlyWhenAsked) {
  Table table;
  table.AddColumn("a");
  table.AddRow({"b"});
  EXPECT_EQ(table.ToString(true), "\x1b[1ma\x1b[0m\nb\n");
  FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  table.Print(file);
  EXPECT_EQ(std::ftell(file), 4) << "a file is no terminal";
  std::fclose(file);
}

TEST(Printable, LeavesGoodTextAndReplacesBadBytes) {
  EXPECT_EQ(Printable("a é € 😀"), "a é € 😀");
  EXPECT_EQ(Printable(absl::string_view("\0\x7f\t", 3)), "???");
  EXPECT_EQ(Printable("\xc0\xaf"), "??");            // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "???");       // surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "????");  // past U+10FFFF
  EXPECT_EQ(Printable("\xc2\x9b"), "??");            // a control character of C1
  EXPECT_EQ(Printable("\xe2\x82"), "??");            // cut short
}

class FakeClock final : public Clock {
 public:
  MonotonicTime Now() const override { return now_; }
  void Advance(absl::Duration duration) { now_ = now_ + duration; }

 private:
  MonotonicTime now_;
};

TEST(ProgressBar, ShowsShareRateAndTimeLeft) {
  FakeClock clock;
  std::string written;
  ProgressBar bar(clock, "requests", 2000, 200,
                  [&written](absl::string_view text) { written.append(text.data(), text.size()); });
  clock.Advance(absl::Seconds(10));
  bar.Update(500);
  EXPECT_EQ(written,
            "\r\x1b[2K[######..................]  25%  500 of 2,000 requests  50.0/s  30.0 s left");
  written.clear();
  bar.Finish();
  EXPECT_EQ(written, "\r\x1b[2K");
  clock.Advance(absl::Seconds(1));
  bar.Update(600);
  bar.Finish();
  EXPECT_EQ(written, "\r\x1b[2K");
}

TEST(ProgressBar, DrawsTenTimesASecondAtMost) {
  FakeClock clock;
  int drawn = 0;
  {
    ProgressBar bar(clock, "requests", std::nullopt, 80, [&drawn](absl::string_view) { ++drawn; });
    for (int i = 0; i < 10'000; ++i) {
      bar.Update(static_cast<uint64_t>(i));
      clock.Advance(absl::Microseconds(500));
    }
  }
  EXPECT_EQ(drawn, 50 + 1) << "5 seconds, and the line erased at the end";
}

TEST(ProgressBar, KeepsToTheTerminalsWidthAndToOddTotals) {
  FakeClock clock;
  std::vector<std::string> lines;
  const auto keep = [&lines](absl::string_view text) { lines.emplace_back(text); };
  ProgressBar narrow(clock, "requests", 10, 20, keep);
  narrow.Update(25);
  ProgressBar empty(clock, "requests", 0, 80, keep);
  empty.Update(3);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].size(), std::string("\r\x1b[2K").size() + 20);
  EXPECT_EQ(lines[1], "\r\x1b[2K3 requests  0.0/s");
}

TEST(ProgressBar, SilentBarWritesNothing) {
  FakeClock clock;
  testing::internal::CaptureStderr();
  {
    ProgressBar bar = ProgressBar::OnTerminal(clock, "requests", 10);
    bar.Update(5);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "a captured stream is no terminal";
}

// A pseudo-terminal that takes the place of standard error while it lives.
class TerminalForStderr {
 public:
  TerminalForStderr() : master_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    if (!master_ || grantpt(master_.get()) != 0 || unlockpt(master_.get()) != 0) return;
    const FileDescriptor slave(open(ptsname(master_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave) return;
    saved_ = FileDescriptor(dup(STDERR_FILENO));
    dup2(slave.get(), STDERR_FILENO);
  }
  ~TerminalForStderr() { Restore(); }

  bool ok() const { return static_cast<bool>(saved_); }

  // What was written, once standard error is itself again.
  std::string Take() {
    std::array<char, 4096> buffer;
    const ssize_t size = read(master_.get(), buffer.data(), buffer.size());
    Restore();
    return size > 0 ? std::string(buffer.data(), static_cast<size_t>(size)) : std::string();
  }

 private:
  void Restore() {
    if (saved_) dup2(saved_.get(), STDERR_FILENO);
    saved_.Reset();
  }

  FileDescriptor master_;
  FileDescriptor saved_;
};

TEST(ProgressBar, DrawsOnATerminal) {
  FakeClock clock;
  TerminalForStderr terminal;
  if (!terminal.ok()) GTEST_SKIP() << "no pseudo-terminal can be opened here";
  ProgressBar bar = ProgressBar::OnTerminal(clock, "requests", 10);
  clock.Advance(absl::Seconds(1));
  bar.Update(5);
  EXPECT_EQ(terminal.Take(),
            "\r\x1b[2K[############............]  50%  5 of 10 requests  5.0/s  1.00 s left");
}

TEST(LatencyHistogram, IsWithinItsErrorOfTheExactPercentiles) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  LatencyHistogram whole;
  LatencyHistogram halves[2];
  std::vector<int64_t> exact;
  for (int i = 0; i < 20'000; ++i) {
    const auto nanoseconds = static_cast<int64_t>(std::exp(random.Unit() * 40));
    exact.push_back(nanoseconds);
    whole.Record(absl::Nanoseconds(nanoseconds));
    halves[i % 2].Record(absl::Nanoseconds(nanoseconds));
  }
  std::sort(exact.begin(), exact.end());
  halves[0].Merge(halves[1]);
  EXPECT_EQ(whole.count(), exact.size());
  EXPECT_EQ(halves[0].count(), exact.size());
  for (const double share : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<size_t>(std::max(1.0, std::ceil(share * 20'000))) - 1;
    const auto expected = static_cast<double>(exact[rank]);
    const double got = absl::ToDoubleNanoseconds(whole.Percentile(share));
    EXPECT_GE(got, expected) << share;
    EXPECT_LE(got, expected * (1 + 1.0 / 128)) << share;
    EXPECT_EQ(halves[0].Percentile(share), whole.Percentile(share)) << share;
  }
  EXPECT_EQ(whole.max(), absl::Nanoseconds(exact.back()));
  EXPECT_EQ(halves[0].max(), whole.max());
}

TEST(LatencyHistogram, HoldsTheSmallestAndTheLargest) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(0.5), absl::ZeroDuration());
  EXPECT_EQ(histogram.mean(), absl::ZeroDuration());
  histogram.Record(absl::Nanoseconds(-5));
  EXPECT_EQ(histogram.Percentile(1), absl::ZeroDuration());
  histogram.Record(absl::InfiniteDuration());
  EXPECT_EQ(histogram.max(), absl::Nanoseconds(std::numeric_limits<int64_t>::max()));
  EXPECT_EQ(histogram.Percentile(1), histogram.max());
  LatencyHistogram small;
  for (int i = 1; i <= 100; ++i) small.Record(absl::Nanoseconds(i));
  EXPECT_EQ(small.Percentile(0.5), absl::Nanoseconds(50)) << "exact where a bucket is one wide";
  EXPECT_EQ(small.Percentile(0.99), absl::Nanoseconds(99));
  EXPECT_EQ(small.mean(), absl::Nanoseconds(50.5));
}

}  // namespace
}  // namespace larder

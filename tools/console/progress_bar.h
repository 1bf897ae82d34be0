// How far a long command is, in one line that disappears when it is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/clock.h"

namespace larder {

// Not thread-safe. Erases its line when it goes.
class ProgressBar {
 public:
  using Writer = std::function<void(absl::string_view)>;

  static constexpr int kRedrawsPerSecond = 10;

  // On standard error if that is a terminal, else silent. `unit` is what is counted, in the plural;
  // no `total` means that the end is not known. `clock` must outlive the bar.
  static ProgressBar OnTerminal(const Clock& clock, std::string unit,
                                std::optional<uint64_t> total);

  // Gives its escapes and lines, of at most `columns` characters, to `writer`; an empty one draws
  // nothing.
  ProgressBar(const Clock& clock, std::string unit, std::optional<uint64_t> total, size_t columns,
              Writer writer);
  ProgressBar(ProgressBar&& other) noexcept;
  ProgressBar& operator=(ProgressBar&&) = delete;
  ~ProgressBar() { Finish(); }

  // Cheap: draws at most kRedrawsPerSecond times a second, however often it is called.
  void Update(uint64_t done);

  // Erases the line; updates after this draw nothing.
  void Finish();

 private:
  std::string Line(uint64_t done, MonotonicTime now) const;

  const Clock* clock_;
  std::string unit_;
  std::optional<uint64_t> total_;
  size_t columns_;
  Writer writer_;
  MonotonicTime started_;
  std::optional<MonotonicTime> drawn_;
};

}  // namespace larder

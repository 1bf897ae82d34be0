// Aligned plain-text tables for people.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace larder {

enum class Align { kLeft, kRight };

// Owns its cells. Not thread-safe.
class Table {
 public:
  void AddColumn(absl::string_view header, Align align = Align::kLeft);

  // REQUIRES: one cell for each column.
  void AddRow(std::vector<std::string> cells);

  // One line for the headers and one for each row, two spaces between columns, no spaces at the
  // ends of lines. Width is counted in code points. Control bytes and broken UTF-8 become '?', so
  // that names chosen by others cannot move the cursor. `bold_headers` writes ANSI escapes around
  // headers.
  std::string ToString(bool bold_headers = false) const;

  // Writes ToString to `file`, with bold headers if it is a terminal and NO_COLOR is not set.
  void Print(FILE* file) const;

 private:
  struct Column {
    Align align;
    size_t width;
  };

  void AppendLine(const std::vector<std::string>& cells, std::string& out) const;

  std::vector<Column> columns_;
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

// `text` with every control byte and every byte that is not well-formed UTF-8 replaced by '?'.
std::string Printable(absl::string_view text);

// The number of code points of well-formed UTF-8.
size_t DisplayWidth(absl::string_view text);

}  // namespace larder

#include "tools/console/table.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace larder {
namespace {

constexpr absl::string_view kColumnGap = "  ";
constexpr absl::string_view kBold = "\x1b[1m";
constexpr absl::string_view kPlain = "\x1b[0m";

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xc0) == 0x80; }

// The bytes of the printable character at the front of `text`; 0 when it is none. Overlong forms,
// surrogates and code points past U+10FFFF are none (RFC 3629), and neither are control characters.
size_t CharacterBytes(absl::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  if (!std::all_of(text.begin() + 1, text.begin() + size, IsContinuation)) return 0;
  const auto second = static_cast<uint8_t>(text[1]);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool outside = (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);
  const bool control = first == 0xc2 && second < 0xa0;
  return overlong || outside || control ? 0 : size;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  printable.reserve(text.size());
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    if (size == 0) {
      printable.push_back('?');
    } else {
      printable.append(text.data(), size);
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return printable;
}

size_t DisplayWidth(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !IsContinuation(byte); }));
}

void Table::AddColumn(absl::string_view header, Align align) {
  assert(rows_.empty());
  headers_.push_back(Printable(header));
  columns_.push_back({align, DisplayWidth(headers_.back())});
}

void Table::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Printable(cells[i]);
    columns_[i].width = std::max(columns_[i].width, DisplayWidth(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

void Table::AppendLine(const std::vector<std::string>& cells, std::string& out) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line.append(kColumnGap.data(), kColumnGap.size());
    const std::string padding(columns_[i].width - DisplayWidth(cells[i]), ' ');
    line += columns_[i].align == Align::kLeft ? cells[i] + padding : padding + cells[i];
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line;
}

std::string Table::ToString(bool bold_headers) const {
  std::string out;
  if (bold_headers) out.append(kBold.data(), kBold.size());
  AppendLine(headers_, out);
  if (bold_headers) out.append(kPlain.data(), kPlain.size());
  out.push_back('\n');
  for (const std::vector<std::string>& row : rows_) {
    AppendLine(row, out);
    out.push_back('\n');
  }
  return out;
}

void Table::Print(FILE* file) const {
  const bool bold_headers = isatty(fileno(file)) == 1 && std::getenv("NO_COLOR") == nullptr;
  const std::string text = ToString(bold_headers);
  std::fwrite(text.data(), 1, text.size(), file);
}

}  // namespace larder

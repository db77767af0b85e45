// SPDX-License-Identifier: Apache-2.0
// Aligned columns for a terminal. Width is counted in characters, not bytes: "±" and "→" take one column.
#include <algorithm>
#include <cctype>

#include "streamline/report/report.h"

namespace streamline {
namespace {

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// "84.71 ± 1.20", "1.1 GB", "-3.1 %" and "-" stand to the right; words to the left.
bool is_numeric(std::string_view text) {
  return text.empty() || text == "-" || std::isdigit(static_cast<unsigned char>(text.front())) != 0 ||
         ((text.front() == '-' || text.front() == '+' || text.front() == '.') && text.size() > 1 &&
          std::isdigit(static_cast<unsigned char>(text[1])) != 0);
}

struct ColumnShape {
  std::size_t width = 0;
  bool numeric = true;
};

std::vector<ColumnShape> measure(const std::vector<std::vector<std::string>>& rows) {
  std::vector<ColumnShape> columns;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    columns.resize(std::max(columns.size(), rows[row].size()));
    for (std::size_t i = 0; i < rows[row].size(); ++i) {
      columns[i].width = std::max(columns[i].width, width(rows[row][i]));
      if (row > 0 && !is_numeric(rows[row][i])) columns[i].numeric = false;
    }
  }
  return columns;
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  const std::vector<ColumnShape> columns = measure(rows);
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string gap(columns[i].width - width(row[i]), ' ');
      if (i > 0) line += "  ";
      line += columns[i].numeric ? gap + row[i] : row[i] + gap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace streamline

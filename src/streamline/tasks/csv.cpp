// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/csv.h"

#include <csv.h>

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

struct CsvParser {
  csv_parser state{};
  std::vector<CsvRow> rows;
  CsvRow row;

  CsvParser() {
    if (csv_init(&state, CSV_STRICT | CSV_STRICT_FINI) != 0) fail(ErrorKind::resource, "libcsv: not enough memory");
    // Else it takes away the blanks around a cell.
    csv_set_space_func(&state, [](unsigned char) { return 0; });
  }
  ~CsvParser() { csv_free(&state); }
  CsvParser(const CsvParser&) = delete;
  CsvParser& operator=(const CsvParser&) = delete;

  static void end_cell(void* cell, std::size_t size, void* self) {
    auto& cells = static_cast<CsvParser*>(self)->row.cells;
    cells.emplace_back(static_cast<const char*>(cell), size);
  }
  static void end_row(int, void* self) {
    auto& [state, rows, row] = *static_cast<CsvParser*>(self);
    rows.push_back(std::move(row));
    row = {};
  }

  // What was read of the row is dropped; reading goes on behind this line.
  void give_up(std::int64_t line) {
    rows.push_back({.line = line, .problem = std::string("not a row: ") + csv_strerror(csv_error(&state))});
    row = {};
    csv_free(&state);
    csv_init(&state, CSV_STRICT | CSV_STRICT_FINI);
    csv_set_space_func(&state, [](unsigned char) { return 0; });
  }
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text) {
  CsvParser parser;
  std::int64_t line = 1, begun = 1;  // of the row that is being read
  bool inside = false;               // a row that goes on in the next line
  for (std::size_t at = 0, end; at < text.size(); at = end, ++line) {
    end = std::min(text.size(), text.find('\n', at) == text.npos ? text.size() : text.find('\n', at) + 1);
    const std::size_t before = parser.rows.size();
    const std::size_t used =
        csv_parse(&parser.state, text.data() + at, end - at, CsvParser::end_cell, CsvParser::end_row, &parser);
    if (used != end - at) parser.give_up(begun);
    for (std::size_t i = before; i < parser.rows.size(); ++i) parser.rows[i].line = begun;
    inside = parser.rows.size() == before && (inside || text.find_first_not_of("\r\n", at) < end);
    if (!inside) begun = line + 1;
  }
  const std::size_t before = parser.rows.size();
  if (csv_fini(&parser.state, CsvParser::end_cell, CsvParser::end_row, &parser) != 0) parser.give_up(begun);
  for (std::size_t i = before; i < parser.rows.size(); ++i) parser.rows[i].line = begun;
  return std::move(parser.rows);
}

}  // namespace streamline

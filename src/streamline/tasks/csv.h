// SPDX-License-Identifier: Apache-2.0
// Comma-separated values (libcsv).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace streamline {

struct CsvRow {
  std::vector<std::string> cells = {};
  std::int64_t line = 1;     // where it starts
  std::string problem = {};  // why it is no row; empty when it is one
};

// Quoted as in RFC 4180; blanks belong to their cells, empty lines are no rows.
std::vector<CsvRow> parse_csv(std::string_view text);

}  // namespace streamline

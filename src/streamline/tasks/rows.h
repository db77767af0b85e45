// SPDX-License-Identifier: Apache-2.0
// Data files of benchmarks, read row by row, each row as a JSON value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

// json_lines: one object a line. json: one document, whose elements are the rows where it is a list, else itself.
// csv: quoted as in RFC 4180. tsv: cut at tabs, nothing quoted.
enum class RowFormat { json_lines, json, csv, tsv };
// By the name's end, .gz and .zst aside. Errors: unsupported.
RowFormat row_format_of(const std::filesystem::path& path);
// Errors: format, naming `where` and what there is: "jsonl", "json", "csv", "tsv".
RowFormat row_format_named(std::string_view name, std::string_view where);

struct Row {
  Json value = nullptr;      // csv, tsv: an object by the names in the first row with a header, a list of texts without
  std::string where = {};    // "dev.jsonl:17"
  std::string problem = {};  // why the row cannot be read; empty when it can
};

// Blank lines are no rows. Errors: io; format when a .json is not one.
std::vector<Row> read_rows(const std::filesystem::path& path, RowFormat format, bool header);

}  // namespace streamline

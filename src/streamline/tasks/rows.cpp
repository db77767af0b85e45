// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/rows.h"

#include "streamline/base/error.h"
#include "streamline/tasks/csv.h"
#include "streamline/text/text_lines.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

struct FormatName {
  std::string_view name;
  RowFormat format;
};
constexpr FormatName kFormats[] = {
    {"jsonl", RowFormat::json_lines}, {"json", RowFormat::json}, {"csv", RowFormat::csv}, {"tsv", RowFormat::tsv}};

const FormatName* find_format(std::string_view name) {
  for (const FormatName& format : kFormats)
    if (format.name == name) return &format;
  return nullptr;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

std::string without_return(std::string_view line) {
  return std::string(line.ends_with('\r') ? line.substr(0, line.size() - 1) : line);
}

// Whatever is wrong with it becomes its problem.
template <class Read>
Row row(std::string where, Read read) {
  Row result{.where = std::move(where)};
  try {
    result.value = read(result.where);
  } catch (const Error& error) {
    result.problem = error.what();
    // The place stands in front already.
    if (result.problem.starts_with(result.where + ": ")) result.problem.erase(0, result.where.size() + 2);
  }
  return result;
}

Json object_of_line(std::string_view line, const std::string& where) {
  Json value = parse_json(line, where);
  if (!value.is_object() && !value.is_array()) fail(ErrorKind::format, "not a JSON object");
  return value;
}

std::string whole(const fs::path& path) {
  std::string text;
  read_chunks(path, [&](std::string_view chunk) {
    text += chunk;
    return true;
  });
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return text;
}

std::vector<Row> json_rows(const fs::path& path) {
  std::vector<Row> rows;
  Json document = parse_json(whole(path), path.string());
  if (!document.is_array()) {
    rows.push_back({.value = std::move(document), .where = path.string()});
    return rows;
  }
  for (Json& element : document)
    rows.push_back({.value = std::move(element), .where = path.string() + ": element " + std::to_string(rows.size())});
  return rows;
}

std::vector<std::string> cells_at_tabs(std::string_view line) {
  std::vector<std::string> cells;
  for (std::size_t at; (at = line.find('\t')) != line.npos; line.remove_prefix(at + 1))
    cells.emplace_back(line.substr(0, at));
  cells.emplace_back(line);
  return cells;
}

std::vector<CsvRow> lines_at_tabs(const fs::path& path) {
  std::vector<CsvRow> rows;
  read_lines(path, [&](std::string_view line, std::int64_t number, std::int64_t) {
    if (!is_blank(line)) rows.push_back({.cells = cells_at_tabs(without_return(line)), .line = number});
    return true;
  });
  return rows;
}

// A row of cells as a list, or by the names of the header.
Json named(const std::vector<std::string>& cells, const std::vector<std::string>* header) {
  for (const std::string& cell : cells) check_utf8(cell, "a cell");
  if (header == nullptr) return cells;
  if (cells.size() != header->size())
    fail(ErrorKind::format, cells.size(), " cells; the first row has ", header->size());
  Json object = Json::object();
  for (std::size_t i = 0; i < cells.size(); ++i) object[(*header)[i]] = cells[i];
  return object;
}

std::vector<Row> table_rows(const fs::path& path, std::vector<CsvRow> lines, bool header) {
  if (header && (lines.empty() || !lines.front().problem.empty()))
    fail(ErrorKind::format, path.string(), ": there is no row of column names");
  std::vector<Row> rows;
  for (std::size_t i = header ? 1 : 0; i < lines.size(); ++i) {
    rows.push_back(row(path.string() + ":" + std::to_string(lines[i].line), [&](const std::string&) {
      if (!lines[i].problem.empty()) fail(ErrorKind::format, lines[i].problem);
      return named(lines[i].cells, header ? &lines.front().cells : nullptr);
    }));
  }
  return rows;
}

}  // namespace

RowFormat row_format_of(const fs::path& path) {
  const std::string end = without_compression(path).extension().string();
  const FormatName* found = end.empty() ? nullptr : find_format(std::string_view(end).substr(1));
  if (found == nullptr)
    fail(ErrorKind::unsupported, path.string(), ": ends neither in .jsonl, .json, .csv nor .tsv; 'format' says which");
  return found->format;
}

RowFormat row_format_named(std::string_view name, std::string_view where) {
  const FormatName* found = find_format(name);
  if (found == nullptr) fail(ErrorKind::format, where, ": no format '", name, "' (jsonl, json, csv, tsv)");
  return found->format;
}

std::vector<Row> read_rows(const fs::path& path, RowFormat format, bool header) {
  switch (format) {
    case RowFormat::json:
      return json_rows(path);
    case RowFormat::csv:
      return table_rows(path, parse_csv(whole(path)), header);
    case RowFormat::tsv:
      return table_rows(path, lines_at_tabs(path), header);
    case RowFormat::json_lines:
      break;
  }
  std::vector<Row> rows;
  read_lines(path, [&](std::string_view line, std::int64_t number, std::int64_t) {
    if (is_blank(line)) return true;
    rows.push_back(row(path.string() + ":" + std::to_string(number),
                       [&](const std::string& where) { return object_of_line(line, where); }));
    return true;
  });
  return rows;
}

}  // namespace streamline

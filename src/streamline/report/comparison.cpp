// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison.h"

#include <algorithm>
#include <map>
#include <vector>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/comparison_calibration.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "streamline/report/fields.h"
#include "streamline/report/report.h"

namespace streamline {
namespace {

using report::integer, report::number, report::text;
using Row = std::vector<std::string>;

std::string value_text(const Json& model, const std::string& pointer, double factor, int digits) {
  return report::with_error(model, pointer, digits, factor).value_or("-");
}

std::string share_text(const std::optional<double>& value) { return value ? fixed(*value * 100, 2) : "-"; }

// What a row of the table says; columns that no model has are left out. `number`: of the text.
struct Column {
  std::string title;
  std::string (*cell)(const Json& model, const Column& column);
  std::string name = {};
  std::size_t number = 0;
};

std::string on_text(const Json& model, const Column& column, const std::string& pointer, double factor, int digits) {
  const std::vector<Json> all = report::perplexities(model);
  return column.number < all.size() ? value_text(all[column.number], pointer, factor, digits) : "-";
}

std::string perplexity_on_text(const Json& model, const Column& column) {
  const std::vector<Json> all = report::perplexities(model);
  return column.number < all.size() ? perplexity_text(all[column.number]).value_or("-") : "-";
}

// Several texts are told apart by their names.
void add_texts(const Json& record, std::vector<Column>& all) {
  const std::vector<std::string> names = report::text_names(record);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string where = names.size() > 1 ? " (" + names[i] + ")" : "";
    all.push_back({"perplexity" + where, perplexity_on_text, "", i});
    all.push_back({"KL divergence" + where,
                   [](const Json& m, const Column& c) { return on_text(m, c, "/divergence/kl", 1, 4); }, "", i});
    all.push_back(
        {"same first choice %" + where,
         [](const Json& m, const Column& c) { return on_text(m, c, "/divergence/same_first_choice", 100, 2); }, "", i});
  }
}

std::string percent_at(const Json& model, const Column& column) { return share_text(number(model, column.name)); }

std::string rate_at(const Json& model, const Column& column) {
  const auto value = number(model, column.name);
  return value ? significant(*value, 3) : "-";
}

std::string star(const Json& model, const Column&) {
  return report::flag(model, "/pareto/parameters")                ? "*"
         : report::flag(model, "/pareto/parameters_within_error") ? "~"
                                                                  : "";
}

std::vector<Column> columns(const Json& record) {
  std::vector<Column> all = {{"model", [](const Json& m, const Column&) { return report::name_of(m); }},
                             {"Pareto, by " + report::quality_name(record), star},
                             {"layers",
                              [](const Json& m, const Column&) {
                                const auto layers = integer(m, "/layers");
                                return layers ? std::to_string(*layers) : "-";
                              }},
                             {"parameters", [](const Json& m, const Column&) {
                                const auto count = number(m, "/parameters");
                                return count ? format_count(*count) : "-";
                              }}};
  add_texts(record, all);
  for (const std::string& task : report::benchmark_names(record))
    all.push_back(
        {task + " %",
         [](const Json& m, const Column& c) { return value_text(report::benchmark(m, c.name), "/acc", 100, 2); },
         task});
  all.insert(all.end(), {{"mean acc %", percent_at, "/figures/acc"},
                         {"relative performance %", percent_at, "/against_source/average/relative_performance"},
                         {"agreement %", percent_at, "/against_source/average/agreement"},
                         {"stability %", percent_at, "/against_source/average/stability"},
                         {"prefill tokens/s", rate_at, "/speed/prefill_tokens_per_second"},
                         {"decode tokens/s", rate_at, "/speed/decode_tokens_per_second"}});
  all.push_back({"what went", [](const Json& m, const Column&) { return report::what_was_cut(m); }});
  return all;
}

std::vector<Row> rows(const Json& record) {
  const std::vector<Json> models = report::elements(record, "/models");
  std::vector<Row> result(models.size() + 1);
  for (const Column& column : columns(record)) {
    Row cells;
    bool any = false;
    for (const Json& model : models) {
      cells.push_back(column.cell(model, column));
      any = any || (cells.back() != "-" && !cells.back().empty());
    }
    if (!any) continue;
    result.front().push_back(column.title);
    for (std::size_t i = 0; i < models.size(); ++i) result[i + 1].push_back(cells[i]);
  }
  return result;
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

// Every number of a model by its path, "perplexity.value", and what was cut; other text, lists and plans are left out.
void collect_numbers(const Json& json, const std::string& path, std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (value.is_object() && key != "plan" && key != "text") collect_numbers(value, name, out);
    if (value.is_number()) out.emplace_back(name, value.dump());
    if (name == "cut" && value.is_string()) out.emplace_back(name, csv_cell(value.get<std::string>()));
  }
}

// Texts after the first as "perplexity[NAME].value".
void collect_texts(const Json& model, const std::vector<std::string>& names,
                   std::vector<std::pair<std::string, std::string>>& out) {
  const std::vector<Json> all = report::perplexities(model);
  for (std::size_t i = 1; i < std::min(all.size(), names.size()); ++i)
    collect_numbers(all[i], "perplexity[" + names[i] + "]", out);
}

// "Questions: copa 60 of 100; piqa 60 of 1838."
std::string questions_line(const Json& record) {
  std::string line;
  for (const std::string& name : report::benchmark_names(record))
    if (const auto asked = report::asked(record, name))
      line += (line.empty() ? "Questions: " : "; ") + name + " " + std::to_string(asked->questions) + " of " +
              std::to_string(asked->in_data);
  return line.empty() ? line : line + ".\n";
}

// How the perplexities were measured, and what the sign in the table means.
std::string texts_lines(const Json& record, const std::string& table) {
  std::string lines;
  for (const std::string& sentence : report::text_sentences(record)) lines += sentence + "\n";
  return lines + (table.find("±") == std::string::npos ? "" : "± one standard error.\n");
}

std::string markdown_table(const std::vector<Row>& table) {
  std::string out;
  for (std::size_t i = 0; i < table.size(); ++i) {
    out += "|";
    for (const std::string& cell : table[i]) {
      std::string plain;
      for (const char c : cell) plain += c == '|' ? std::string("\\|") : c == '*' ? "\\*" : std::string(1, c);
      out += " " + plain + " |";
    }
    out += "\n";
    if (i > 0) continue;
    for (std::size_t column = 0; column < table[i].size(); ++column) out += column == 0 ? "| --- |" : " ---: |";
    out += "\n";
  }
  return out;
}

}  // namespace

std::string comparison_table(const Json& record) {
  const Json shown = report::without_repeats(record);
  std::string out = format_table(rows(shown));
  out += texts_lines(record, out) + questions_line(record) +
         "* no other model here is better and as small, or as good and smaller (by " + report::quality_name(record) +
         ")\n";
  if (const std::string few = report::few_windows_text(record); !few.empty()) out += few + "\n";
  for (const Json& model : report::elements(shown, "/models"))
    if (report::flag(model, "/pareto/parameters_within_error")) {
      out += "~ one is, by no more than noise\n";
      break;
    }
  const std::vector<std::string> together = report::told_together(shown, "parameters", report::quoted_name);
  if (!together.empty()) {
    out += "Of those with *, within the error of each other:\n";
    for (const std::string& line : together) out += "  " + line + "\n";
  }
  if (const std::vector<Row> moved = report::calibration_rows(record); !moved.empty())
    out += "\nWhat the choice of text moves:\n" + format_table(moved);
  return out;
}

std::string comparison_markdown(const Json& record) {
  std::string out = markdown_table(rows(report::without_repeats(record)));
  if (const std::string lines = texts_lines(record, out) + questions_line(record); !lines.empty()) out += "\n" + lines;
  if (const std::vector<Row> moved = report::calibration_rows(record); !moved.empty())
    out += "\nWhat the choice of text moves:\n\n" + markdown_table(moved);
  return out;
}

std::string comparison_csv(const Json& record) {
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> lines;
  const std::vector<Json> models = report::elements(record, "/models");
  const std::vector<std::string> names_of_texts = report::text_names(record);
  for (const Json& model : models) {
    std::vector<std::pair<std::string, std::string>> numbers;
    collect_numbers(model, "", numbers);
    collect_texts(model, names_of_texts, numbers);
    for (const auto& [name, value] : numbers)
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    lines.emplace_back(numbers.begin(), numbers.end());
  }
  std::string out = "model";
  for (const std::string& name : names) out += "," + csv_cell(name);
  out += "\r\n";
  for (std::size_t i = 0; i < models.size(); ++i) {
    out += csv_cell(report::name_of(models[i]));
    for (const std::string& name : names) out += "," + (lines[i].contains(name) ? lines[i][name] : "");
    out += "\r\n";
  }
  return out;
}

}  // namespace streamline

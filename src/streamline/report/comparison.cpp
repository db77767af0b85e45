// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison.h"

#include <algorithm>
#include <map>
#include <vector>

#include "streamline/base/resources.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/fields.h"
#include "streamline/report/report.h"

namespace streamline {
namespace {

using report::fixed, report::integer, report::number, report::significant, report::text;
using Row = std::vector<std::string>;

std::string value_text(const Json& model, const std::string& pointer, double factor, int digits) {
  return report::with_error(model, pointer, digits, factor).value_or("-");
}

std::string share_text(const std::optional<double>& value) { return value ? fixed(*value * 100, 2) : "-"; }

// What a row of the table says; columns that no model has are left out.
struct Column {
  std::string title;
  std::string (*cell)(const Json& model, const std::string& name);
  std::string name = {};
};

std::vector<Column> columns(const Json& record) {
  std::vector<Column> all = {
      {"model", [](const Json& m, const std::string&) { return text(m, "/name").value_or("?"); }},
      {"Pareto",
       [](const Json& m, const std::string&) { return std::string(report::flag(m, "/pareto/parameters") ? "*" : ""); }},
      {"layers",
       [](const Json& m, const std::string&) {
         const auto layers = integer(m, "/layers");
         return layers ? std::to_string(*layers) : "-";
       }},
      {"parameters",
       [](const Json& m, const std::string&) {
         const auto count = number(m, "/parameters");
         return count ? format_count(*count) : "-";
       }},
      {"perplexity", [](const Json& m, const std::string&) { return value_text(m, "/perplexity", 1, 3); }},
      {"KL divergence",
       [](const Json& m, const std::string&) { return value_text(m, "/perplexity/divergence/kl", 1, 4); }},
      {"same first choice %", [](const Json& m, const std::string&) {
         return value_text(m, "/perplexity/divergence/same_first_choice", 100, 2);
       }}};
  for (const std::string& task : report::benchmark_names(record))
    all.push_back(
        {task + " %",
         [](const Json& m, const std::string& name) { return value_text(report::benchmark(m, name), "/acc", 100, 2); },
         task});
  all.push_back(
      {"mean acc %", [](const Json& m, const std::string&) { return share_text(number(m, "/figures/acc")); }});
  all.push_back({"relative performance %", [](const Json& m, const std::string&) {
                   return share_text(number(m, "/against_source/average/relative_performance"));
                 }});
  all.push_back({"agreement %", [](const Json& m, const std::string&) {
                   return share_text(number(m, "/against_source/average/agreement"));
                 }});
  all.push_back({"stability %", [](const Json& m, const std::string&) {
                   return share_text(number(m, "/against_source/average/stability"));
                 }});
  all.push_back({"prefill tokens/s", [](const Json& m, const std::string&) {
                   const auto value = number(m, "/speed/prefill_tokens_per_second");
                   return value ? significant(*value, 3) : std::string("-");
                 }});
  all.push_back({"decode tokens/s", [](const Json& m, const std::string&) {
                   const auto value = number(m, "/speed/decode_tokens_per_second");
                   return value ? significant(*value, 3) : std::string("-");
                 }});
  all.push_back({"peak memory", [](const Json& m, const std::string&) {
                   const auto bytes = integer(m, "/peak_memory");
                   return bytes && *bytes >= 0 ? format_bytes(static_cast<std::uint64_t>(*bytes)) : std::string("-");
                 }});
  return all;
}

std::vector<Row> rows(const Json& record) {
  const std::vector<Json> models = report::elements(record, "/models");
  std::vector<Row> result(models.size() + 1);
  for (const Column& column : columns(record)) {
    Row cells;
    bool any = false;
    for (const Json& model : models) {
      cells.push_back(column.cell(model, column.name));
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

// Every number of a model by its path, "perplexity.value"; text, lists and plans are left out.
void collect_numbers(const Json& json, const std::string& path, std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (value.is_object() && key != "plan" && key != "text") collect_numbers(value, name, out);
    if (value.is_number()) out.emplace_back(name, value.dump());
  }
}

}  // namespace

std::string comparison_table(const Json& record) {
  const std::vector<Row> table = rows(record);
  return format_table(table) + "* no other model here is better and as small, or as good and smaller (by " +
         report::quality_name(record) + ")\n";
}

std::string comparison_markdown(const Json& record) {
  const std::vector<Row> table = rows(record);
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

std::string comparison_csv(const Json& record) {
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> lines;
  const std::vector<Json> models = report::elements(record, "/models");
  for (const Json& model : models) {
    std::vector<std::pair<std::string, std::string>> numbers;
    collect_numbers(model, "", numbers);
    for (const auto& [name, value] : numbers)
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    lines.emplace_back(numbers.begin(), numbers.end());
  }
  std::string out = "model";
  for (const std::string& name : names) out += "," + csv_cell(name);
  out += "\r\n";
  for (std::size_t i = 0; i < models.size(); ++i) {
    out += csv_cell(text(models[i], "/name").value_or("?"));
    for (const std::string& name : names) out += "," + (lines[i].contains(name) ? lines[i][name] : "");
    out += "\r\n";
  }
  return out;
}

}  // namespace streamline

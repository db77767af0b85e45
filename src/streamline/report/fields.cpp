// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/fields.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"

namespace streamline::report {

const Json* find(const Json& json, std::string_view pointer) {
  const Json::json_pointer place{std::string(pointer)};
  if (!json.contains(place)) return nullptr;
  const Json& value = json.at(place);
  return value.is_null() ? nullptr : &value;
}

std::optional<double> number(const Json& json, std::string_view pointer) {
  const Json* value = find(json, pointer);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  const double found = value->get<double>();
  return std::isfinite(found) ? std::optional(found) : std::nullopt;
}

std::optional<std::int64_t> integer(const Json& json, std::string_view pointer) {
  const Json* value = find(json, pointer);
  if (value == nullptr || !value->is_number_integer()) return std::nullopt;
  return value->get<std::int64_t>();
}

std::optional<std::string> text(const Json& json, std::string_view pointer) {
  const Json* value = find(json, pointer);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

bool flag(const Json& json, std::string_view pointer) {
  const Json* value = find(json, pointer);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

std::vector<Json> elements(const Json& json, std::string_view pointer) {
  const Json* value = find(json, pointer);
  if (value == nullptr || !value->is_array()) return {};
  return {value->begin(), value->end()};
}

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::int64_t first = value < 0 ? 1 : 0;
  for (auto i = static_cast<std::int64_t>(digits.size()) - 3; i > first; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

std::optional<std::string> with_error(const Json& json, const std::string& pointer, int digits, double factor) {
  const auto value = number(json, pointer + "/value"), error = number(json, pointer + "/standard_error");
  if (!value) return std::nullopt;
  return fixed(*value * factor, digits) + (error ? " ± " + fixed(*error * factor, digits) : "");
}

std::string measured_on(const Json& report) {
  const Json* evaluation = find(report, "/evaluation");
  if (evaluation == nullptr) return "";
  const std::vector<Json> models = elements(report, "/models");
  const auto measured = [](const Json& model) { return number(model, "/perplexity/value").has_value(); };
  if (std::ranges::none_of(models, measured)) return "";
  const bool with_error = std::ranges::any_of(
      models, [](const Json& model) { return number(model, "/perplexity/standard_error").has_value(); });
  const std::string where = text(*evaluation, "/source").value_or(""), windows = windows_text(*evaluation);
  return std::string("Perplexity") + (with_error ? " ± one standard error" : "") +
         (where.empty() ? "" : ", on " + where) + (windows.empty() ? "" : ": " + windows) + ".";
}

std::string bytes_text(double bytes) { return format_bytes(static_cast<std::uint64_t>(std::max(bytes, 0.0))); }

std::string rate_text(double rate) { return significant(rate, 3); }

std::string percent_change(double from, double to) {
  const std::string size = fixed(std::abs(to / from - 1) * 100, 1);
  return (size == "0.0" ? "±" : to < from ? "−" : "+") + size + " %";
}

std::string layer_range(std::int64_t first, std::int64_t count) {
  return count == 1 ? std::to_string(first) : std::to_string(first) + ".." + std::to_string(first + count - 1);
}

std::int64_t source_layers(const Json& report) {
  for (const char* pointer : {"/source/layers", "/scores/layers"})
    if (const auto layers = integer(report, pointer)) return *layers;
  return integer(first_model(report), "/layers").value_or(0);
}

std::optional<ChosenWindow> chosen_window(const Json& report) {
  const auto start = integer(report, "/choice/start"), cut = integer(report, "/choice/cut");
  const std::int64_t layers = source_layers(report);
  if (!start || !cut || *start < 0 || *cut < 1 || *cut > layers || *start > layers - *cut) return std::nullopt;
  return ChosenWindow{.start = *start, .cut = *cut, .layers = layers};
}

std::vector<ChosenWindow> cut_runs(const Json& report) {
  const auto window = chosen_window(report);
  if (!window) return {};
  std::vector<ChosenWindow> runs;
  std::int64_t next = 0;
  for (const Json& cut : elements(report, "/choice/cuts")) {
    const auto start = integer(cut, "/start"), count = integer(cut, "/count");
    if (!start || !count || *start < next || *count < 1 || *count > window->layers - *start) return {*window};
    runs.push_back({*start, *count, window->layers, text(cut, "/half").value_or("")});
    next = *start + *count;
  }
  return runs.empty() ? std::vector{*window} : runs;
}

std::vector<ChosenWindow> whole_cuts(const Json& report) {
  std::vector<ChosenWindow> runs = cut_runs(report);
  std::erase_if(runs, [](const ChosenWindow& run) { return !run.half.empty(); });
  return runs;
}

std::string cut_ranges(const Json& report) { return layer_ranges(cut_runs(report)); }

std::string layer_ranges(const std::vector<ChosenWindow>& runs) {
  std::string ranges;
  for (std::size_t i = 0; i < runs.size(); ++i)
    ranges += (i == 0 ? "" : i + 1 < runs.size() ? ", " : " and ") + layer_range(runs[i].start, runs[i].cut);
  return ranges;
}

std::string named_layers(const std::vector<ChosenWindow>& runs) {
  std::int64_t layers = 0;
  for (const ChosenWindow& run : runs) layers += run.cut;
  return runs.empty() ? "" : plural(layers, "layer") + " " + layer_ranges(runs);
}

std::vector<std::int64_t> massive_layers(const Json& report) {
  std::vector<std::int64_t> layers;
  for (const Json& layer : elements(report, "/scores/massive_activation_layers"))
    if (layer.is_number_integer()) layers.push_back(layer.get<std::int64_t>());
  return layers;
}

bool contains_massive(const std::vector<std::int64_t>& massive, std::int64_t start, std::int64_t count) {
  return std::any_of(massive.begin(), massive.end(),
                     [&](std::int64_t layer) { return layer >= start && layer < start + count; });
}

Json model_entry(const Json& report, std::string_view name) {
  for (const Json& model : elements(report, "/models"))
    if (text(model, "/name") == name) return model;
  return nullptr;
}

bool is_first_model(const Json& model) {
  const auto name = text(model, "/name");
  return name == "source" || name == "before";
}

Json first_model(const Json& report) {
  for (const Json& model : elements(report, "/models"))
    if (is_first_model(model)) return model;
  return nullptr;
}

Json final_model(const Json& report) {
  for (const char* name : {"healed", "sparse"})
    if (Json model = model_entry(report, name); !model.is_null()) return model;
  return model_entry(report, "cut");
}

bool cuts(const Json& report) { return find(report, "/choice") != nullptr; }

std::vector<std::vector<std::string>> without_empty_columns(const std::vector<std::vector<std::string>>& rows,
                                                            std::string_view nothing) {
  std::vector<std::vector<std::string>> kept(rows.size());
  for (std::size_t column = 0; !rows.empty() && column < rows.front().size(); ++column) {
    const auto says = [&](const auto& row) { return row[column] != nothing; };
    if (column > 0 && std::none_of(rows.begin() + 1, rows.end(), says)) continue;
    for (std::size_t row = 0; row < rows.size(); ++row) kept[row].push_back(rows[row][column]);
  }
  return kept;
}

}  // namespace streamline::report

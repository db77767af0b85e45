// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_differences.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

#include "streamline/base/stats.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

constexpr double kNormal = 1.96;  // standard errors, 95 %
constexpr double kFarther = 4;    // times the median: beyond the panel, so that the others can be told apart
constexpr double kNarrowest = 1;  // half a panel, in its unit

// One dot with its bar.
struct Dot {
  std::size_t row = 0;  // of the model
  double value = 0, low = 0, high = 0;
  bool certain = false;  // more than noise
  Json tip = {};
};

struct Panel {
  std::string title = {};
  std::vector<Dot> dots = {};
  double low = 0, high = 0;  // of its axis
};

std::string signed_text(double value, int digits) { return (value < 0 ? "−" : "+") + fixed(std::abs(value), digits); }

double percent_more(double log_ratio) { return 100 * std::expm1(log_ratio); }

std::optional<Dot> perplexity_dot(const Json& model, std::size_t row, std::size_t which) {
  const std::vector<Json> all = perplexities(model);
  if (which >= all.size()) return std::nullopt;
  const auto ratio = number(all[which], "/divergence/log_perplexity_ratio/value");
  if (!ratio) return std::nullopt;
  const auto error = number(all[which], "/divergence/log_perplexity_ratio/standard_error");
  const double spread = kNormal * error.value_or(0);
  const bool told = error && integer(all[which], "/windows").value_or(kFewestPairs) >= kFewestPairs;
  Dot dot{.row = row,
          .value = percent_more(*ratio),
          .low = percent_more(*ratio - spread),
          .high = percent_more(*ratio + spread),
          .certain = told && std::abs(*ratio) > spread};
  dot.tip = {{"title", name_of(model)}, {"perplexity", signed_text(dot.value, 2) + " %"}};
  if (error) dot.tip["95 %"] = signed_text(dot.low, 2) + " to " + signed_text(dot.high, 2) + " %";
  return dot;
}

std::optional<Dot> accuracy_dot(const Json& model, std::size_t row, const std::string& benchmark) {
  for (const TaskDifference& task : task_differences(model))
    if (task.name == benchmark)
      return Dot{.row = row,
                 .value = task.difference,
                 .low = task.low,
                 .high = task.high,
                 .certain = task.certain(),
                 .tip = {{"title", name_of(model)},
                         {"difference", signed_text(task.difference, 2)},
                         {"95 %", signed_text(task.low, 2) + " to " + signed_text(task.high, 2)},
                         {"McNemar p", significant(task.p, 2)},
                         {"right to wrong", std::to_string(task.lost)},
                         {"wrong to right", std::to_string(task.gained)}}};
  return std::nullopt;
}

// One axis for panels of one unit, which ends where a few models would leave the others a strip of it.
void span_together(std::vector<Panel>& panels) {
  std::vector<double> sizes;
  for (const Panel& panel : panels)
    for (const Dot& dot : panel.dots) sizes.push_back(std::abs(dot.value));
  if (sizes.empty()) return;
  std::ranges::nth_element(sizes, sizes.begin() + std::ssize(sizes) / 2);
  const double limit = std::max(kFarther * sizes[sizes.size() / 2], kNarrowest);
  double low = -kNarrowest, high = kNarrowest;
  for (const Panel& panel : panels)
    for (const Dot& dot : panel.dots) {
      if (std::abs(dot.value) > limit) continue;
      low = std::min({low, dot.value, std::max(dot.low, -limit)});
      high = std::max({high, dot.value, std::min(dot.high, limit)});
    }
  for (Panel& panel : panels) panel.low = low, panel.high = high;
}

std::vector<Panel> perplexity_panels(const Json& record, const std::vector<Json>& models) {
  std::vector<Panel> panels;
  const std::vector<std::string> names = text_names(record);
  for (std::size_t i = 0; i < names.size(); ++i) {
    Panel panel{.title = names.size() > 1 ? "perplexity (" + names[i] + "), %" : "perplexity, %"};
    for (std::size_t row = 1; row < models.size(); ++row)
      if (auto dot = perplexity_dot(models[row], row - 1, i)) panel.dots.push_back(std::move(*dot));
    if (!panel.dots.empty()) panels.push_back(std::move(panel));
  }
  span_together(panels);
  return panels;
}

std::vector<Panel> accuracy_panels(const Json& record, const std::vector<Json>& models) {
  std::vector<Panel> panels;
  for (const std::string& name : benchmark_names(record)) {
    Panel panel{.title = name + ", points"};
    for (std::size_t row = 1; row < models.size(); ++row)
      if (auto dot = accuracy_dot(models[row], row - 1, name)) panel.dots.push_back(std::move(*dot));
    if (!panel.dots.empty()) panels.push_back(std::move(panel));
  }
  span_together(panels);
  return panels;
}

Json rows_of(const Panel& panel) {
  Json rows = Json::array();
  for (const Dot& dot : panel.dots)
    rows.push_back({{"row", dot.row},
                    {"value", std::clamp(dot.value, panel.low, panel.high)},
                    {"low", std::clamp(dot.low, panel.low, panel.high)},
                    {"high", std::clamp(dot.high, panel.low, panel.high)},
                    {"certain", dot.certain},
                    {"beyond", dot.value > panel.high  ? 1
                               : dot.value < panel.low ? -1
                                                       : 0},
                    {"tip", dot.tip}});
  return rows;
}

}  // namespace

std::vector<TaskDifference> task_differences(const Json& model) {
  std::vector<TaskDifference> result;
  for (const Json& row : elements(model, "/against_source/benchmarks")) {
    const auto questions = number(row, "/questions"), lost = number(row, "/right_to_wrong"),
               gained = number(row, "/wrong_to_right");
    if (!questions || *questions < 1 || !lost || !gained) continue;
    const double mean = (*gained - *lost) / *questions;
    result.push_back({.name = text(row, "/name").value_or("?"),
                      .difference = 100 * mean,
                      .low = 100 * number(row, "/difference_interval/0").value_or(mean),
                      .high = 100 * number(row, "/difference_interval/1").value_or(mean),
                      .p = number(row, "/mcnemar_p").value_or(1),
                      .lost = static_cast<std::int64_t>(*lost),
                      .gained = static_cast<std::int64_t>(*gained)});
  }
  return result;
}

Json differences_chart(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  std::vector<Panel> panels = perplexity_panels(record, models);
  std::ranges::move(accuracy_panels(record, models), std::back_inserter(panels));
  if (panels.empty()) return nullptr;
  Json names = Json::array(), drawn = Json::array();
  for (std::size_t row = 1; row < models.size(); ++row)
    names.push_back({{"row", row - 1}, {"label", short_name(models[row])}, {"tip", {{"title", name_of(models[row])}}}});
  for (const Panel& panel : panels)
    drawn.push_back({{"index", drawn.size()},
                     {"title", panel.title},
                     {"low", panel.low},
                     {"high", panel.high},
                     {"rows", rows_of(panel)}});
  return {{"signals", {{"rows", names.size()}, {"panels", drawn.size()}}},
          {"data", {{"names", std::move(names)}, {"panels", std::move(drawn)}}}};
}

}  // namespace streamline::report

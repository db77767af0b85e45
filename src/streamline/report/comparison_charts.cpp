// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_charts.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/resources.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

constexpr double kInterval = 1.96;  // standard errors

// Where a model stands on the axis of quality, with its error; perplexities as logarithms, small ones on top.
struct Height {
  double y = 0, low = 0, high = 0;
  std::string text = {};
};

// Of the mean over the benchmarks, each by itself.
double mean_accuracy_error(const Json& record, const Json& model) {
  double squares = 0, count = 0;
  for (const std::string& name : benchmark_names(record)) {
    const double error = number(benchmark(model, name), "/acc/standard_error").value_or(0);
    squares += error * error;
    ++count;
  }
  return count > 0 ? std::sqrt(squares) / count : 0;
}

std::optional<Height> height(const Json& record, const Json& model) {
  if (judged_by_tasks(record)) {
    const auto accuracy = quality(record, model);
    if (!accuracy) return std::nullopt;
    const double spread = kInterval * 100 * mean_accuracy_error(record, model);
    return Height{*accuracy, *accuracy - spread, *accuracy + spread, fixed(*accuracy, 2) + " %"};
  }
  const auto value = number(model, "/perplexity/value"), error = number(model, "/perplexity/standard_error");
  if (!value || *value <= 0) return std::nullopt;
  const double spread = kInterval * error.value_or(0);
  return Height{std::log10(*value), std::log10(std::max(*value - spread, *value * 0.5)), std::log10(*value + spread),
                fixed(*value, 3)};
}

// step: how the front goes from one model to the next, so that below it lies what is beaten.
Json quality_chart(const Json& record, const char* pointer, const char* front, const std::string& x_title,
                   const char* step) {
  Json rows = Json::array(), line = Json::array();
  std::vector<std::pair<double, double>> front_points;
  const std::vector<Json> models = elements(record, "/models");
  const std::string name_of_quality = quality_name(record);
  for (std::size_t i = 0; i < models.size(); ++i) {
    const auto x = number(models[i], pointer);
    const auto y = height(record, models[i]);
    if (!x || !y) continue;
    const std::string name = text(models[i], "/name").value_or("?");
    rows.push_back({{"name", name},
                    {"x", *x},
                    {"y", y->y},
                    {"low", y->low},
                    {"high", y->high},
                    {"source", i == 0},
                    {"front", flag(models[i], front)},
                    {"near", flag(models[i], std::string(front) + "_within_error")},
                    {"tip", {{"title", name}, {name_of_quality, y->text}, {x_title, significant(*x, 4)}}}});
    if (flag(models[i], front)) front_points.emplace_back(*x, y->y);
  }
  if (rows.size() < 2) return nullptr;
  std::ranges::sort(front_points);
  for (const auto& [x, y] : front_points) line.push_back({{"x", x}, {"y", y}});
  const bool tasks = judged_by_tasks(record);
  return {{"data", {{"models", rows}, {"front", line}}},
          {"signals",
           {{"x_title", x_title},
            {"y_title", tasks ? "mean accuracy, %" : "perplexity (low is good)"},
            {"logarithmic", !tasks},
            {"step", step}}}};
}

// The farthest that an interval of any model reaches, so that all charts have one scale.
double widest(const std::vector<Json>& models) {
  double span = 1;
  for (const Json& model : models)
    for (const TaskDifference& task : task_differences(model))
      span = std::max({span, std::abs(task.low), std::abs(task.high)});
  return span;
}

Json tasks_chart(const Json& model, double span) {
  const std::vector<TaskDifference> differences = task_differences(model);
  if (differences.empty()) return nullptr;
  Json rows = Json::array();
  for (const TaskDifference& task : differences)
    rows.push_back({{"name", task.name},
                    {"difference", task.difference},
                    {"low", task.low},
                    {"high", task.high},
                    {"p", task.p},
                    {"lost", task.lost},
                    {"gained", task.gained},
                    {"certain", task.certain()}});
  return {{"data", {{"tasks", rows}}}, {"signals", {{"span", span}, {"count", rows.size()}}}};
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

Json comparison_charts(const Json& record) {
  Json charts = Json::object();
  const auto add = [&](const std::string& name, Json chart) {
    if (!chart.is_null()) charts[name] = std::move(chart);
  };
  add("quality-parameters", quality_chart(record, "/parameters", "/pareto/parameters", "parameters", "step-after"));
  add("quality-speed",
      quality_chart(record, "/speed/prefill_tokens_per_second", "/pareto/speed", "prefill, tokens/s", "step-before"));
  const std::vector<Json> models = elements(record, "/models");
  const double span = widest(models);
  for (std::size_t i = 1; i < models.size(); ++i) add("tasks-" + std::to_string(i), tasks_chart(models[i], span));
  return charts;
}

}  // namespace streamline::report

// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_charts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/axis.h"
#include "streamline/report/comparison_differences.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

constexpr double kInterval = 1.96;  // standard errors
constexpr double kFar = 10;         // times the smallest
constexpr std::size_t kMany = 10;   // points, of which those on the front alone have labels

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
                perplexity_text(*value)};
}

struct Point {
  std::string name;
  std::string first = {};   // of the names that are one model
  std::size_t members = 1;  // how many they are
  double x = 0;
  Height y = {};
  bool source = false, front = false, near = false;
  bool beyond = false;      // drawn at the upper edge of the axis, which it lies far above
  std::string label = {};   // beside it; empty where another one stands at the same place
  std::string others = {};  // names of the others there
};

std::vector<Point> points_of(const Json& record, const char* pointer, const std::string& front) {
  std::vector<Point> points;
  const std::vector<Json> models = elements(record, "/models");
  for (std::size_t i = 0; i < models.size(); ++i) {
    const auto x = number(models[i], pointer);
    auto y = height(record, models[i]);
    if (!x || !y) continue;
    points.push_back({.name = name_of(models[i]),
                      .first = first_member(models[i]),
                      .members = member_count(models[i]),
                      .x = *x,
                      .y = std::move(*y),
                      .source = i == 0,
                      .front = flag(models[i], front),
                      .near = flag(models[i], front + "_within_error"),
                      .label = short_name(models[i])});
  }
  return points;
}

// A few models that are far worse than the best would leave the others a strip of the axis: they go to its edge, and
// their label says their perplexity.
void put_far_ones_at_the_edge(std::vector<Point>& points) {
  const double best = std::ranges::min(points, {}, [](const Point& point) { return point.y.y; }).y.y;
  const auto far = [&](const Point& point) { return point.y.y > best + std::log10(kFar); };
  const auto count = static_cast<std::size_t>(std::ranges::count_if(points, far));
  if (count == 0 || 2 * count > points.size()) return;
  double low = best, high = best;
  for (const Point& point : points)
    if (!far(point)) low = std::min(low, point.y.low), high = std::max(high, point.y.high);
  const double edge = high + std::max(0.12 * (high - low), 0.02);
  for (Point& point : points) {
    if (!far(point)) continue;
    point.beyond = true;
    point.label += ": " + perplexity_text(std::pow(10, point.y.y));
    point.y.y = point.y.low = point.y.high = edge;
  }
}

// Models at one place are one point, which the first of them names.
void label_places_once(std::vector<Point>& points) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::size_t more = 0;
    const auto same = [&](const Point& other) { return other.x == points[i].x && other.y.y == points[i].y.y; };
    for (std::size_t k = 0; k < points.size(); ++k) {
      if (k == i || !same(points[k])) continue;
      points[i].others += (points[i].others.empty() ? "" : ", ") + points[k].name;
      if (points[i].beyond) continue;  // labels say how far each is
      if (k < i) points[i].label.clear();
      more += points[k].members;
    }
    if (more > 0 && !points[i].label.empty())
      points[i].label = points[i].first + " and " + std::to_string(more + points[i].members - 1) + " more";
  }
}

// Of many, the front and what the axis does not reach have labels; the others are told by pointing at them.
void label_few(std::vector<Point>& points) {
  for (Point& point : points)
    if (points.size() > kMany && !point.source && !point.front && !point.beyond) point.label.clear();
}

// Logarithms of round numbers within the span of the values, which are logarithms too.
Json logarithmic_ticks(double low, double high) {
  Json ticks = Json::array();
  for (const double value : round_values(std::pow(10, low), std::pow(10, high), 9)) ticks.push_back(std::log10(value));
  return ticks;
}

// Sizes that lie far apart as logarithms. Returns the labels of their axis; null: those of a linear one.
Json scaled_sizes(std::vector<Point>& points) {
  const auto [low, high] = std::ranges::minmax(points, {}, &Point::x);
  const double least = low.x, most = high.x;
  if (least <= 0 || most / least <= kFar) return nullptr;
  for (Point& point : points) point.x = std::log10(point.x);
  return logarithmic_ticks(std::log10(least), std::log10(most));
}

Json perplexity_ticks(const std::vector<Point>& points) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Point& point : points)
    if (!point.beyond) low = std::min(low, point.y.low), high = std::max(high, point.y.high);
  return logarithmic_ticks(low, high);
}

// step: how the front goes from one model to the next, so that below it lies what is beaten.
Json quality_chart(const Json& record, const char* pointer, const char* front, const std::string& x_title,
                   const char* step) {
  std::vector<Point> points = points_of(record, pointer, front);
  if (points.size() < 2) return nullptr;
  const bool tasks = judged_by_tasks(record);
  if (!tasks) put_far_ones_at_the_edge(points);
  const Json y_ticks = tasks ? Json() : perplexity_ticks(points);
  std::vector<std::string> sizes;
  for (const Point& point : points) sizes.push_back(significant(point.x, 4));
  const Json x_ticks = scaled_sizes(points);
  label_places_once(points);
  label_few(points);
  Json rows = Json::array(), line = Json::array();
  std::vector<std::pair<double, double>> front_points;
  const std::string name_of_quality = quality_name(record);
  for (std::size_t i = 0; i < points.size(); ++i) {
    const Point& point = points[i];
    rows.push_back({{"name", point.name},
                    {"label", point.label},
                    {"rank", point.source  ? 0
                             : point.front ? 1
                                           : 2},
                    {"x", point.x},
                    {"y", point.y.y},
                    {"low", point.y.low},
                    {"high", point.y.high},
                    {"source", point.source},
                    {"front", point.front},
                    {"near", point.near},
                    {"beyond", point.beyond},
                    {"tip", {{"title", point.name}, {name_of_quality, point.y.text}, {x_title, sizes[i]}}}});
    if (!point.others.empty()) rows.back()["tip"]["also here"] = point.others;
    if (point.front) front_points.emplace_back(point.x, point.y.y);
  }
  if (front_points.empty()) front_points.emplace_back(points.front().x, points.front().y.y);  // labels avoid the line
  std::ranges::sort(front_points);
  for (const auto& [x, y] : front_points) line.push_back({{"x", x}, {"y", y}});
  return {{"data", {{"models", rows}, {"front", line}}},
          {"signals",
           {{"x_title", x_title},
            {"y_title", tasks ? "mean accuracy, %" : "perplexity (low is good)"},
            {"logarithmic", !tasks},
            {"x_logarithmic", !x_ticks.is_null()},
            {"x_ticks", x_ticks},
            {"y_ticks", y_ticks},
            {"step", step},
            {"many", points.size() > kMany}}}};
}

}  // namespace

Json comparison_charts(const Json& record) {
  Json charts = Json::object();
  const auto add = [&](const std::string& name, Json chart) {
    if (!chart.is_null()) charts[name] = std::move(chart);
  };
  add("quality-parameters", quality_chart(record, "/parameters", "/pareto/parameters", "parameters", "step-after"));
  add("quality-speed",
      quality_chart(record, "/speed/prefill_tokens_per_second", "/pareto/speed", "prefill, tokens/s", "step-before"));
  add("differences", differences_chart(record));
  return charts;
}

}  // namespace streamline::report

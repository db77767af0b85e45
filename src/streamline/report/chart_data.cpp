// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/chart_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "streamline/report/axis.h"
#include "streamline/report/fields.h"
#include "streamline/report/training_runs.h"
#include "streamline/report/window_measure.h"

namespace streamline::report {
namespace {

// Below this, a window changes nothing that a colour could show; above 2 there is no distance.
constexpr double kNearest = 1e-4, kFarthest = 2;
// More training steps than a screen has columns are thinned.
constexpr std::size_t kMostSteps = 1200;

// Where the distance axis has its labels, as far as the data reaches.
Json ticks(const WindowMeasure& measure, double near, double far) {
  if (!measure.similarity) return round_values(near, far, 6);
  Json values = Json::array();
  for (const double cosine : {0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.0, -0.5})
    if (1 - cosine >= near * 0.9 && 1 - cosine <= far) values.push_back(1 - cosine);
  return values;
}

// Adds what is measured, and near, far and ticks: the span of the rows' distances, never empty.
void add_measure(Json& signals, const WindowMeasure& measure, const Json& rows) {
  double near = kFarthest, far = kNearest;
  for (const Json& row : rows) {
    near = std::min(near, row["distance"].get<double>());
    far = std::max(far, row["distance"].get<double>());
  }
  far = std::max(far, near * 1.1);
  signals["near"] = near;
  signals["far"] = far;
  signals["ticks"] = ticks(measure, near, far);
  signals["measure"] = measure.name;
  signals["similarity"] = measure.similarity;
}

Json window_row(const WindowMeasure& measure, std::int64_t start, std::int64_t length, double value,
                const std::vector<std::int64_t>& massive) {
  return {{"start", start},
          {"length", length},
          {"end", start + length - 1},
          {"value", value},
          {"distance", std::clamp(measure.distance(value), kNearest, kFarthest)},
          {"massive", contains_massive(massive, start, length)}};
}

// The outline of the windows that contain `layer`: a staircase down to (layer, 1), then straight up.
void add_wedge(Json& points, std::int64_t layer, std::int64_t layers) {
  const auto add = [&](double x, double y) { points.push_back({{"layer", layer}, {"x", x}, {"y", y}}); };
  for (std::int64_t start = 0; start <= layer; ++start)
    add(static_cast<double>(start) - 0.5, static_cast<double>(layer - start) + 0.5);
  add(static_cast<double>(layer) + 0.5, 0.5);
  add(static_cast<double>(layer) + 0.5, static_cast<double>(layers - layer) + 0.5);
}

Json windows_chart(const Json& report) {
  const Json* cosine = find(report, "/scores/cosine");
  if (cosine == nullptr || !cosine->is_array() || cosine->size() < 2) return nullptr;
  const auto layers = static_cast<std::int64_t>(cosine->size()) - 1;
  const WindowMeasure measure = window_measure(report);
  const std::vector<std::int64_t> massive = massive_layers(report);
  Json rows = Json::array();
  for (std::int64_t start = 0; start < layers; ++start)
    for (std::int64_t end = start + 1; end <= layers; ++end) {
      const std::string cell = "/" + std::to_string(start) + "/" + std::to_string(end);
      const auto value = measure.of(report, start, end - start);
      if (!value) continue;
      rows.push_back(window_row(measure, start, end - start, *value, massive));
      if (const auto l2 = number(report, "/scores/relative_l2" + cell)) rows.back()["relative_l2"] = *l2;
    }
  if (rows.empty()) return nullptr;
  Json chosen = Json::array(), wedges = Json::array();
  for (const ChosenWindow& run : whole_cuts(report)) chosen.push_back({{"start", run.start}, {"length", run.cut}});
  for (const std::int64_t layer : massive)
    if (layer >= 0 && layer < layers) add_wedge(wedges, layer, layers);
  Json signals = {{"layers", layers}};
  add_measure(signals, measure, rows);
  return {{"data", {{"windows", rows}, {"chosen", chosen}, {"wedges", wedges}}}, {"signals", signals}};
}

Json curve_chart(const Json& report) {
  const auto window = chosen_window(report);
  if (!window) return nullptr;
  const WindowMeasure measure = window_measure(report);
  const std::vector<std::int64_t> massive = massive_layers(report);
  Json rows = Json::array();
  const char* next = "best";  // of the windows that were not chosen, the first in order gets a name
  for (const Json& entry : elements(report, "/choice/windows")) {
    const auto start = integer(entry, "/start");
    if (!start) continue;
    const auto value = measure.of(report, *start, window->cut);
    if (!value) continue;
    Json row = window_row(measure, *start, window->cut, *value, massive);
    const bool is_chosen = *start == window->start;
    row["role"] = is_chosen ? "chosen" : next;
    next = is_chosen && std::string_view(next) == "best" ? "second" : is_chosen ? next : "other";
    rows.push_back(row);
  }
  if (rows.empty()) return nullptr;
  std::sort(rows.begin(), rows.end(),
            [](const Json& a, const Json& b) { return a["start"].get<double>() < b["start"].get<double>(); });
  Json signals = {{"layers", window->layers}, {"length", window->cut}};
  add_measure(signals, measure, rows);
  return {{"data", {{"starts", rows}}}, {"signals", signals}};
}

// Adds <field>_span and <field>_ticks of a column on a logarithmic axis.
void add_axis(Json& signals, const Json& rows, const std::string& field) {
  double low = std::numeric_limits<double>::max(), high = 0;
  for (const Json& row : rows)
    if (row.contains(field)) {
      low = std::min(low, row[field].get<double>() * 0.9);
      high = std::max(high, row[field].get<double>() * 1.1);
    }
  if (high == 0) low = 1, high = 10;
  signals[field + "_span"] = {low, high};
  signals[field + "_ticks"] = round_values(low, high, 5);
}

Json norms_chart(const Json& report) {
  const std::vector<Json> states = elements(report, "/scores/states");
  if (states.size() < 2) return nullptr;
  const std::size_t layers = states.size() - 1;
  Json rows = Json::array(), massive = Json::array(), cut = Json::array();
  for (std::size_t i = 0; i < states.size(); ++i) {
    rows.push_back(
        {{"state", i}, {"name", i < layers ? "entering layer " + std::to_string(i) : "leaving the last layer"}});
    for (const char* field : {"mean_norm", "largest_over_median"})
      if (const auto value = number(states[i], std::string("/") + field); value && *value > 0)
        rows.back()[field] = *value;
  }
  for (const std::int64_t layer : massive_layers(report)) massive.push_back({{"layer", layer}});
  for (const ChosenWindow& run : whole_cuts(report)) cut.push_back({{"from", run.start}, {"to", run.start + run.cut}});
  Json signals = {{"layers", layers}};
  for (const char* field : {"mean_norm", "largest_over_median"}) add_axis(signals, rows, field);
  return {{"data", {{"states", rows}, {"massive", massive}, {"cut", cut}}}, {"signals", signals}};
}

// Steps with a positive loss, at most kMostSteps of them, the last one kept.
std::vector<Json> drawn_steps(const Json& stage) {
  std::vector<Json> steps;
  const std::vector<Json> all = elements(stage, "/steps");
  const std::size_t stride = all.size() / kMostSteps + 1;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (number(all[i], "/loss").value_or(0) > 0 && number(all[i], "/step") && (i % stride == 0 || i + 1 == all.size()))
      steps.push_back(all[i]);
  return steps;
}

// How many tokens had been seen at a step: that of the last recorded step not after it.
double tokens_at(const std::map<double, double>& tokens, double step) {
  const auto after = tokens.upper_bound(step);
  return after == tokens.begin() ? 0 : std::prev(after)->second;
}

// Adds low, high and ticks: the span of everything that the training chart draws.
void add_error_span(Json& signals, const Json& data) {
  double low = std::numeric_limits<double>::max(), high = 0;
  for (const auto& [table, field] : {std::pair("steps", "loss"), {"validations", "error"}, {"nothing", "error"}})
    for (const Json& row : data[table]) {
      low = std::min(low, row[field].get<double>());
      high = std::max(high, row[field].get<double>());
    }
  signals["low"] = low * 0.95;
  signals["high"] = high * 1.05;
  signals["ticks"] = round_values(low * 0.95, high * 1.05, 9);
}

Json training_chart(const TrainingRun& run) {
  const Json& stage = run.stage;
  const std::vector<Json> steps = drawn_steps(stage);
  if (steps.empty()) return nullptr;
  const bool by_tokens = std::all_of(steps.begin(), steps.end(), [](const Json& s) { return number(s, "/tokens"); });
  std::map<double, double> tokens;
  for (const Json& any : elements(run.window, "/stages"))  // a later one begins where the one before it ended
    for (const Json& step : elements(any, "/steps"))
      if (const auto at = number(step, "/step")) tokens[*at] = number(step, "/tokens").value_or(0);
  const auto place = [&](double step) { return by_tokens ? tokens_at(tokens, step) : step; };

  Json rows = Json::array(), validations = Json::array(), nothing = Json::array();
  double first = place(*number(steps.front(), "/step") - 1), last = 1;
  for (Json step : steps) {
    step["x"] = place(*number(step, "/step"));
    last = std::max(last, step["x"].get<double>());
    rows.push_back(step);
  }
  for (const Json& entry : elements(stage, "/validations")) {
    const auto step = number(entry, "/step"), error = number(entry, "/error");
    if (step && error && *error > 0) validations.push_back({{"step", *step}, {"error", *error}, {"x", place(*step)}});
  }
  if (const auto error = number(stage, "/nothing_error"); error && *error > 0) nothing.push_back({{"error", *error}});
  const double best_step = number(stage, "/best_step").value_or(-1);
  Json best_error = nullptr;
  for (const Json& validation : validations)
    if (validation["step"] == best_step) best_error = validation["error"];
  const Json data = {{"steps", rows}, {"validations", validations}, {"nothing", nothing}};
  Json signals = {{"first", first},
                  {"last", last},
                  {"best_step", best_step},
                  {"best_error", best_error},
                  {"nothing_error", nothing.empty() ? Json() : nothing.front()["error"]},
                  {"loss_title", run.loss},
                  {"nothing_title", run.whole ? "the model before" : "nothing in its place"},
                  {"reach", smoothing_reach(stage)},
                  {"unit", by_tokens ? "tokens seen" : "step"}};
  add_error_span(signals, data);
  return {{"data", data}, {"signals", signals}};
}

}  // namespace

Json chart_data(const Json& report) {
  Json charts = Json::object();
  const auto add = [&](const std::string& name, Json chart) {
    if (!chart.is_null()) charts[name] = std::move(chart);
  };
  add("windows", windows_chart(report));
  add("curve", curve_chart(report));
  add("norms", norms_chart(report));
  for (const TrainingRun& run : training_runs(report)) add(run.chart, training_chart(run));
  return charts;
}

}  // namespace streamline::report

// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_figures.h"

#include <algorithm>

#include "streamline/report/comparison.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

// Whether `other` is at least as good in both, and better in one.
bool beats(double quality, double cost, double other_quality, double other_cost) {
  return other_quality >= quality && other_cost <= cost && (other_quality > quality || other_cost < cost);
}

// Costs: what should be small. Models without a figure are on no front.
std::vector<bool> front(const std::vector<std::optional<double>>& quality,
                        const std::vector<std::optional<double>>& cost) {
  std::vector<bool> result(quality.size());
  for (std::size_t i = 0; i < quality.size(); ++i) {
    if (!quality[i] || !cost[i]) continue;
    result[i] = true;
    for (std::size_t k = 0; k < quality.size(); ++k)
      if (quality[k] && cost[k] && beats(*quality[i], *cost[i], *quality[k], *cost[k])) result[i] = false;
  }
  return result;
}

}  // namespace

std::vector<std::string> benchmark_names(const Json& record) {
  std::vector<std::string> names;
  for (const Json& model : elements(record, "/models")) {
    const Json* tasks = find(model, "/tasks");
    if (tasks == nullptr || !tasks->is_object()) continue;
    for (const auto& [set, figures] : tasks->items()) {
      const std::string name = text(figures, "/group").value_or(set);
      if (find(figures, "/acc") != nullptr && std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

Json benchmark(const Json& model, const std::string& name) {
  for (const char* place : {"groups", "tasks"})
    if (const Json* all = find(model, std::string("/") + place);
        all != nullptr && all->is_object() && all->contains(name))
      return all->at(name);
  return nullptr;
}

bool judged_by_tasks(const Json& record) { return !benchmark_names(record).empty(); }

std::string quality_name(const Json& record) { return judged_by_tasks(record) ? "mean accuracy" : "perplexity"; }

std::optional<double> quality(const Json& record, const Json& model) {
  if (judged_by_tasks(record)) {
    const auto accuracy = number(model, "/figures/acc");
    return accuracy ? std::optional(*accuracy * 100) : std::nullopt;
  }
  const auto perplexity = number(model, "/perplexity/value");
  return perplexity ? std::optional(-*perplexity) : std::nullopt;
}

}  // namespace streamline::report

namespace streamline {

void mark_pareto(Json& record) {
  if (!record.contains("models") || !record["models"].is_array()) return;
  std::vector<std::optional<double>> quality, size, slowness;
  for (const Json& model : record["models"]) {
    quality.push_back(report::quality(record, model));
    size.push_back(report::number(model, "/parameters"));
    const auto speed = report::number(model, "/speed/prefill_tokens_per_second");
    slowness.push_back(speed ? std::optional(-*speed) : std::nullopt);
  }
  const std::vector<bool> by_size = report::front(quality, size), by_speed = report::front(quality, slowness);
  for (std::size_t i = 0; i < quality.size(); ++i) {
    Json& model = record["models"][i];
    model["pareto"]["parameters"] = static_cast<bool>(by_size[i]);
    if (slowness[i]) model["pareto"]["speed"] = static_cast<bool>(by_speed[i]);
  }
}

}  // namespace streamline

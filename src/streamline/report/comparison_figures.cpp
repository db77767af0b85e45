// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_figures.h"

#include <algorithm>

#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/base/stats.h"
#include "streamline/report/comparison.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

// Whether `other` is at least as good in both, and better in one.
bool beats(double quality, double cost, double other_quality, double other_cost) {
  return other_quality >= quality && other_cost <= cost && (other_quality > quality || other_cost < cost);
}

using Values = std::vector<std::optional<double>>;

bool is_alike(const Json& model, const Json& other) {
  const auto name = text(other, "/name");
  for (const Json& known : elements(model, "/alike"))
    if (name && known == *name) return true;
  return false;
}

// Costs: what should be small. Models without a figure are on no front.
void mark_front(Json& models, const Values& quality, const Values& cost, const std::string& name) {
  for (std::size_t i = 0; i < quality.size(); ++i) {
    if (!cost[i]) continue;
    bool beaten = !quality[i], for_certain = beaten;
    for (std::size_t k = 0; !for_certain && k < quality.size(); ++k)
      if (quality[k] && cost[k] && beats(*quality[i], *cost[i], *quality[k], *cost[k])) {
        beaten = true;
        for_certain = !is_alike(models[i], models[k]);
      }
    models[i]["pareto"][name] = !beaten;
    models[i]["pareto"].erase(name + "_within_error");
    if (quality[i] && beaten && !for_certain) models[i]["pareto"][name + "_within_error"] = true;
  }
}

}  // namespace

std::vector<std::string> benchmark_names(const Json& record) {
  std::vector<std::string> names;
  for (const Json& model : elements(record, "/models")) {
    const Json* tasks = find(model, "/tasks");
    if (tasks == nullptr || !tasks->is_object()) continue;
    for (const auto& [set, figures] : tasks->items()) {
      // A set of a task that is split stands alone where it was asked alone.
      const auto group = text(figures, "/group");
      const std::string name =
          group && find(model, "/groups") != nullptr && find(model, "/groups")->contains(*group) ? *group : set;
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

std::optional<Asked> asked(const Json& record, const std::string& benchmark) {
  for (const Json& model : elements(record, "/models")) {
    const Json* tasks = find(model, "/tasks");
    if (tasks == nullptr || !tasks->is_object()) continue;
    Asked sum;
    for (const auto& [set, figures] : tasks->items()) {
      const auto items = integer(figures, "/items"), in_data = integer(figures, "/items_in_data");
      if (!items || !in_data || (set != benchmark && text(figures, "/group") != benchmark)) continue;
      sum.questions += *items;
      sum.in_data += *in_data;
    }
    if (sum.questions > 0) return sum;
  }
  return std::nullopt;
}

std::vector<Json> perplexities(const Json& model) {
  std::vector<Json> all = elements(model, "/perplexities");
  if (const Json* only = find(model, "/perplexity"); all.empty() && only != nullptr) all.push_back(*only);
  return all;
}

std::vector<std::string> text_names(const Json& record) {
  std::vector<std::string> paths, names;
  for (const Json& model : elements(record, "/models")) {
    if (!paths.empty()) break;
    for (const Json& on : perplexities(model)) paths.push_back(text(on, "/text/source").value_or("?"));
  }
  const auto last = [](const std::string& path) { return path.substr(path.find_last_of('/') + 1); };
  for (const std::string& path : paths) {
    const auto same = std::ranges::count_if(paths, [&](const auto& other) { return last(other) == last(path); });
    names.push_back(same > 1 || last(path).empty() ? path : last(path));
  }
  return names;
}

std::vector<std::string> text_sentences(const Json& record) {
  std::vector<std::string> sentences;
  const std::vector<std::string> names = text_names(record);
  for (const Json& model : elements(record, "/models")) {
    const std::vector<Json> all = perplexities(model);
    for (std::size_t i = 0; i < std::min(all.size(), names.size()); ++i)
      if (const std::string windows = windows_text(all[i]); !windows.empty())
        sentences.push_back("Perplexity on " + names[i] + ": " + windows + ".");
    if (!all.empty()) break;
  }
  return sentences;
}

std::optional<std::int64_t> too_few_windows(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  if (models.size() < 2) return std::nullopt;
  for (const Json& model : models)
    if (const auto windows = integer(model, "/perplexity/windows"); windows && *windows < kFewestPairs) return windows;
  return std::nullopt;
}

std::string few_windows_text(const Json& record) {
  const auto windows = too_few_windows(record);
  if (!windows) return {};
  return counted(*windows, "window") + " of text " + (*windows == 1 ? "is" : "are") +
         " too few to tell whether perplexities differ by more than chance (paired, at least " +
         std::to_string(kFewestPairs) + ")";
}

std::string what_was_cut(const Json& model) {
  std::string cut = text(model, "/cut").value_or("");
  // The column of layers says it.
  if (const std::size_t of = cut.rfind(" (of "); of != std::string::npos && cut.ends_with(")")) cut.resize(of);
  return cut;
}

std::vector<std::string> told_together(const Json& record, const std::string& front,
                                       std::string (*written)(const std::string& name)) {
  std::vector<Json> models = elements(record, "/models");
  std::erase_if(models, [&](const Json& model) { return !flag(model, "/pareto/" + front); });
  std::vector<std::string> lines;
  std::string all;
  bool all_alike = true;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const std::string name = written(name_of(models[i]));
    all += (i == 0 ? "" : ", ") + name;
    std::string others;
    for (std::size_t k = i + 1; k < models.size(); ++k)
      if (is_alike(models[i], models[k]))
        others += (others.empty() ? "" : ", ") + written(name_of(models[k]));
      else
        all_alike = false;
    if (!others.empty()) lines.push_back(name + " and " + others);
  }
  return all_alike && models.size() > 2 ? std::vector{all} : lines;
}

bool judged_by_tasks(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  const bool measured =
      std::ranges::any_of(models, [](const Json& model) { return number(model, "/perplexity/value").has_value(); });
  return !measured && !benchmark_names(record).empty();
}

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
  report::Values quality, size, slowness;
  for (const Json& model : record["models"]) {
    quality.push_back(report::quality(record, model));
    size.push_back(report::number(model, "/parameters"));
    const auto speed = report::number(model, "/speed/prefill_tokens_per_second");
    slowness.push_back(speed ? std::optional(-*speed) : std::nullopt);
  }
  report::mark_front(record["models"], quality, size, "parameters");
  report::mark_front(record["models"], quality, slowness, "speed");
}

}  // namespace streamline

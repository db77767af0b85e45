// SPDX-License-Identifier: Apache-2.0
// What was measured, as JSON, as figures by name, and as text.
#include <algorithm>
#include <set>

#include "evaluation.h"
#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"

namespace streamline::cli {
namespace {

std::string with_error(const Estimate& estimate, double factor, int digits) {
  const std::string value = fixed(estimate.value * factor, digits);
  return estimate.standard_error ? value + " ± " + fixed(*estimate.standard_error * factor, digits) : value;
}

std::string figure(std::string_view metric, const Estimate& estimate) {
  if (metric != "perplexity") return with_error(estimate, 100, 2);
  return perplexity_text(estimate.value, estimate.standard_error);
}

Json set_json(const TaskAnswers& set) {
  Json json = {{"group", set.group},          {"style", name(set.style)},
               {"items", set.answers.size()}, {"items_in_data", set.items_in_data},
               {"truncated", set.truncated},  {"shots", set.shots},
               {"source", set.source},        {"digest", set.digest}};
  for (const std::string& metric_name : set.metrics) json[metric_name] = to_json(metric(set, metric_name));
  return json;
}

std::vector<std::string> cells_of(const std::string& label, const std::vector<TaskAnswers>& sets,
                                  const std::vector<std::string>& columns) {
  std::int64_t items = 0;
  for (const TaskAnswers& set : sets) items += std::ssize(set.answers);
  std::vector<std::string> row = {label, std::to_string(items), std::to_string(sets.front().shots)};
  for (const std::string& column : columns) {
    const auto& metrics = sets.front().metrics;
    const bool has = std::ranges::find(metrics, column) != metrics.end();
    row.push_back(has ? figure(column, benchmark_metric(sets, column)) : "-");
  }
  return row;
}

std::vector<std::string> mean_cells(const std::vector<std::vector<TaskAnswers>>& groups,
                                    const std::vector<std::string>& columns) {
  const std::map<std::string, Estimate> means = benchmark_means(groups);
  std::vector<std::string> row = {"mean", "", ""};
  for (const std::string& column : columns) {
    const auto mean = means.find(column);
    row.push_back(mean != means.end() ? figure(column, mean->second) : "-");
  }
  return row;
}

}  // namespace

Json to_json(const Evaluation& evaluation, const Workload& workload) {
  Json json = Json::object();
  for (std::size_t i = 0; i < evaluation.perplexities.size(); ++i) {
    Json text = to_json(evaluation.perplexities[i], workload.perplexity, workload.texts[i]);
    if (i < evaluation.divergences.size()) text["divergence"] = to_json(evaluation.divergences[i]);
    if (i == 0) json["perplexity"] = text;
    if (evaluation.perplexities.size() > 1) json["perplexities"].push_back(std::move(text));
  }
  if (!evaluation.warnings.empty()) json["warnings"] = evaluation.warnings;
  for (const TaskAnswers& set : evaluation.answers) json["tasks"][set.name] = set_json(set);
  for (const auto& group : by_group(evaluation.answers)) {
    if (group.size() < 2) continue;
    Json& entry = json["groups"][group.front().group];
    for (const std::string& metric : group.front().metrics) entry[metric] = to_json(benchmark_metric(group, metric));
    entry["sets"] = group.size();
  }
  json["seconds"] = evaluation.seconds;
  return json;
}

Figures figures(const Evaluation& evaluation, const Model& model) {
  Figures result = {{"parameters", static_cast<double>(model.parameters())},
                    {"bytes", static_cast<double>(model.weight_bytes())}};
  if (!evaluation.perplexities.empty()) result["perplexity"] = evaluation.perplexities.front().value;
  if (!evaluation.divergences.empty()) {
    result["kl"] = evaluation.divergences.front().kl.value;
    result["same_first_choice"] = evaluation.divergences.front().same_first_choice.value;
  }
  const auto groups = by_group(evaluation.answers);
  for (const auto& group : groups)
    for (const std::string& metric : group.front().metrics)
      result[benchmark_name(group) + "." + metric] = benchmark_metric(group, metric).value;
  for (const auto& [metric, mean] : benchmark_means(groups)) result[metric] = mean.value;
  return result;
}

std::vector<std::string> figure_names(const Workload& workload, bool with_divergence) {
  std::vector<std::string> names = {"parameters", "bytes"};
  if (!workload.texts.empty()) names.emplace_back("perplexity");
  if (!workload.texts.empty() && with_divergence) names.insert(names.end(), {"kl", "same_first_choice"});
  std::map<std::string, std::vector<const TaskSet*>> groups;
  for (const TaskSet& set : workload.sets) groups[set.group].push_back(&set);
  std::set<std::string> means;
  for (const auto& [group, sets] : groups)
    for (const std::string& metric : sets.front()->metrics) {
      names.push_back((sets.size() == 1 ? sets.front()->name : group) + "." + metric);
      if (has_mean(metric)) means.insert(metric);
    }
  names.insert(names.end(), means.begin(), means.end());
  return names;
}

std::string perplexity_lines(const Evaluation& evaluation, const Workload& workload) {
  std::string lines;
  for (std::size_t i = 0; i < evaluation.perplexities.size(); ++i) {
    const PerplexityResult& result = evaluation.perplexities[i];
    const Json measured = to_json(result, workload.perplexity, workload.texts[i]);
    lines += "perplexity " + perplexity_text(result.value, result.standard_error) + " (" + windows_text(measured) +
             "; " + fixed(result.bits_per_byte, 4) + " bits per byte" +
             (result.standard_error ? "; ± one standard error)" : ")") +
             (evaluation.perplexities.size() > 1 ? " on " + workload.texts[i].source : "") + "\n";
    if (i >= evaluation.divergences.size()) continue;
    const Divergence& divergence = evaluation.divergences[i];
    lines += "  from the source: KL divergence " + with_error(divergence.kl, 1, 5) +
             " nats a token, same first choice " + fixed(divergence.same_first_choice.value * 100, 2) +
             " %, RMS change of the right token's probability " + fixed(divergence.rms_difference * 100, 2) + " %\n";
  }
  return lines;
}

std::vector<std::vector<std::string>> task_rows(const std::vector<TaskAnswers>& answers) {
  std::vector<std::string> columns;
  for (const TaskAnswers& set : answers)
    for (const std::string& metric : set.metrics)
      if (std::ranges::find(columns, metric) == columns.end()) columns.push_back(metric);
  std::vector<std::vector<std::string>> rows = {{"task", "items", "shots"}};
  for (const std::string& column : columns) rows.front().push_back(column == "perplexity" ? column : column + " %");
  for (const auto& group : by_group(answers)) {
    const std::string label = benchmark_name(group);
    rows.push_back(
        cells_of(group.size() > 1 ? label + " (" + std::to_string(group.size()) + " sets)" : label, group, columns));
    if (group.size() > 1)
      for (const TaskAnswers& set : group) rows.push_back(cells_of("  " + set.name, {set}, columns));
  }
  if (const auto groups = by_group(answers); groups.size() > 1) rows.push_back(mean_cells(groups, columns));
  return rows;
}

}  // namespace streamline::cli

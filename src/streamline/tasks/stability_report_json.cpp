// SPDX-License-Identifier: Apache-2.0
// What is said of a report: its JSON, and what to beware of.
#include <cmath>

#include "streamline/tasks/stability_report.h"

namespace streamline {
namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json pair(const std::optional<Interval>& interval) {
  return interval ? Json::array({interval->low, interval->high}) : Json();
}

Json to_json(const StabilityRow& row) {
  const StabilityFigures& figures = row.figures;
  Json json = {{"name", row.name},
               {"sets", row.sets},
               {"questions", row.questions},
               {"stability", figures.stability},
               {"stability_interval", pair(row.stability)},
               {"agreement", figures.agreement},
               {"agreement_interval", pair(row.agreement)},
               {"accuracy_a", figures.accuracy_original},
               {"accuracy_b", figures.accuracy_shorter},
               {"relative_performance", number(figures.relative_performance())},
               {"relative_performance_interval", pair(row.relative_performance)},
               {"both_right", row.both_right},
               {"both_wrong", row.both_wrong},
               {"right_to_wrong", row.right_to_wrong},
               {"wrong_to_right", row.wrong_to_right},
               {"difference_interval", pair(row.difference)},
               {"mcnemar_p", row.p_value},
               {"effective_questions", row.effective_questions}};
  if (row.as_published) json["stability_as_published"] = *row.as_published;
  return json;
}

}  // namespace

std::vector<std::string> heavy_weights(const StabilityReport& report) {
  std::vector<std::string> sentences;
  for (const StabilityRow& row : report.groups) {
    if (4 * row.effective_questions >= static_cast<double>(row.questions)) continue;
    sentences.push_back(row.name + ": the weights of stability amount to those of about " +
                        std::to_string(std::llround(row.effective_questions)) + " of " + std::to_string(row.questions) +
                        " questions (score: " + report.score + ")");
  }
  return sentences;
}

Json to_json(const StabilityReport& report) {
  Json json = {{"score", report.score}, {"sets", Json::array()}, {"benchmarks", Json::array()}};
  for (const StabilityRow& row : report.sets) json["sets"].push_back(to_json(row));
  for (const StabilityRow& row : report.groups) json["benchmarks"].push_back(to_json(row));
  json["average"] = to_json(report.average);
  return json;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The page of a comparison: quality against size and speed, task by task, predictions, and what the models write.
#include <algorithm>
#include <cmath>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/version.h"
#include "streamline/report/comparison.h"
#include "streamline/report/comparison_calibration.h"
#include "streamline/report/comparison_charts.h"
#include "streamline/report/comparison_differences.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "streamline/report/comparison_sections.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/page.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::element, report::elements, report::escaped, report::name_of, report::number, report::text;
using Rows = std::vector<std::vector<std::string>>;

const std::string kNothing = "–";
constexpr std::size_t kFewLines = 3;     // that stand below a chart unfolded
constexpr std::size_t kMostBeside = 12;  // models whose two charts stand side by side

std::string error_cell(const Json& json, const std::string& pointer, double factor, int digits) {
  return report::with_error(json, pointer, digits, factor).value_or(kNothing);
}

std::string figure(const Json& charts, const std::string& name, const std::string& label) {
  if (!charts.contains(name)) return "";
  return element(
      "figure", "",
      element("div", "class=\"chart\" data-chart=\"" + name + "\" role=\"img\" aria-label=\"" + escaped(label) + "\"",
              "") +
          "<noscript><p>The chart needs JavaScript; the tables have the same numbers.</p></noscript>");
}

// `front`: the axis that the Pareto front is of, "parameters" or "speed".
std::string quality_section(const Json& record, const Json& charts, const std::string& front, const char* heading,
                            const char* axis) {
  const std::string what = report::quality_name(record);
  std::string markup = figure(charts, "quality-" + front, what + " of the models by " + axis);
  if (markup.empty()) return "";
  const std::vector<std::string> together = report::told_together(record, front, report::code_name);
  if (!together.empty()) {
    std::string lines;
    for (const std::string& line : together) lines += "<br>" + line;
    const std::string what = "On the front, within the error of each other:";
    markup += together.size() <= kFewLines
                  ? element("p", "class=\"note\"", what + lines)
                  : element("details", "class=\"note\"", element("summary", "", what) + lines.substr(4));
  }
  return report::section(
      heading,
      "By " + what +
          ". The dashed line is the Pareto front: filled models, of which none is beaten in both. Pale: "
          "beaten, but by no more than noise. The bars are 95 % of each model by itself; differences "
          "are told apart more sharply, on the same questions and windows. Triangles at the edge lie "
          "far above it, where their label says. A model without a name tells it when pointed at.",
      markup);
}

std::string of_all(const report::Asked& asked) {
  const std::string questions = report::grouped(asked.questions);
  return asked.questions == asked.in_data ? "all " + questions : questions + " of " + report::grouped(asked.in_data);
}

std::string tasks_section(const Json& record) {
  const std::vector<std::string> names = report::benchmark_names(record);
  if (names.empty()) return "";
  std::vector<std::string> heading = {"Model"};
  for (const std::string& name : names) {
    const auto asked = report::asked(record, name);
    heading.push_back(escaped(name) + (asked ? element("small", "", of_all(*asked) + " questions") : ""));
  }
  Rows rows;
  for (const Json& model : elements(record, "/models")) {
    std::vector<std::string> row = {escaped(name_of(model))};
    const std::vector<report::TaskDifference> differences = report::task_differences(model);
    for (const std::string& name : names) {
      std::string cell = error_cell(report::benchmark(model, name), "/acc", 100, 1);
      for (const report::TaskDifference& task : differences)
        if (task.name == name)
          cell += element("small", "",
                          std::string(task.difference < 0 ? "−" : "+") + fixed(std::abs(task.difference), 1) +
                              (task.certain() ? ", p " : ", n.s., p ") + significant(task.p, 2));
      row.push_back(cell);
    }
    rows.push_back(row);
  }
  return report::section("Task by task",
                         "Accuracy, % ± one standard error; below it the difference from the source with the p of "
                         "McNemar's exact test over the same questions (n.s.: not significant at 0.05).",
                         report::html_table(heading, rows, "Accuracy by task"));
}

std::string differences_section(const Json& charts) {
  return report::section(
      "Differences from the source",
      "A row a model, a panel a measure: the dot is the difference from the source, the bar its 95 % interval, of "
      "perplexities from pairs of windows, of accuracies exact, from the questions whose answer changed sides (it "
      "leaves out 0 where McNemar's exact p is below 0.05). Filled: more than noise. Triangles lie beyond the edge; "
      "point at them for their number.",
      figure(charts, "differences", "Differences from the source, a row a model and a panel a measure"));
}

std::string divergence_section(const Json& record) {
  Rows rows;
  for (const Json& model : elements(record, "/models")) {
    for (const Json& on : report::perplexities(model)) {
      const auto rms = number(on, "/divergence/probability_difference_rms");
      rows.push_back({escaped(name_of(model)), escaped(text(on, "/text/source").value_or("?")),
                      perplexity_text(on).value_or(kNothing), error_cell(on, "/divergence/log_perplexity_ratio", 1, 4),
                      error_cell(on, "/divergence/kl", 1, 4), error_cell(on, "/divergence/same_first_choice", 100, 2),
                      rms ? fixed(*rms * 100, 2) : kNothing});
    }
  }
  if (rows.empty()) return "";
  return report::section(
      "Predictions on text",
      "The logarithm of the perplexity's ratio to the source's, with the error of the paired windows; the "
      "Kullback-Leibler divergence from the source, nats a token; the share of tokens with the same first choice; and "
      "how far the right token's probability moved, root mean square.",
      report::html_table(
          {"Model", "Text", "Perplexity", "ln(ratio)", "KL divergence", "Same first choice, %", "RMS change, %"}, rows,
          "Predictions on text"));
}

std::string calibration_section(const Json& record) {
  Rows rows = report::calibration_rows(record);
  if (rows.empty()) return "";
  for (std::vector<std::string>& row : rows)
    for (std::string& cell : row) cell = escaped(cell);
  const std::vector<std::string> heading = rows.front();
  rows.erase(rows.begin());
  return report::section("What the choice of text moves",
                         "Each method chose once from every text and draw. Overlap: of the attentions and MLPs that "
                         "two of its cuts take, the share that both do, in the mean over pairs.",
                         report::html_table(heading, rows, "What the choice of text moves"));
}

std::string samples_section(const Json& record) {
  std::string list;
  for (const Json& model : elements(record, "/models"))
    for (const Json& sample : elements(model, "/samples"))
      list += element("dt", "", escaped(name_of(model))) +
              element("dd", "",
                      element("b", "", escaped(text(sample, "/prompt").value_or(""))) +
                          escaped(text(sample, "/text").value_or(""))) +
              "\n";
  return list.empty() ? ""
                      : report::section("What they write", "Each model's most likely continuation of the bold text.",
                                        element("dl", "", list));
}

}  // namespace

std::string comparison_html(const Json& record) {
  const Json shown = report::without_repeats(record), charts = report::comparison_charts(shown);
  const std::string by_size =
      quality_section(shown, charts, "parameters", "Quality against size", "number of parameters");
  const std::string by_speed = quality_section(shown, charts, "speed", "Quality against speed", "prefill speed");
  const bool beside = !by_size.empty() && !by_speed.empty() && elements(shown, "/models").size() <= kMostBeside;
  const std::string body =
      report::comparison_header(record) + "\n<main>\n" + report::comparison_models(shown) +
      (beside ? element("div", "class=\"pair even\"", by_size + by_speed) : by_size + by_speed) + tasks_section(shown) +
      differences_section(charts) + divergence_section(shown) + calibration_section(record) + samples_section(shown) +
      report::provenance_section(record) + "</main>\n" +
      element("footer", "",
              "Made by streamline " + escaped(program_version()) + ". This page is self-contained: it loads nothing.");
  return report::page_html("streamline comparison", body, charts);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The page of a comparison: who was compared, quality against size and speed, task by task, and side by side.
#include <algorithm>
#include <cmath>

#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/report/comparison.h"
#include "streamline/report/comparison_charts.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/page.h"
#include "streamline/report/report.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::element, report::elements, report::escaped, report::fixed, report::number, report::text;
using Rows = std::vector<std::vector<std::string>>;

const std::string kNothing = "–";

std::string name_of(const Json& model) { return text(model, "/name").value_or("?"); }

std::string percent(const std::optional<double>& share, int digits = 2) {
  return share ? fixed(*share * 100, digits) : kNothing;
}

std::string error_cell(const Json& json, const std::string& pointer, double factor, int digits) {
  return report::with_error(json, pointer, digits, factor).value_or(kNothing);
}

std::string interval(const Json& json, const std::string& pointer) {
  const auto low = number(json, pointer + "/0"), high = number(json, pointer + "/1");
  return low && high ? element("small", "", fixed(*low * 100, 1) + " to " + fixed(*high * 100, 1)) : "";
}

void add_name(std::string& list, const Json& model) { list += (list.empty() ? "" : ", ") + escaped(name_of(model)); }

// Which models are certainly worse, by their answers to all questions and by their perplexity, and which are not told
// from the source.
std::string verdict(const Json& record) {
  std::string worse, alike, higher;
  const std::vector<Json> models = elements(record, "/models");
  for (std::size_t i = 1; i < models.size(); ++i) {
    const auto ratio = number(models[i], "/perplexity/divergence/log_perplexity_ratio/value"),
               error = number(models[i], "/perplexity/divergence/log_perplexity_ratio/standard_error");
    if (ratio && error && *ratio > 1.96 * *error) add_name(higher, models[i]);
    const auto p = number(models[i], "/against_source/average/mcnemar_p");
    if (!p) continue;
    const bool lost = number(models[i], "/against_source/average/right_to_wrong").value_or(0) >
                      number(models[i], "/against_source/average/wrong_to_right").value_or(0);
    if (*p >= 0.05)
      add_name(alike, models[i]);
    else if (lost)
      add_name(worse, models[i]);
  }
  std::string out;
  if (!worse.empty())
    out +=
        "Fewer right answers than the source by more than noise (McNemar over all questions, p &lt; 0.05): " + worse +
        ". ";
  if (!alike.empty()) out += "Not told apart from the source by these questions: " + alike + ". ";
  if (!higher.empty()) out += "Higher perplexity than the source by more than noise: " + higher + ".";
  return out;
}

std::string header(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  const std::string source = models.empty() ? "nothing" : name_of(models.front());
  std::string eyebrow = element("b", "", "comparison");
  if (const auto date = text(record, "/run/date")) eyebrow += " · " + escaped(date->substr(0, 10));
  const std::size_t others = models.empty() ? 0 : models.size() - 1;
  const std::string title = std::to_string(others) + (others == 1 ? " model" : " models") + " held against " +
                            element("b", "", escaped(source));
  const std::string lead = verdict(record);
  return element("header", "",
                 element("p", "class=\"eyebrow\"", eyebrow) + element("h1", "", title) +
                     (lead.empty() ? "" : element("p", "class=\"lead\"", lead)));
}

std::string change(const Json& model, const Json& source, const char* pointer) {
  const auto value = number(model, pointer), before = number(source, pointer);
  if (!value || !before || *before <= 0 || *value == *before) return "";
  return element("small", "", report::percent_change(*before, *value));
}

// What stability's weights are taken from.
std::string stability_score(const Json& record) {
  for (const Json& model : elements(record, "/models"))
    if (const auto score = text(model, "/against_source/score")) return escaped(*score);
  return "no tasks";
}

std::string models_section(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  if (models.empty()) return "";
  Rows rows;
  std::vector<bool> front;
  for (const Json& model : models) {
    const Json& source = models.front();
    const auto parameters = number(model, "/parameters"), bytes = number(model, "/bytes");
    const auto memory = number(model, "/peak_memory");
    const auto rate = [&](const char* pointer) {
      const auto value = number(model, pointer);
      return value ? report::significant(*value, 3) + change(model, source, pointer) : kNothing;
    };
    rows.push_back({escaped(name_of(model)),
                    parameters ? format_count(*parameters) + change(model, source, "/parameters") : kNothing,
                    bytes ? format_bytes(static_cast<std::uint64_t>(std::max(*bytes, 0.0))) : kNothing,
                    error_cell(model, "/perplexity", 1, 3), percent(number(model, "/figures/acc")),
                    percent(number(model, "/against_source/average/relative_performance"), 1),
                    percent(number(model, "/against_source/average/stability")) +
                        interval(model, "/against_source/average/stability_interval"),
                    percent(number(model, "/against_source/average/agreement")),
                    rate("/speed/prefill_tokens_per_second"), rate("/speed/decode_tokens_per_second"),
                    memory ? format_bytes(static_cast<std::uint64_t>(std::max(*memory, 0.0))) : kNothing});
    front.push_back(report::flag(model, "/pareto/parameters"));
  }
  return report::section(
      "The models side by side",
      "Tinted: no other model here is better and as small, or as good and smaller (by " + report::quality_name(record) +
          "). ± one standard error. Relative performance is the ratio of the mean accuracies; stability the share of "
          "questions that stay right or stay wrong, weighted by how sure the source was (" +
          stability_score(record) + "), with its 95 % interval; agreement the same without weights.",
      report::html_table({"Model", "Parameters", "Size", "Perplexity", "Mean accuracy, %", "Relative performance, %",
                          "Stability, %", "Agreement, %", "Prefill tokens/s", "Decode tokens/s", "Peak memory"},
                         rows, "The models side by side", front));
}

std::string figure(const Json& charts, const std::string& name, const std::string& label) {
  if (!charts.contains(name)) return "";
  return element(
      "figure", "",
      element("div", "class=\"chart\" data-chart=\"" + name + "\" role=\"img\" aria-label=\"" + escaped(label) + "\"",
              "") +
          "<noscript><p>The chart needs JavaScript; the tables have the same numbers.</p></noscript>");
}

std::string quality_section(const Json& record, const Json& charts, const char* chart, const char* heading,
                            const char* axis) {
  const std::string what = report::quality_name(record);
  return report::section(heading,
                         "The dashed line is the Pareto front: filled models, of which none is beaten in both.",
                         figure(charts, chart, what + " of the models by " + axis));
}

std::string tasks_section(const Json& record) {
  const std::vector<std::string> names = report::benchmark_names(record);
  if (names.empty()) return "";
  std::vector<std::string> heading = {"Model"};
  for (const std::string& name : names) heading.push_back(escaped(name));
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
                              (task.certain() ? ", p " : ", n.s., p ") + report::significant(task.p, 2));
      row.push_back(cell);
    }
    rows.push_back(row);
  }
  return report::section("Task by task",
                         "Accuracy, % ± one standard error; below it the difference from the source with McNemar's p "
                         "over the same questions (n.s.: not significant at 0.05).",
                         report::html_table(heading, rows, "Accuracy by task"));
}

std::string differences_section(const Json& record, const Json& charts) {
  std::vector<std::string> figures;
  const std::vector<Json> models = elements(record, "/models");
  for (std::size_t i = 1; i < models.size(); ++i) {
    const std::string chart = figure(charts, "tasks-" + std::to_string(i),
                                     "Differences in accuracy between " + name_of(models[i]) + " and the source");
    if (!chart.empty()) figures.push_back(element("div", "", element("h3", "", escaped(name_of(models[i]))) + chart));
  }
  std::string markup;
  for (std::size_t i = 0; i < figures.size(); i += 2)
    markup += i + 1 < figures.size() ? element("div", "class=\"pair\"", figures[i] + figures[i + 1]) : figures[i];
  return report::section("Differences from the source",
                         "With their 95 % intervals, from the questions whose answer changed sides. Filled: more than "
                         "noise.",
                         markup);
}

std::string divergence_section(const Json& record) {
  Rows rows;
  for (const Json& model : elements(record, "/models")) {
    std::vector<Json> texts = elements(model, "/perplexities");
    if (texts.empty())
      if (const Json* only = report::find(model, "/perplexity")) texts.push_back(*only);
    for (const Json& on : texts) {
      const auto rms = number(on, "/divergence/probability_difference_rms");
      rows.push_back({escaped(name_of(model)), escaped(text(on, "/text/source").value_or("?")),
                      error_cell(on, "", 1, 3), error_cell(on, "/divergence/log_perplexity_ratio", 1, 4),
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
  const Json charts = report::comparison_charts(record);
  const std::string by_size =
      quality_section(record, charts, "quality-parameters", "Quality against size", "number of parameters");
  const std::string by_speed =
      quality_section(record, charts, "quality-speed", "Quality against speed", "prefill speed");
  const std::string body =
      header(record) + "\n<main>\n" + models_section(record) +
      (by_size.empty() || by_speed.empty() ? by_size + by_speed
                                           : element("div", "class=\"pair\"", by_size + by_speed)) +
      tasks_section(record) + differences_section(record, charts) + divergence_section(record) +
      samples_section(record) + report::provenance_section(record) + "</main>\n" +
      element("footer", "",
              "Made by streamline " + escaped(program_version()) + ". This page is self-contained: it loads nothing.");
  return report::page_html("streamline comparison", body, charts);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The head of a comparison's page, and its table of models.
#include <algorithm>
#include <cmath>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/base/stats.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "streamline/report/comparison_sections.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"

namespace streamline::report {
namespace {

const std::string kAbsent = "–";

constexpr std::size_t kManyModels = 8, kMostOnFront = 10;  // of so many the front is told in words

std::string interval(const Json& json, const std::string& pointer) {
  const auto low = number(json, pointer + "/0"), high = number(json, pointer + "/1");
  return low && high ? element("small", "", fixed(*low * 100, 1) + " to " + fixed(*high * 100, 1)) : "";
}

// Which models are certainly worse, by their answers to all questions and by their perplexity, and which are not told
// from the source.
std::string verdict(const std::vector<Json>& models) {
  Names asked, worse, alike, measured, higher;
  for (std::size_t i = 1; i < models.size(); ++i) {
    const std::string name = name_of(models[i]);
    const auto ratio = number(models[i], "/perplexity/divergence/log_perplexity_ratio/value"),
               error = number(models[i], "/perplexity/divergence/log_perplexity_ratio/standard_error");
    const bool told =
        ratio && error && integer(models[i], "/perplexity/windows").value_or(kFewestPairs) >= kFewestPairs;
    if (told) measured.push_back(name);
    if (told && *ratio > 1.96 * *error) higher.push_back(name);
    const auto p = number(models[i], "/against_source/average/mcnemar_p");
    if (!p) continue;
    asked.push_back(name);
    const bool lost = number(models[i], "/against_source/average/right_to_wrong").value_or(0) >
                      number(models[i], "/against_source/average/wrong_to_right").value_or(0);
    if (*p >= 0.05)
      alike.push_back(name);
    else if (lost)
      worse.push_back(name);
  }
  std::string out;
  const auto add = [&](const char* what, const Names& names, const Names& all) {
    if (!names.empty()) out += what + which_of(names, all) + ". ";
  };
  add("Fewer right answers than the source by more than noise (McNemar over all questions, p &lt; 0.05): ", worse,
      asked);
  add("Not told apart from the source by these questions: ", alike, asked);
  add("Higher perplexity than the source by more than noise: ", higher, measured);
  return out;
}

// Of many models: how many are the same, and which none beats.
std::string overview(const Json& record, const std::vector<Json>& shown) {
  const std::size_t models = elements(record, "/models").size();
  std::string out;
  if (shown.size() < models)
    out = std::to_string(shown.size() - 1) + " of them differ: methods that choose the same share a row. ";
  if (shown.size() <= kManyModels) return out;
  Names all, front;
  for (const Json& model : shown) {
    all.push_back(name_of(model));
    if (flag(model, "/pareto/parameters")) front.push_back(all.back());
  }
  return out + (front.empty() ? ""
                              : "On the Pareto front of " + quality_name(record) +
                                    " and parameters: " + which_of(front, all, kMostOnFront) + ". ");
}

std::string change(const Json& model, const Json& source, const char* pointer) {
  const auto value = number(model, pointer), before = number(source, pointer);
  if (!value || !before || *before <= 0 || *value == *before) return "";
  return element("small", "", report::percent_change(*before, *value));
}

// What stability's weights are taken from; empty without tasks.
std::string stability_score(const Json& record) {
  for (const Json& model : elements(record, "/models"))
    if (const auto score = text(model, "/against_source/score")) return escaped(*score);
  return "";
}

struct ModelColumn {
  std::string heading;
  std::string (*cell)(const Json& model, const Json& source);
};

std::string percent(const Json& model, const char* pointer, int digits = 2) {
  const auto share = number(model, pointer);
  return share ? fixed(*share * 100, digits) : kAbsent;
}

std::string size_at(const Json& model, const char* pointer) {
  const auto bytes = number(model, pointer);
  return bytes ? bytes_text(*bytes) : kAbsent;
}

std::string rate(const Json& model, const Json& source, const char* pointer) {
  const auto value = number(model, pointer);
  return value ? significant(*value, 3) + change(model, source, pointer) : kAbsent;
}

std::string below(const std::string& markup) { return markup.empty() ? "" : element("small", "", markup); }

std::string perplexity_heading(const Json& record) {
  const std::vector<std::string> names = text_names(record);
  return names.size() > 1 ? "Perplexity" + below(escaped(names.front())) : "Perplexity";
}

std::vector<ModelColumn> model_columns(const Json& record) {
  return {{"Model", [](const Json& m, const Json&) { return escaped(name_of(m)) + below(escaped(what_was_cut(m))); }},
          {"Parameters, size",
           [](const Json& m, const Json& source) {
             const auto count = number(m, "/parameters");
             return count ? format_count(*count) + change(m, source, "/parameters") + below(size_at(m, "/bytes"))
                          : kAbsent;
           }},
          {perplexity_heading(record),
           [](const Json& m, const Json&) {
             const Json* measured = find(m, "/perplexity");
             return measured == nullptr ? kAbsent : perplexity_text(*measured).value_or(kAbsent);
           }},
          {"Mean accuracy, %", [](const Json& m, const Json&) { return percent(m, "/figures/acc"); }},
          {"Relative performance, %",
           [](const Json& m, const Json&) {
             return percent(m, "/against_source/average/relative_performance", 1) +
                    interval(m, "/against_source/average/relative_performance_interval");
           }},
          {"Stability, %",
           [](const Json& m, const Json&) {
             return percent(m, "/against_source/average/stability") +
                    interval(m, "/against_source/average/stability_interval");
           }},
          {"Agreement, %", [](const Json& m, const Json&) { return percent(m, "/against_source/average/agreement"); }},
          {"Prefill, tokens/s",
           [](const Json& m, const Json& source) { return rate(m, source, "/speed/prefill_tokens_per_second"); }},
          {"Decode, tokens/s",
           [](const Json& m, const Json& source) { return rate(m, source, "/speed/decode_tokens_per_second"); }}};
}

// Each warning once, with those it is about.
std::string warnings(const Json& record) {
  Names all;
  std::vector<std::pair<std::string, Names>> told;  // message, of whom
  for (const Json& model : elements(record, "/models")) {
    all.push_back(name_of(model));
    for (const Json& warning : elements(model, "/warnings")) {
      if (!warning.is_string()) continue;
      const auto same = [&](const auto& known) { return known.first == warning; };
      const auto found = std::ranges::find_if(told, same);
      if (found == told.end())
        told.push_back({warning.get<std::string>(), {all.back()}});
      else
        found->second.push_back(all.back());
    }
  }
  for (const Json& warning : elements(record, "/warnings"))
    if (warning.is_string()) told.push_back({warning.get<std::string>(), {}});
  std::string items;
  for (const auto& [message, names] : told)
    items += element(
        "li", "", element("b", "", (names.empty() ? "Warning" : which_of(names, all)) + ":") + " " + escaped(message));
  return items.empty() ? "" : element("ul", "class=\"notices\" role=\"status\"", items) + "\n";
}

}  // namespace

std::string comparison_header(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  const std::string source = models.empty() ? "nothing" : name_of(models.front());
  std::string eyebrow = element("b", "", "comparison");
  if (const auto date = text(record, "/run/date")) eyebrow += " · " + escaped(date->substr(0, 10));
  const std::size_t others = models.empty() ? 0 : models.size() - 1;
  const std::string title = std::to_string(others) + (others == 1 ? " model" : " models") + " held against " +
                            element("b", "", escaped(source));
  const std::vector<Json> shown = elements(without_repeats(record), "/models");
  const std::string few = few_windows_text(record);
  const std::string lead = overview(record, shown) + verdict(shown) + (few.empty() ? "" : escaped(few) + ".");
  return element("header", "",
                 element("p", "class=\"eyebrow\"", eyebrow) + element("h1", "", title) +
                     (lead.empty() ? "" : element("p", "class=\"lead\"", lead)) + warnings(record));
}

std::string comparison_models(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  if (models.empty()) return "";
  std::vector<std::string> heading;
  std::vector<std::vector<std::string>> rows(models.size());
  for (const ModelColumn& column : model_columns(record)) {
    std::vector<std::string> cells;
    cells.reserve(models.size());
    for (const Json& model : models) cells.push_back(column.cell(model, models.front()));
    if (std::ranges::all_of(cells, [](const std::string& cell) { return cell == kAbsent; })) continue;
    heading.push_back(column.heading);
    for (std::size_t i = 0; i < models.size(); ++i) rows[i].push_back(cells[i]);
  }
  std::vector<bool> front;
  front.reserve(models.size());
  for (const Json& model : models) front.push_back(flag(model, "/pareto/parameters"));
  const std::string score = stability_score(record);
  std::string texts;
  for (const std::string& sentence : text_sentences(record)) texts += (texts.empty() ? "" : "<br>") + escaped(sentence);
  return section("The models side by side",
                 "Tinted: no other model here is better and as small, or as good and smaller (by " +
                     quality_name(record) + "). ± one standard error." +
                     (score.empty() ? ""
                                    : " Relative performance is the ratio of the mean accuracies; stability the share "
                                      "of questions that stay right or stay wrong, weighted by how sure the source "
                                      "was (" +
                                          score +
                                          "), both with 95 % of the resamples; agreement is stability "
                                          "without weights."),
                 html_table(heading, rows, "The models side by side", front) +
                     (texts.empty() ? "" : element("p", "class=\"note\"", texts)));
}

}  // namespace streamline::report

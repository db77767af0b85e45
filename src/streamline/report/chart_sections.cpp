// SPDX-License-Identifier: Apache-2.0
// The sections made of charts. A chart is a place that page.js fills; the same numbers stand in a table below it.
#include <algorithm>
#include <cmath>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/sections.h"
#include "streamline/report/training_runs.h"
#include "streamline/report/window_measure.h"

namespace streamline::report {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string chart(const char* name, const std::string& label) {
  return element("div",
                 "class=\"chart\" data-chart=\"" + std::string(name) + "\" role=\"img\" aria-label=\"" +
                     escaped(label) + "\"",
                 "") +
         "<noscript><p>The chart needs JavaScript; the table has the same numbers.</p></noscript>";
}

std::string folded(const std::string& summary, const std::string& table) {
  return element("details", "", element("summary", "", summary) + table);
}

std::string legend(const std::vector<std::string>& items) {
  std::string markup;
  for (const std::string& item : items)
    if (!item.empty()) markup += element("li", "", item);
  return element("ul", "class=\"legend\"", markup);
}

std::string names(const std::vector<std::int64_t>& layers) {
  std::string out;
  for (const std::int64_t layer : layers) out += (out.empty() ? "" : ", ") + std::to_string(layer);
  return plural(std::ssize(layers), "layer") + " " + out;
}

std::string capitalised(std::string words) {
  words.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(words.front())));
  return words;
}

std::string massive_cell(bool massive) { return massive ? "yes" : "no"; }

// The best window of every length, and the chosen one among them.
std::string best_windows_table(const WindowMeasure& measure, std::int64_t layers, const Json& report) {
  const std::vector<std::int64_t> massive = massive_layers(report);
  const std::vector<ChosenWindow> cuts = whole_cuts(report);
  Rows rows;
  std::vector<bool> chosen;
  for (std::int64_t length = 1; length <= layers; ++length) {
    std::int64_t best = -1;
    double found = 0;
    for (std::int64_t start = 0; start + length <= layers; ++start) {
      const auto value = measure.of(report, start, length);
      if (value && (best < 0 || measure.distance(*value) < measure.distance(found))) found = *value, best = start;
    }
    if (best < 0) continue;
    rows.push_back({std::to_string(length), layer_range(best, length), fixed(found, 6),
                    massive_cell(contains_massive(massive, best, length))});
    chosen.push_back(
        std::ranges::any_of(cuts, [&](const ChosenWindow& run) { return run.cut == length && run.start == best; }));
  }
  return html_table({"Length", "Best window", capitalised(measure.name), "Massive activations"}, rows,
                    "Best window of every length", chosen);
}

std::string starts_table(const Json& report, const ChosenWindow& window) {
  const WindowMeasure measure = window_measure(report);
  const std::vector<std::int64_t> massive = massive_layers(report);
  Rows rows;
  std::vector<bool> chosen;
  for (const Json& entry : elements(report, "/choice/windows")) {
    const auto start = integer(entry, "/start");
    if (!start) continue;
    const auto value = measure.of(report, *start, window.cut);
    if (!value) continue;
    rows.push_back({layer_range(*start, window.cut), fixed(*value, 6),
                    massive_cell(contains_massive(massive, *start, window.cut))});
    chosen.push_back(*start == window.start);
  }
  return html_table({"Window", capitalised(measure.name), "Massive activations"}, rows, "Windows of the chosen length",
                    chosen);
}

// "Chosen: 13..18, cosine 0.8925, 0.0123 above the next best."
std::string choice_note(const Json& report, const ChosenWindow& window) {
  std::string note = flag(report, "/choice/forced") ? "Forced by the user: " : "Chosen: ";
  note += layer_range(window.start, window.cut);
  const WindowMeasure measure = window_measure(report);
  const auto value =
      measure.similarity ? number(report, "/choice/cosine") : measure.of(report, window.start, window.cut);
  if (value) note += ", " + measure.name + " " + fixed(*value, 4);
  if (const auto margin = number(report, "/choice/margin"))  // positive: better than the next
    note += ", " + fixed(std::abs(*margin), 4) + ((*margin < 0) == measure.similarity ? " below the " : " above the ") +
            (*margin < 0 ? "best" : "next best");
  if (const auto ratio = number(report, "/choice/sparsity"))
    note += "; " + fixed(*ratio * 100, 1) + " % of the parameters removed";
  std::string guarded;
  for (const Json& layer : elements(report, "/choice/protect")) guarded += (guarded.empty() ? "" : ", ") + layer.dump();
  return note + "." + (guarded.empty() ? "" : " Protected layers: " + escaped(guarded) + ".");
}

std::string training_facts(const TrainingRun& run) {
  std::string note;
  const auto parameters = integer(run.window, "/trained_parameters"), tokens = integer(run.window, "/tokens");
  const auto seconds = number(run.window, "/seconds");
  const auto nothing = number(run.stage, "/nothing_error"), best = number(run.stage, "/best_error");
  if (parameters) note += grouped(*parameters) + " parameters trained";
  if (tokens) note += (note.empty() ? "" : " on ") + grouped(*tokens) + " tokens";
  if (seconds) note += (note.empty() ? "" : " in ") + format_seconds(*seconds);
  if (!note.empty()) note += ". ";
  if (nothing && best) {
    // Losses that are close are told apart by more digits.
    const int digits = significant(*nothing, 4) == significant(*best, 4) ? 6 : 4;
    note += "Held-out loss " + significant(*nothing, digits) +
            (run.whole ? " before the training, " : " with nothing in the layers' place, ") +
            significant(*best, digits) + " at best";
    if (const auto step = integer(run.stage, "/best_step")) note += " (step " + grouped(*step) + ")";
    if (const double share = *best / *nothing * 100; *nothing > 0 && digits == 4 && share < 99.95)
      note += ": " + fixed(share, 1) + " % of it";
    note += ". ";
  }
  return note;
}

std::string validations_table(const Json& stage) {
  Rows rows;
  std::vector<bool> chosen;
  for (const Json& entry : elements(stage, "/validations")) {
    const auto step = integer(entry, "/step");
    const auto error = number(entry, "/error");
    if (!step || !error) continue;
    rows.push_back({grouped(*step), significant(*error, 5)});
    chosen.push_back(step == integer(stage, "/best_step"));
  }
  return html_table({"Step", "Held-out loss"}, rows, "Held-out loss by step", chosen);
}

std::string training_figure(const TrainingRun& run) {
  const bool nothing = number(run.stage, "/nothing_error").has_value();
  const bool validated = !elements(run.stage, "/validations").empty();
  const std::string heading = run.title.empty() ? "" : element("h3", "", escaped(run.title));
  return element("div", "",
                 heading + "<figure>" + chart(run.chart.c_str(), "Training and held-out loss. " + training_facts(run)) +
                     legend({smoothing_reach(run.stage) > 0 ? "<i class=\"line\"></i>training loss, smoothed and raw"
                                                            : "<i class=\"line\"></i>training loss",
                             validated ? "<i class=\"line mark\"></i>held-out loss" : "",
                             !nothing    ? ""
                             : run.whole ? "<i class=\"dash\"></i>the model before"
                                         : "<i class=\"dash\"></i>nothing in the layers' place"}) +
                     "</figure>" +
                     (validated ? folded("The held-out losses, as a table", validations_table(run.stage)) : ""));
}

// Two figures a row.
std::string figures(const std::vector<TrainingRun>& runs) {
  std::string markup;
  for (std::size_t i = 0; i < runs.size(); i += 2)
    markup += i + 1 < runs.size()
                  ? element("div", "class=\"pair even\"", training_figure(runs[i]) + training_figure(runs[i + 1]))
                  : training_figure(runs[i]);
  return markup;
}

std::vector<TrainingRun> runs_of(const Json& report, bool candidates) {
  std::vector<TrainingRun> runs = training_runs(report);
  std::erase_if(runs, [&](const TrainingRun& run) { return run.candidate != candidates; });
  return runs;
}

}  // namespace

std::string windows_section(const Json& report) {
  const Json* cosine = find(report, "/scores/cosine");
  if (cosine == nullptr || !cosine->is_array() || cosine->size() < 2) return "";
  const std::string cut = named_layers(whole_cuts(report));
  const std::vector<std::int64_t> massive = massive_layers(report);
  const WindowMeasure measure = window_measure(report);
  const std::string label = "Heat map of the " + measure.name + " of every window, by first layer and length" +
                            (cut.empty() ? "" : "; chosen: " + cut);
  return section("Every window of layers",
                 "The " + measure.name + " between the hidden state that enters a window and the one that leaves it" +
                     (text(report, "/choice/angular") == "last" ? ", of each sequence's last token" : "") + ". Near " +
                     (measure.similarity ? "1" : "0") + ", the layers in it change little, and cost little to remove.",
                 "<figure>" + chart("windows", label) +
                     legend({cut.empty() ? "" : "<i class=\"ring\"></i>chosen: " + cut,
                             massive.empty() ? ""
                                             : "<i class=\"dash\"></i>inside: windows with " + names(massive) +
                                                   (massive.size() == 1 ? ", which makes massive activations"
                                                                        : ", which make massive activations")}) +
                     "</figure>" +
                     folded("Best window of every length, as a table",
                            best_windows_table(measure, std::ssize(*cosine) - 1, report)));
}

std::string curve_section(const Json& report) {
  const auto window = chosen_window(report);
  if (!window || elements(report, "/choice/windows").empty()) return "";
  const std::vector<std::int64_t> massive = massive_layers(report);
  const std::string length = std::to_string(window->cut) + (window->cut == 1 ? " layer" : " layers");
  return section("Windows of " + length, choice_note(report, *window),
                 "<figure>" +
                     chart("curve", capitalised(window_measure(report).name) + " of the windows of " + length +
                                        " by first layer. " + choice_note(report, *window)) +
                     legend({"<i class=\"dot\"></i>window",
                             massive.empty() ? "" : "<i class=\"hollow\"></i>contains massive activations"}) +
                     "</figure>" + folded("All windows of " + length + ", as a table", starts_table(report, *window)));
}

std::string norms_section(const Json& report) {
  const std::vector<Json> states = elements(report, "/scores/states");
  if (states.size() < 2) return "";
  const std::vector<std::int64_t> massive = massive_layers(report);
  Rows rows;
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto norm = number(states[i], "/mean_norm"), ratio = number(states[i], "/largest_over_median");
    rows.push_back({i + 1 < states.size() ? "entering layer " + std::to_string(i) : "leaving the last layer",
                    norm ? fixed(*norm, 2) : "–", ratio ? fixed(*ratio, 2) : "–"});
  }
  const std::size_t cuts = whole_cuts(report).size();
  const std::string introduction =
      "The mean norm of the hidden states, and how far the largest token stands above the median one. Where that "
      "jumps, a few "
      "tokens begin to carry massive activations (attention sinks); a window that takes the layer which makes them "
      "costs far "
      "more than its cosine says.";
  return section(
      "Hidden states, layer by layer", introduction,
      "<figure>" +
          chart("norms", "Mean norm and largest over median norm of the hidden states, by layer" +
                             (massive.empty() ? "" : "; massive activations are made by " + names(massive))) +
          legend({cuts == 0   ? ""
                  : cuts == 1 ? "<i class=\"shade\"></i>the chosen window"
                              : "<i class=\"shade\"></i>the chosen windows",
                  massive.empty() ? "" : "<i class=\"dash\"></i>" + names(massive) + ": massive activations begin"}) +
          "</figure>" +
          folded("The norms, as a table",
                 html_table({"Hidden state", "Mean norm", "Largest / median"}, rows, "Norms of the hidden states")));
}

std::string candidates_section(const Json& report) {
  const std::vector<Json> results = elements(report, "/candidates/results");
  if (results.empty()) return "";
  Rows rows;
  std::vector<bool> chosen;
  const auto best = text(report, "/candidates/chosen");
  for (const Json& result : results) {
    const auto name = text(result, "/name");
    const auto perplexity = number(result, "/perplexity"), seconds = number(result, "/seconds");
    const auto parameters = integer(result, "/parameters");
    const auto refused = text(result, "/refused");
    rows.push_back({name.value_or("?"),
                    refused      ? *refused
                    : perplexity ? perplexity_text(*perplexity)
                                 : "–",
                    parameters ? grouped(*parameters) : "–", seconds ? format_seconds(*seconds) : "–"});
    chosen.push_back(name == best);
  }
  const auto tokens = integer(report, "/candidates/tokens");
  return section("Which replacement",
                 "Each candidate was trained on " +
                     (tokens ? grouped(*tokens) + " tokens" : std::string("a small budget")) +
                     "; the one whose model has the smallest perplexity was taken" +
                     (best ? ": " + escaped(*best) : std::string()) + ".",
                 html_table({"Candidate", "Perplexity", "Parameters", "Time"}, rows, "Candidates", chosen) +
                     figures(runs_of(report, true)));
}

std::string training_section(const Json& report) {
  const std::vector<TrainingRun> runs = runs_of(report, false);
  if (runs.empty()) return "";
  return section(runs.front().whole ? "Training" : "Training the replacement",
                 runs.size() == 1 ? training_facts(runs.front()) : "", figures(runs));
}

}  // namespace streamline::report

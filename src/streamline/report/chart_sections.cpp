// SPDX-License-Identifier: Apache-2.0
// The sections made of charts. A chart is a place that page.js fills; the same numbers stand in a table below it.
#include <algorithm>
#include <cmath>

#include "streamline/base/resources.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/sections.h"

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
  return (layers.size() == 1 ? "layer " : "layers ") + out;
}

std::string massive_cell(bool massive) { return massive ? "yes" : "no"; }

// The best window of every length, and the chosen one among them.
std::string best_windows_table(const Json& cosine, const Json& report) {
  const auto layers = static_cast<std::int64_t>(cosine.size()) - 1;
  const std::vector<std::int64_t> massive = massive_layers(report);
  const auto window = chosen_window(report);
  Rows rows;
  std::vector<bool> chosen;
  for (std::int64_t length = 1; length <= layers; ++length) {
    std::int64_t best = -1;
    double highest = -2;
    for (std::int64_t start = 0; start + length <= layers; ++start) {
      const auto value = number(cosine, "/" + std::to_string(start) + "/" + std::to_string(start + length));
      if (value && *value > highest) highest = *value, best = start;
    }
    if (best < 0) continue;
    rows.push_back({std::to_string(length), layer_range(best, length), fixed(highest, 6),
                    massive_cell(contains_massive(massive, best, length))});
    chosen.push_back(window && window->cut == length && window->start == best);
  }
  return html_table({"Length", "Best window", "Cosine", "Massive activations"}, rows, "Best window of every length",
                    chosen);
}

std::string starts_table(const Json& report, const ChosenWindow& window) {
  const std::vector<std::int64_t> massive = massive_layers(report);
  Rows rows;
  std::vector<bool> chosen;
  for (const Json& entry : elements(report, "/choice/windows")) {
    const auto start = integer(entry, "/start");
    const auto cosine = number(entry, "/cosine");
    if (!start || !cosine) continue;
    rows.push_back({layer_range(*start, window.cut), fixed(*cosine, 6),
                    massive_cell(contains_massive(massive, *start, window.cut))});
    chosen.push_back(*start == window.start);
  }
  return html_table({"Window", "Cosine", "Massive activations"}, rows, "Windows of the chosen length", chosen);
}

// "Chosen: 13..18, cosine 0.8925, 0.0123 above the next."
std::string choice_note(const Json& report, const ChosenWindow& window) {
  std::string note = flag(report, "/choice/forced") ? "Forced by the user: " : "Chosen: ";
  note += layer_range(window.start, window.cut);
  if (const auto cosine = number(report, "/choice/cosine")) note += ", cosine " + fixed(*cosine, 4);
  if (const auto margin = number(report, "/choice/margin"))
    note += ", " + fixed(std::abs(*margin), 4) + (*margin < 0 ? " below the best" : " above the next best");
  if (const auto ratio = number(report, "/choice/parameter_ratio"))
    note += "; " + fixed(*ratio * 100, 1) + " % of the parameters removed";
  std::string guarded;
  for (const Json& layer : elements(report, "/choice/protect")) guarded += (guarded.empty() ? "" : ", ") + layer.dump();
  return note + "." + (guarded.empty() ? "" : " Protected layers: " + escaped(guarded) + ".");
}

std::string training_facts(const Json& report) {
  std::string note;
  const auto parameters = integer(report, "/healing/trained_parameters"), tokens = integer(report, "/healing/tokens");
  const auto seconds = number(report, "/healing/seconds");
  const auto identity = number(report, "/healing/identity_mse"), best = number(report, "/healing/best_mse");
  if (parameters) note += grouped(*parameters) + " parameters trained";
  if (tokens) note += (note.empty() ? "" : " on ") + grouped(*tokens) + " tokens";
  if (seconds) note += (note.empty() ? "" : " in ") + format_seconds(*seconds);
  if (!note.empty()) note += ". ";
  if (identity && best) {
    note += "Held-out error " + significant(*identity, 4) + " with nothing in the layers' place, " +
            significant(*best, 4) + " at best";
    if (const auto step = integer(report, "/healing/best_step")) note += " (step " + grouped(*step) + ")";
    if (*identity > 0) note += ": " + fixed(*best / *identity * 100, 1) + " % of it";
    note += ". ";
  }
  return note;
}

std::string validations_table(const Json& report) {
  Rows rows;
  std::vector<bool> chosen;
  for (const Json& entry : elements(report, "/healing/validations")) {
    const auto step = integer(entry, "/step");
    const auto mse = number(entry, "/mse");
    if (!step || !mse) continue;
    rows.push_back({grouped(*step), significant(*mse, 5)});
    chosen.push_back(step == integer(report, "/healing/best_step"));
  }
  return html_table({"Step", "Held-out error"}, rows, "Held-out error by step", chosen);
}

}  // namespace

std::string windows_section(const Json& report) {
  const Json* cosine = find(report, "/scores/cosine");
  if (cosine == nullptr || !cosine->is_array() || cosine->size() < 2) return "";
  const auto window = chosen_window(report);
  const std::vector<std::int64_t> massive = massive_layers(report);
  const std::string label = "Heat map of the cosine of every window, by first layer and length" +
                            (window ? "; chosen: layers " + layer_range(window->start, window->cut) : "");
  return section(
      "Every window of layers",
      "The cosine between the hidden state that enters a window and the one that leaves it. Near 1, the layers in "
      "it change little, and cost little to remove.",
      "<figure>" + chart("windows", label) +
          legend({window ? "<i class=\"ring\"></i>chosen: layers " + layer_range(window->start, window->cut) : "",
                  massive.empty() ? ""
                                  : "<i class=\"dash\"></i>inside: windows with " + names(massive) +
                                        (massive.size() == 1 ? ", which makes massive activations"
                                                             : ", which make massive activations")}) +
          "</figure>" + folded("Best window of every length, as a table", best_windows_table(*cosine, report)));
}

std::string curve_section(const Json& report) {
  const auto window = chosen_window(report);
  if (!window || elements(report, "/choice/windows").empty()) return "";
  const std::vector<std::int64_t> massive = massive_layers(report);
  const std::string length = std::to_string(window->cut) + (window->cut == 1 ? " layer" : " layers");
  return section(
      "Windows of " + length, choice_note(report, *window),
      "<figure>" +
          chart("curve", "Cosine of the windows of " + length + " by first layer. " + choice_note(report, *window)) +
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
          legend({chosen_window(report) ? "<i class=\"shade\"></i>the chosen window" : "",
                  massive.empty() ? "" : "<i class=\"dash\"></i>" + names(massive) + ": massive activations begin"}) +
          "</figure>" +
          folded("The norms, as a table",
                 html_table({"Hidden state", "Mean norm", "Largest / median"}, rows, "Norms of the hidden states")));
}

std::string training_section(const Json& report) {
  if (elements(report, "/healing/steps").empty()) return "";
  const bool identity = number(report, "/healing/identity_mse").has_value();
  const bool validated = !elements(report, "/healing/validations").empty();
  return section("Training the replacement", training_facts(report),
                 "<figure>" + chart("training", "Training loss and held-out error. " + training_facts(report)) +
                     legend({"<i class=\"line\"></i>training loss, smoothed and raw",
                             validated ? "<i class=\"line mark\"></i>held-out error" : "",
                             identity ? "<i class=\"dash\"></i>nothing in the layers' place" : ""}) +
                     "</figure>" +
                     (validated ? folded("The held-out errors, as a table", validations_table(report)) : ""));
}

}  // namespace streamline::report

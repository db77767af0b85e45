// SPDX-License-Identifier: Apache-2.0
// The top of the page: what was done and what it cost, in a sentence and in figures.
#include <algorithm>
#include <cctype>
#include <cmath>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/base/stats.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/kept_widths.h"
#include "streamline/report/sections.h"

namespace streamline::report {
namespace {

const std::string kArrow = " <span class=\"arrow\">→</span> ";
constexpr double kMuch = 0.7;  // of ln(perplexity ratio): twice

std::string strong(const std::string& markup) { return element("span", "class=\"number\"", markup); }

// "135M → 114M parameters"
std::string parameters_phrase(const Json& report) {
  if (!cuts(report)) return "";
  auto before = number(first_model(report), "/parameters");
  if (!before) before = number(report, "/source/parameters");
  const auto after = number(final_model(report), "/parameters");
  if (!before || !after) return "";
  return strong(format_count(*before) + kArrow + format_count(*after)) + " parameters";
}

// "perplexity 29.45 → 84.71 → 53.17"
std::string perplexity_phrase(const Json& report) {
  std::string values;
  for (const Json& model : elements(report, "/models"))
    if (const auto value = number(model, "/perplexity/value"))
      values += (values.empty() ? "" : kArrow) + perplexity_text(*value);
  return values.empty() ? "" : "perplexity " + strong(values);
}

// What the arrows of the perplexity run through: "source → cut → healed".
std::string perplexity_legend(const Json& report) {
  std::string names;
  for (const Json& model : elements(report, "/models"))
    if (number(model, "/perplexity/value"))
      names += (names.empty() ? "" : kArrow) + escaped(text(model, "/name").value_or("?"));
  return names.empty() ? "" : "Perplexity: " + names + ". Lower is better.";
}

std::string card(const std::string& title, const std::string& big, const std::string& small) {
  return element(
             "div", "class=\"card\"",
             element("h3", "", title) + element("p", "class=\"big\"", big) + element("p", "class=\"small\"", small)) +
         "\n";
}

using Format = std::string (*)(double);

// A card for one number of the source and of the result, with a note; empty when either is missing.
std::string change_card(const Json& report, const char* title, const char* pointer, Format format, const char* unit,
                        const std::string& note = "") {
  const auto before = number(first_model(report), pointer), after = number(final_model(report), pointer);
  if (!before || !after || *before <= 0 || *after <= 0) return "";
  const double ratio = *after / *before;
  const std::string big = ratio > 1 ? "×" + fixed(ratio, 2) : percent_change(*before, *after);
  return card(title, big, format(*before) + kArrow + format(*after) + unit + (note.empty() ? "" : "<br>" + note));
}

// "−0.5 ± 0.4 % window by window, within the error": the change of the perplexity, with one standard error of the
// windows' pairs. Empty where there are none, and where it grew so much that nobody asks.
std::string paired_change(const Json& report) {
  const Json model = final_model(report);
  const auto ratio = number(model, "/perplexity/log_perplexity_ratio/value"),
             ratio_error = number(model, "/perplexity/log_perplexity_ratio/standard_error");
  if (!ratio || !ratio_error || std::abs(*ratio) > kMuch) return "";
  const double change = 100 * std::expm1(*ratio), error = 100 * std::exp(*ratio) * *ratio_error;
  const int digits = error < 0.1 ? 2 : 1;
  const bool few = integer(model, "/perplexity/windows").value_or(0) < kFewestPairs;
  const std::string verdict = few                                       ? ", too few of them to tell"
                              : std::abs(*ratio) <= 1.96 * *ratio_error ? ", <b>within the error</b>"
                                                                        : "";
  return (change < 0 ? "−" : "+") + fixed(std::abs(change), digits) + " ± " + fixed(error, digits) +
         " % window by window" + verdict;
}

// What of the result are zeros; empty where nothing is.
std::string padding_card(const Json& report) {
  const Json model = final_model(report);
  const auto padding = number(model, "/padding"), all = number(model, "/parameters");
  if (!padding || !all || *padding <= 0 || *all <= 0) return "";
  return card(
      "Padding", fixed(100 * *padding / *all, 1) + " %",
      format_count(*padding) + " of " + format_count(*all) + " parameters are zeros: they give all layers one shape");
}

}  // namespace

std::string model_name(const Json& report) {
  std::string path = text(report, "/source/path").value_or("");
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string name = path.substr(path.find_last_of('/') + 1);
  return name.empty() || name == "." ? "model" : name;
}

std::string replacement(const Json& report) {
  if (find(report, "/healing/0") == nullptr || flag(report, "/healing/0/refused")) return "";
  const std::string name = text(report, "/healing/0/replacement").value_or("none");
  return name == "none" ? "" : name;
}

std::string deed(const Json& report) {
  if (const std::string kept = kept_summary(report); !kept.empty() && find(report, "/choice/cuts") == nullptr)
    return "Kept " + kept;
  auto what = text(report, "/choice/summary");  // halves of layers: "dropped the attention of layers 2, 5..6"
  if (!what) what = text(report, "/summary");   // all layers stay: "trained adapters (lora) of rank 8 …"
  if (what) {
    if (!what->empty()) what->front() = static_cast<char>(std::toupper(static_cast<unsigned char>(what->front())));
    return *what;
  }
  const std::vector<ChosenWindow> runs = cut_runs(report);
  if (runs.empty()) return "";
  const std::string layers = named_layers(runs) + " of " + std::to_string(runs.front().layers);
  const std::string by = replacement(report), each = runs.size() == 1 ? "" : " each";
  if (by.empty()) return "Removed " + layers;
  if (by == "linear" || by == "scale")
    return "Removed " + layers + (runs.size() == 1 ? ", the layer before them" : ", the layers before them") +
           " fitted (" + by + ")";
  if (by == "mean") return "Replaced " + layers + " by a constant" + each;
  if (by.starts_with("layer:")) return "Replaced " + layers + " by " + by.substr(6) + " trained layers" + each;
  return "Replaced " + layers + (by == "layer" ? " by one trained layer" : " by a trained " + by + " network") + each;
}

std::string headline(const Json& report) {
  std::string what = escaped(deed(report));
  if (const std::string range = cut_ranges(report); !range.empty() && what.find(range) != std::string::npos) {
    what.replace(what.find(range), range.size(), strong(range));
    if (const std::string by = escaped(replacement(report)); by.find('-') != std::string::npos)
      what.replace(what.rfind(by), by.size(), element("span", "class=\"whole\"", by));
  }
  std::string costs = parameters_phrase(report);
  if (const std::string perplexity = perplexity_phrase(report); !perplexity.empty())
    costs += (costs.empty() ? "" : ", ") + perplexity;
  std::string sentence = what + (what.empty() || costs.empty() ? "" : ": ") + costs;
  if (sentence.empty()) sentence = "Report on " + escaped(model_name(report));

  std::string eyebrow = element("b", "", escaped(model_name(report)));
  if (const auto family = text(report, "/source/family")) eyebrow += " · " + escaped(*family);
  if (const auto method = text(report, "/choice/method")) eyebrow += " · " + escaped(*method);
  if (const auto date = text(report, "/run/date")) eyebrow += " · " + escaped(date->substr(0, 10));
  const std::string lead = perplexity_legend(report);
  return element("p", "class=\"eyebrow\"", eyebrow) + element("h1", "", sentence) +
         (lead.empty() ? "" : element("p", "class=\"lead\"", lead)) + "\n";
}

std::string notices(const Json& report) {
  std::string items;
  const auto add = [&](const std::string& message) {
    items += element("li", "", element("b", "", "Warning:") + " " + message);
  };
  if (flag(report, "/healing/0/refused"))
    add("the trained replacement was worse than nothing in its place, and was refused; the layers are cut without "
        "one.");
  bool told = false;
  for (const Json& warning : elements(report, "/warnings"))
    if (warning.is_string()) {
      told = told || warning.get<std::string>().find("massive activation") != std::string::npos;
      add(escaped(warning.get<std::string>()));
    }
  const std::vector<std::int64_t> massive = massive_layers(report);
  const auto ruins = [&](const ChosenWindow& run) { return contains_massive(massive, run.start, run.cut); };
  if (!told && std::ranges::any_of(whole_cuts(report), ruins))
    add("the chosen window contains a layer that makes massive activations; removing it can ruin the model, whatever "
        "the "
        "cosine says.");
  return items.empty() ? "" : element("ul", "class=\"notices\" role=\"status\"", items) + "\n";
}

std::string key_figures(const Json& report) {
  const std::string sizes = !cuts(report) ? ""
                                          : change_card(report, "Parameters", "/parameters", format_count, "") +
                                                change_card(report, "Size on disk", "/bytes", bytes_text, "");
  const std::string cards =
      sizes + padding_card(report) +
      change_card(report, "Perplexity", "/perplexity/value", perplexity_text, "", paired_change(report)) +
      change_card(report, "Prefill speed", "/prefill_tokens_per_second", rate_text, " tokens/s") +
      change_card(report, "Decode speed", "/decode_tokens_per_second", rate_text, " tokens/s");
  return cards.empty() ? "" : element("div", "class=\"cards\"", cards) + "\n";
}

}  // namespace streamline::report

// SPDX-License-Identifier: Apache-2.0
// `streamline stability`: what a shorter model keeps of another one's answers.
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "command.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/report/report.h"
#include "streamline/tasks/choice_items.h"
#include "streamline/tasks/results_files.h"
#include "streamline/tasks/same_questions.h"
#include "streamline/tasks/stability_report.h"

namespace streamline::cli::stability_command {
namespace {

struct Options {
  CommonOptions common;
  std::string a, b, score = "auto";
  std::vector<std::string> tasks;
  StabilityOptions stability;
};

bool has(const Results& results, Style style) {
  return std::any_of(results.sets.begin(), results.sets.end(), [&](const auto& set) { return set.style == style; });
}

// What --tasks names of the results, by the names of benchmarks or sets.
Results asked_for(Results results, const std::vector<std::string>& tasks, const std::string& path) {
  if (tasks.empty()) return results;
  std::vector<TaskAnswers> all = std::move(results.sets);
  results.sets.clear();
  std::set<std::string> unknown(tasks.begin(), tasks.end());
  for (TaskAnswers& set : all) {
    const bool asked =
        std::ranges::any_of(tasks, [&](const auto& task) { return task == set.name || task == set.group; });
    unknown.erase(set.name);
    unknown.erase(set.group);
    if (asked) results.sets.push_back(std::move(set));
  }
  if (!unknown.empty()) fail(ErrorKind::usage, path, ": no answers to '", *unknown.begin(), "' (--tasks)");
  return results;
}

// Where results hold both styles, the one that the score is of; the paper's where either would do.
Style style_for(const Options& options, const Results& a, const Results& b) {
  const auto both = [&](Style style) { return has(a, style) && has(b, style); };
  if (options.score == "opencompass-nll" || (options.score != "answer-nll" && both(Style::opencompass)))
    return Style::opencompass;
  if (options.score == "answer-nll" || both(Style::lm_eval)) return Style::lm_eval;
  fail(ErrorKind::mismatch, options.a, " holds answers of the style ", name(a.sets.front().style), ", ", options.b,
       " of the style ", name(b.sets.front().style), "; their scores cannot be compared");
}

std::vector<TaskAnswers> of_style(const Results& results, Style style, const std::string& path) {
  std::vector<TaskAnswers> sets;
  for (const TaskAnswers& set : results.sets)
    if (set.style == style) sets.push_back(set);
  if (sets.empty())
    fail(ErrorKind::mismatch, path, ": no answers of the style ", name(style),
         ", which the score is of; choose another --score");
  return sets;
}

// What `compare` takes too: a mean over tokens where both say how many a choice has.
ChoiceScore usual_score(Style style, const std::vector<TaskAnswers>& a, const std::vector<TaskAnswers>& b) {
  const auto counted = [](const TaskAnswers& set) {
    return std::ranges::none_of(set.answers, [](const streamline::Answer& answer) { return answer.tokens.empty(); });
  };
  const bool mean = style == Style::lm_eval && std::ranges::all_of(a, counted) && std::ranges::all_of(b, counted);
  return mean ? ChoiceScore::mean_nll : default_score(style);
}

std::string percent(double share) { return std::isfinite(share) ? fixed(100 * share, 2) : "-"; }

std::string with_interval(double share, const std::optional<Interval>& interval) {
  if (!interval) return percent(share);
  return percent(share) + " (" + percent(interval->low) + " to " + percent(interval->high) + ")";
}

std::vector<std::string> table_row(const StabilityRow& row) {
  const StabilityFigures& figures = row.figures;
  std::vector<std::string> cells = {row.name,
                                    std::to_string(row.questions),
                                    percent(figures.accuracy_original),
                                    percent(figures.accuracy_shorter),
                                    percent(figures.relative_performance()),
                                    with_interval(figures.stability, row.stability),
                                    percent(figures.agreement),
                                    std::to_string(row.right_to_wrong),
                                    std::to_string(row.wrong_to_right),
                                    general(row.p_value, 3)};
  if (row.as_published) cells.push_back(percent(*row.as_published));
  return cells;
}

constexpr const char* kAsPublished =
    "as published: the arithmetic of the script released with the paper. It adds up the weights of the first "
    "questions, "
    "as many as the models agree on, whichever these are. Compare it with that script's output only.\n";

std::string as_text(const StabilityReport& report, const StabilityOptions& options) {
  std::vector<std::vector<std::string>> rows = {{"", "questions", "accuracy A", "accuracy B", "B of A", "stability",
                                                 "agreement", "right to wrong", "wrong to right", "p"}};
  if (options.as_published) rows.front().emplace_back("as published");
  for (const StabilityRow& row : report.groups) rows.push_back(table_row(row));
  if (report.groups.size() > 1) rows.push_back(table_row(report.average));
  std::string text = format_table(rows);
  text += "\nIn percent; p: exact McNemar test of the accuracies. Score of a choice: " + report.score + ".\n";
  if (options.bootstrap > 0)
    text += "In brackets 95 % of " + std::to_string(options.bootstrap) + " resamples of the questions, seed " +
            std::to_string(options.seed) + ".\n";
  return options.as_published ? text + kAsPublished : text;
}

Json as_json(const Options& options, const Results& a, const Results& b, const StabilityReport& report) {
  Json json = {{"run", run_record(command_line(), options.common.seed)},
               {"a", {{"path", options.a}, {"format", name(a.format)}}},
               {"b", {{"path", options.b}, {"format", name(b.format)}}},
               {"bootstrap", options.stability.bootstrap}};
  if (options.stability.as_published) json["as_published"] = kAsPublished;
  json.update(to_json(report));
  return json;
}

Output run(Options options) {
  start_logging(options.common);
  const Results a = asked_for(read_results(options.a), options.tasks, options.a),
                b = asked_for(read_results(options.b), options.tasks, options.b);
  const Style style = style_for(options, a, b);
  const auto original = of_style(a, style, options.a);
  const auto shorter = in_order_of(original, of_style(b, style, options.b), {options.a, options.b});
  options.stability.score =
      options.score == "auto" ? usual_score(style, original, shorter) : choice_score_named(options.score);
  options.stability.seed = options.common.seed;
  const StabilityReport report = stability_report(original, shorter, options.stability);
  for (const std::string& sentence : heavy_weights(report))
    log_warning(
        sentence + "; " +
        (options.stability.score == ChoiceScore::answer_nll ? "--score mean-nll weighs them more evenly, and " : "") +
        "agreement has no weights");
  return {as_json(options, a, b, report), as_text(report, options.stability)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  const char* kinds = "streamline eval --out, lm_eval --log_samples or OpenCompass's predictions: a folder or a file";
  arguments.add("RESULTS_A", options->a, std::string("answers of the original model, from ") + kinds,
                {.required = true});
  arguments.add("RESULTS_B", options->b, "answers of the shorter model to the same questions", {.required = true});
  std::vector<std::string> scores = choice_score_words();
  scores.insert(scores.begin(), "auto");
  arguments.add(
      "--score", options->score,
      "what a choice is scored by: the mean NLL of the whole text over its tokens (opencompass-nll) or over "
      "those predicted (mean-nll), e to that (perplexity), or the NLL of the answer alone (answer-nll); auto: "
      "opencompass-nll where the results have it, else mean-nll, else answer-nll",
      {.choices = scores});
  arguments.add("--tasks", options->tasks, "only these benchmarks or sets; default: all, the same in both");
  arguments.add("--bootstrap", options->stability.bootstrap, "resamples for the intervals; 0: none",
                {.limits = Limits{0, 1000000}});
  arguments.flag("--as-published", options->stability.as_published,
                 "also what the script released with the paper would print, for comparison with it only");
  arguments.add("--seed", options->common.seed, "seed of the resamples");
  add_output_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{"stability", "what a shorter model keeps of another one's multiple-choice answers",
                                "  streamline stability RESULTS_A RESULTS_B\n"
                                "  streamline stability RESULTS_A RESULTS_B --tasks mmlu --json\n"
                                "  streamline stability outputs/full/predictions/7b outputs/cut/predictions/5b\n",
                                declare};
  return declared;
}

}  // namespace streamline::cli::stability_command

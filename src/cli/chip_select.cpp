// SPDX-License-Identifier: Apache-2.0
// `streamline chip select`, and choosing chips elsewhere.
#include <memory>
#include <sstream>

#include "chip_actions.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kFewTexts = 30;  // an accuracy of 0.7 has an interval of 0.52 to 0.83 there

struct ChipSelectOptions {
  CommonOptions common;
  ChoiceOptions choice;
  std::string chips, task, out;
  bool overwrite = false;
};

std::string three_decimals(double value) {
  const std::string text = fixed(value, 3);
  return text == "-0.000" ? "0.000" : text;
}

std::string accuracy_text(const chip::Score& score) {
  if (score.count == 0) return "-";
  const auto [low, high] = chip::interval(score);
  return three_decimals(score.accuracy()) + " (" + three_decimals(low) + ".." + three_decimals(high) + ")";
}

// How the chosen chip stands beside the best one; empty where none is better.
std::string beside_the_best(const chip::TaskChips& task) {
  const chip::Score& chosen = task.chips[task.choice->chip].validation;
  const chip::TrainedChip& best = task.chips[chip::select_chip(task.chips, {}).chip];
  if (best.validation.accuracy() <= chosen.accuracy()) return "";
  const bool inside = best.validation.accuracy() <= chip::interval(chosen).second;
  return "; the best, " + std::string(chip::name(best.chip.kind)) + " behind layer " + std::to_string(best.chip.layer) +
         " with " + three_decimals(best.validation.accuracy()) +
         (inside ? ", lies within the validation texts' interval: they do not surely tell the two apart"
                 : ", lies above the validation texts' interval");
}

Output run_select(const ChipSelectOptions& options) {
  start_logging(options.common);
  check_output(options.out, options.overwrite);
  chip::Chips chips = chip::read_chips(options.chips);
  const std::string only = options.task.empty() ? "" : chip::task_named(chips, options.task).task;
  std::string text;
  for (chip::TaskChips& task : chips.tasks) {
    if (only.empty() || task.task == only) task.choice = chip::select_chip(task.chips, choice_options(options.choice));
    if (task.choice) text += choice_text(task, chips.trunk) + "\n";
    if (const std::string doubt = doubt_about(task); !doubt.empty()) log_warning(doubt);
  }
  if (!options.out.empty()) chip::write_chips(chips, options.out);
  Json json = chips_json(chips);
  json["run"] = run_record(command_line(), 0);
  if (!options.out.empty()) json["output"] = options.out;
  return {std::move(json), std::move(text)};
}

}  // namespace

void add_choice_options(Arguments& arguments, ChoiceOptions& options) {
  Arguments choice = arguments.group("Choosing, by the validation texts");
  choice.add("--rule", options.rule,
             "best; earliest: the first layer within --within of the best; fixed: the one behind --layer (--within or "
             "--layer alone says so too)",
             {.choices = {"best", "earliest", "fixed"}});
  choice.add("--within", options.within,
             "of earliest: points of accuracy that may be lost, 0.01 is one of a hundred; intervals are not looked at",
             {.limits = Limits{0, 1}});
  choice.add("--layer", options.layer, "of fixed: the last layer that is kept",
             {.shows_default = false, .limits = kNonNegative});
  choice.add("--only", options.kind, "chips of one kind only: linear, mlp");
}

bool resolve_choice(const Arguments& arguments, ChoiceOptions& options) {
  const bool rule = arguments.given("--rule"), within = arguments.given("--within"), layer = arguments.given("--layer");
  if (!rule && within && layer) fail(ErrorKind::usage, "--within is for --rule earliest, --layer for fixed; give one");
  if (!rule && within) options.rule = "earliest";
  if (!rule && layer) options.rule = "fixed";
  check_meaning(arguments,
                {{.options = {"--within"}, .means = options.rule == "earliest", .goes_with = "--rule earliest"},
                 {.options = {"--layer"}, .means = options.rule == "fixed", .goes_with = "--rule fixed"}});
  static_cast<void>(choice_options(options));  // what is wrong with it, before any work
  return rule || within || layer || arguments.given("--only");
}

chip::SelectOptions choice_options(const ChoiceOptions& options) {
  chip::SelectOptions select{.rule = chip::rule_named(options.rule), .within = options.within, .layer = options.layer};
  if (!options.kind.empty()) select.kind = chip::kind_named(options.kind);
  if (select.rule == chip::Rule::fixed && options.layer < 0) fail(ErrorKind::usage, "--rule fixed needs --layer");
  return select;
}

std::string choice_text(const chip::TaskChips& task, const chip::Trunk& trunk) {
  const chip::Choice& choice = *task.choice;
  const chip::TrainedChip& chosen = task.chips[choice.chip];
  std::ostringstream text;
  text << task.task << ": " << chip::name(choice.kind) << " chip behind layer " << choice.layer << " (" << choice.rule
       << "), accuracy " << accuracy_text(chosen.validation) << " on " << chosen.validation.count
       << " validation texts";
  if (chosen.test.count > 0) text << ", " << accuracy_text(chosen.test) << " on " << chosen.test.count << " test texts";
  if (const auto& most = task.most_frequent) {
    text << " (" << most_frequent_text(task) << ": " << three_decimals(most->validation.accuracy());
    if (chosen.test.count > 0) text << " and " << three_decimals(most->test.accuracy());
    text << ")";
  }
  text << "; keeps " << choice.layer + 1 << " of " << trunk.layers << " layers" << beside_the_best(task);
  return text.str();
}

std::string chips_table(const chip::TaskChips& task) {
  std::vector<std::vector<std::string>> rows = {{"layer", "chip", "train", "validation", "test", "loss", "margin"}};
  for (const chip::TrainedChip& trained : task.chips)
    rows.push_back({std::to_string(trained.chip.layer), std::string(chip::name(trained.chip.kind)),
                    three_decimals(trained.train.accuracy()), accuracy_text(trained.validation),
                    accuracy_text(trained.test), three_decimals(trained.validation.loss),
                    three_decimals(trained.validation.margin)});
  if (const auto& most = task.most_frequent)
    rows.push_back({"-", "always '" + task.classes[static_cast<std::size_t>(most->label)] + "'",
                    three_decimals(most->train.accuracy()), three_decimals(most->validation.accuracy()),
                    most->test.count > 0 ? three_decimals(most->test.accuracy()) : "-", "-", "-"});
  return format_table(rows) +
         "accuracies, with their 95 % interval; of the validation texts the loss (mean cross-entropy, nats) and the "
         "margin (mean probability of the right class less the next best's)\n";
}

std::string most_frequent_text(const chip::TaskChips& task) {
  return "always '" + task.classes[static_cast<std::size_t>(task.most_frequent->label)] + "', the most frequent class";
}

std::string doubt_about(const chip::TaskChips& task) {
  if (!task.choice || !task.most_frequent) return {};
  const chip::TrainedChip& chosen = task.chips[task.choice->chip];
  if (chosen.train.count > 0 && chosen.train.accuracy() <= task.most_frequent->train.accuracy())
    return task.task + ": on the texts that it learnt from the chosen chip is no better than " +
           most_frequent_text(task) + ": " + three_decimals(chosen.train.accuracy()) + ", against " +
           three_decimals(task.most_frequent->train.accuracy());
  const auto doubt = [&](const chip::Score& score, const chip::Score& most, const char* texts) {
    if (chip::surely_better(score, most)) return std::string();
    return task.task + ": the chosen chip is not surely better than " + most_frequent_text(task) + ": " +
           accuracy_text(score) + " of the " + std::to_string(score.count) + texts + ", against " +
           three_decimals(most.accuracy());
  };
  if (const std::string of_test = doubt(chosen.test, task.most_frequent->test, " test texts"); !of_test.empty())
    return of_test;
  const std::string of_validation = doubt(chosen.validation, task.most_frequent->validation, " validation texts");
  if (!of_validation.empty() || chosen.validation.count >= kFewTexts) return of_validation;
  return task.task + ": the chips were judged on " + std::to_string(chosen.validation.count) +
         " texts alone, where the best of many is good by luck; give more texts, or a larger --validation";
}

Json chips_json(const chip::Chips& chips) {
  Json tasks = Json::array();
  for (const chip::TaskChips& task : chips.tasks) tasks.push_back(to_json(task));
  return {{"trunk", to_json(chips.trunk)}, {"tasks", std::move(tasks)}};
}

std::function<Output()> declare_chip_select(Arguments arguments) {
  auto options = std::make_shared<ChipSelectOptions>();
  arguments.add("CHIPS", options->chips, "a file that `streamline chip train` made", {.required = true});
  arguments.add("--task", options->task, "choose for this task only; default: for all");
  add_choice_options(arguments, options->choice);
  arguments.add("--out", options->out, "a file of the same chips with this choice");
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_output_options(arguments, options->common);
  return [options, arguments] {
    resolve_choice(arguments, options->choice);
    return run_select(*options);
  };
}

}  // namespace streamline::cli

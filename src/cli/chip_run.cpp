// SPDX-License-Identifier: Apache-2.0
// `streamline chip run` and `streamline chip eval`: texts and features through chosen chips.
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

#include "chip_actions.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/parse_number.h"
#include "streamline/chip/classify.h"
#include "streamline/chip/export.h"
#include "streamline/io/hub.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

struct ChipRunOptions {
  CommonOptions common;
  std::string model, chips, task;
  double exit = 0;
  std::int64_t batch = 16;
};

struct ChipEvalOptions {
  CommonOptions common;
  std::string chips, task;
  std::vector<std::string> features, exits;
};

Json verdict_json(const chip::TaskChips& task, const chip::Verdict& verdict) {
  Json shares = Json::object();
  for (std::size_t i = 0; i < task.classes.size(); ++i) shares[task.classes[i]] = verdict.probabilities[i];
  return {{"task", task.task},
          {"label", task.classes[verdict.best()]},
          {"probabilities", std::move(shares)},
          {"layer", verdict.layer}};
}

// One line a text: for each task its label and all probabilities, with tabs between.
std::string verdicts_text(const chip::Chips& chips, const std::vector<chip::Verdict>& verdicts, bool exits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(6);
  for (std::size_t t = 0; t < verdicts.size(); ++t) {
    const chip::TaskChips& task = chips.tasks[t];
    if (t > 0) text << '\t';
    if (chips.tasks.size() > 1) text << task.task << ": ";
    text << task.classes[verdicts[t].best()];
    for (std::size_t i = 0; i < task.classes.size(); ++i)
      text << '\t' << task.classes[i] << '=' << verdicts[t].probabilities[i];
    if (exits) text << "\tlayer=" << verdicts[t].layer;
  }
  text << '\n';
  return text.str();
}

std::filesystem::path chips_path(const ChipRunOptions& options) {
  if (!options.chips.empty()) return options.chips;
  const std::filesystem::path inside = chip::chips_file_in(find_model(options.model));
  std::error_code error;
  if (!std::filesystem::is_regular_file(inside, error))
    fail(ErrorKind::usage, options.model,
         ": has no chips in it; name a file of them with --chips, or a directory that `streamline chip export` made");
  return inside;
}

chip::Chips chips_to_run(const ChipRunOptions& options) {
  chip::Chips chips = chip::read_chips(chips_path(options));
  if (!options.task.empty()) {
    chip::TaskChips only = chip::task_named(chips, options.task);
    chips.tasks.assign(1, std::move(only));
  }
  for (chip::TaskChips& task : chips.tasks)
    if (!task.choice) task.choice = chip::select_chip(task.chips, {});
  return chips;
}

Output run_lines(const ChipRunOptions& options, bool exits) {
  const Placement placement = start(options.common);
  const chip::Chips chips = chips_to_run(options);
  const OpenedModel opened = open_model(options.model, placement, Head::any);
  chip::check_trunk(chips.trunk, opened.model, options.chips.empty() ? options.model : options.chips);
  chip::ClassifyOptions classify;
  if (exits) classify.exit = options.exit;
  Json rows = Json::array();
  std::vector<std::string> lines;
  const auto flush = [&] {
    for (const auto& verdicts : chip::classify(opened.model, *opened.tokenizer, chips, lines, classify)) {
      if (!options.common.json) print(verdicts_text(chips, verdicts, exits));
      Json row = Json::array();
      for (std::size_t t = 0; t < verdicts.size(); ++t) row.push_back(verdict_json(chips.tasks[t], verdicts[t]));
      if (options.common.json) rows.push_back(std::move(row));
    }
    lines.clear();
  };
  // What is waiting is answered before more is read where a person types.
  bool any = false;
  for (std::string line; std::getline(std::cin, line);) {
    any = true;
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
    if (std::ssize(lines) >= options.batch) flush();
  }
  if (!lines.empty()) flush();
  if (!any) log_warning("nothing to classify: standard input has no line (a text a line)");
  return {{{"run", computing_record(placement, options.common.seed)}, {"lines", std::move(rows)}}, ""};
}

// Features and chips of one task on one trunk, with the same classes in the same order.
void check_features(const chip::TaskChips& task, const chip::Trunk& trunk, const chip::Features& features,
                    const std::string& chips) {
  const chip::FeatureDescription& description = features.description();
  if (description.trunk.digest != trunk.digest)
    fail(ErrorKind::mismatch, features.label(), ": its hidden states are of another model (", description.trunk.model,
         ") than ", chips, " (", trunk.model, ")");
  const auto listed = [](const std::vector<std::string>& classes) {
    std::string all;
    for (const std::string& name : classes) all += (all.empty() ? "" : ", ") + name;
    return all;
  };
  if (description.classes != task.classes)
    fail(ErrorKind::mismatch, features.label(), ": its classes are ", listed(description.classes), "; those of ", chips,
         " are ", listed(task.classes));
  if (description.input.position != task.input.position)
    fail(ErrorKind::mismatch, features.label(), ": has the states of position ", to_string(description.input.position),
         "; ", chips, " reads ", to_string(task.input.position));
}

// The accuracy of the class that the chips' training texts have most often, or, of older files, that these have.
chip::Score baseline_of(const chip::TaskChips& task, const chip::Features& features, std::string& name) {
  const auto counts = torch::bincount(features.labels(), {}, std::ssize(task.classes));
  const std::int64_t label = task.most_frequent ? task.most_frequent->label : counts.argmax().item<std::int64_t>();
  name = task.classes[static_cast<std::size_t>(label)];
  return {.right = counts[label].item<std::int64_t>(), .count = features.count()};
}

// Whether these are the texts of which most were trained on.
bool were_seen(const chip::TaskChips& task, const chip::Features& features) {
  const auto digest = task.training.find("digest");
  return digest != task.training.end() && *digest == features.description().digest;
}

void warn_of_score(const chip::TaskChips& task, const chip::Features& features, const chip::Score& found,
                   const chip::Score& baseline, const std::string& class_name) {
  if (were_seen(task, features))
    log_warning(features.label() +
                ": the chips were trained on and chosen by these very texts, so that this says "
                "little of others; give texts they have not seen, or keep some back with `chip train --test`");
  if (!chip::surely_better(found, baseline))
    log_warning(features.label() + ": the chip of " + task.task + " is not surely better than always '" + class_name +
                "'");
}

// Above 1: never. The first one is that.
std::vector<double> thresholds_of(const std::vector<std::string>& words) {
  std::vector<double> thresholds = {2};
  for (const std::string& word : words) {
    const auto threshold = parse_number<double>(word);
    if (!threshold || !(*threshold >= 0 && *threshold <= 1))
      fail(ErrorKind::usage, "--exit '", word, "' is no probability");
    thresholds.push_back(*threshold);
  }
  return thresholds;
}

std::vector<std::string> eval_row(const Json& result) {
  const auto number = [&](const char* key) { return fixed(result[key].get<double>(), 4); };
  const Json& most = result["most_frequent"];
  return {result["features"].get<std::string>(),
          result["task"].get<std::string>(),
          result["exit"].is_null() ? "never" : result["exit"].dump(),
          number("accuracy"),
          number("low") + ".." + number("high"),
          most["class"].get<std::string>() + " " + fixed(most["accuracy"].get<double>(), 4),
          fixed(result["mean_layers"].get<double>(), 2)};
}

Output run_eval(const ChipEvalOptions& options) {
  start_logging(options.common);
  const chip::Chips chips = chip::read_chips(options.chips);
  const std::vector<double> thresholds = thresholds_of(options.exits);
  Json results = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"features", "task", "exit at", "accuracy", "95 %", "most frequent class", "mean layers"}};
  for (const std::string& path : options.features) {
    const chip::Features features = chip::Features::open(path);
    chip::TaskChips task = chip::task_named(
        chips, options.task.empty() && chips.tasks.size() > 1 ? features.description().task : options.task);
    check_features(task, chips.trunk, features, options.chips);
    if (!task.choice) task.choice = chip::select_chip(task.chips, {});
    std::string most_frequent;
    const chip::Score baseline = baseline_of(task, features, most_frequent);
    for (const double threshold : thresholds) {
      const chip::ExitScore found = chip::score_exits(task, features, threshold);
      if (threshold > 1) warn_of_score(task, features, found.score, baseline, most_frequent);
      Json json = to_json(found.score);
      json["features"] = path;
      json["task"] = task.task;
      json["exit"] = threshold > 1 ? Json() : Json(threshold);
      json["mean_layers"] = found.layers;
      json["most_frequent"] = {{"class", most_frequent}, {"accuracy", baseline.accuracy()}};
      json["seen"] = were_seen(task, features);
      rows.push_back(eval_row(json));
      results.push_back(std::move(json));
    }
  }
  return {{{"run", run_record(command_line(), 0)}, {"results", std::move(results)}}, format_table(rows)};
}

}  // namespace

std::function<Output()> declare_chip_run(Arguments arguments) {
  auto options = std::make_shared<ChipRunOptions>();
  add_model(arguments, options->model);
  arguments.add("--chips", options->chips,
                "chips of this model; default: those in a directory that `chip export` made");
  arguments.add("--task", options->task, "classify for this task only; default: for all");
  arguments.add("--exit", options->exit,
                "stop behind the first layer whose chip is so sure; default: run up to the chosen chip",
                {.shows_default = false, .limits = Limits{0, 1}});
  arguments.add("--batch", options->batch, "lines that run together", {.limits = kPositive});
  add_sweep_options(arguments, options->common);
  return [options, arguments] { return run_lines(*options, arguments.given("--exit")); };
}

std::function<Output()> declare_chip_eval(Arguments arguments) {
  auto options = std::make_shared<ChipEvalOptions>();
  arguments.add("CHIPS", options->chips, "a file that `streamline chip train` made", {.required = true});
  arguments.add("FEATURES,--features", options->features,
                "files of features of texts that the chips have not seen, with commas or blanks between");
  arguments.add("--task", options->task, "the chips of this task");
  arguments.add("--exit", options->exits, "also with early exits at these probabilities, as 0.8,0.9");
  add_output_options(arguments, options->common);
  return [options] {
    if (options->features.empty()) fail(ErrorKind::usage, "--features FILE,FILE names the files to classify");
    return run_eval(*options);
  };
}

}  // namespace streamline::cli

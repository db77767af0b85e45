// SPDX-License-Identifier: Apache-2.0
// `streamline chip train`: classifiers for every layer from files of features.
#include <algorithm>
#include <memory>

#include "chip_actions.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/report/chip_page.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

struct ChipTrainOptions {
  CommonOptions common{.seed = 42};
  ChoiceOptions choice;
  chip::TrainOptions train;
  std::vector<std::string> features, kinds;
  std::string method = "adamw", feature_norm = "none", out, html;
  bool no_bias = false, overwrite = false;
};

chip::TrainOptions resolved(const ChipTrainOptions& options) {
  chip::TrainOptions train = options.train;
  train.kinds.clear();
  std::vector<std::string> kinds = options.kinds;
  if (kinds.empty()) kinds.assign({"linear"});
  if (options.kinds.empty() && options.method == "adamw") kinds.emplace_back("mlp");
  for (const std::string& kind : kinds) train.kinds.push_back(chip::kind_named(kind));
  train.method = chip::method_named(options.method);
  train.norm = chip::feature_norm_named(options.feature_norm);
  train.bias = !options.no_bias;
  train.seed = options.common.seed;
  train.progress = true;
  return train;
}

Json training_json(const chip::TrainOptions& train, const chip::Features& features, double seconds) {
  Json json = {{"method", chip::name(train.method)}, {"feature_norm", chip::name(train.norm)}, {"bias", train.bias}};
  if (train.method == chip::Method::adamw) {
    json["width"] = train.width;
    json["learning_rate"] = train.learning_rate;
    json["weight_decay"] = train.weight_decay;
    json["epochs"] = train.epochs;
    json["batch"] = train.batch;
  } else {
    json["penalty"] = train.penalty > 0 ? Json(train.penalty) : Json("auto");
  }
  json["validation"] = train.validation;
  json["test"] = train.test;
  json["seed"] = train.seed;
  json["features"] = features.label();
  json["source"] = features.description().source;
  json["digest"] = features.description().digest;
  json["texts"] = features.count();
  json["seconds"] = seconds;
  return json;
}

chip::TaskChips train_task(const chip::Features& features, const ChipTrainOptions& options) {
  const chip::TrainOptions train = resolved(options);
  const Stopwatch watch;
  chip::TaskChips task{.task = features.description().task,
                       .classes = features.description().classes,
                       .input = features.description().input,
                       .chips = chip::train_chips(features, train)};
  task.most_frequent =
      chip::most_frequent(features.labels(), std::ssize(task.classes), chip::split_texts(features.count(), train));
  task.training = training_json(train, features, watch.seconds());
  task.choice = chip::select_chip(task.chips, choice_options(options.choice));
  return task;
}

// Tasks of one trunk, each once.
void check_together(const chip::Chips& chips, const chip::Features& next) {
  const chip::FeatureDescription& description = next.description();
  if (!chips.tasks.empty() && description.trunk.digest != chips.trunk.digest)
    fail(ErrorKind::mismatch, next.label(), ": its hidden states are of another model (", description.trunk.model,
         ") than those before it (", chips.trunk.model, ")");
  for (const chip::TaskChips& task : chips.tasks)
    if (task.task == description.task)
      fail(ErrorKind::usage, next.label(), ": there is a task '", task.task,
           "' before it; give it another --name when caching");
}

void check_train_options(const Arguments& arguments, const ChipTrainOptions& options) {
  const chip::TrainOptions train = resolved(options);
  const bool steps = train.method == chip::Method::adamw;
  check_meaning(arguments, {{.options = {"--learning-rate", "--weight-decay", "--epochs", "--batch"},
                             .means = steps,
                             .goes_with = "--method adamw"},
                            {.options = {"--width"},
                             .means = std::ranges::find(train.kinds, chip::Kind::mlp) != train.kinds.end(),
                             .goes_with = "--kind mlp"},
                            {.options = {"--penalty"}, .means = !steps, .goes_with = "--method ridge or newton"}});
}

// What a table alone does not say: that chips know nothing, and what may learn more.
std::string doubt_and_remedy(const chip::TaskChips& task, const std::string& method) {
  std::string doubt = doubt_about(task);
  if (!doubt.empty() && method == "adamw")
    doubt += "; adamw's defaults are the paper's, for 20,000 texts: --method ridge learns more from fewer";
  return doubt;
}

Output run_train(const ChipTrainOptions& options) {
  start(options.common);
  if (options.features.empty()) fail(ErrorKind::usage, "name a file of features or more");
  check_output(options.out, options.overwrite);
  check_output(options.html, options.overwrite);
  chip::Chips chips;
  std::string text;
  Json notes = Json::array();
  for (const std::string& path : options.features) {
    const chip::Features features = chip::Features::open(path);
    check_together(chips, features);
    chips.trunk = features.description().trunk;
    chips.tasks.push_back(train_task(features, options));
    text += chips_table(chips.tasks.back()) + choice_text(chips.tasks.back(), chips.trunk) + "\n";
    if (std::string doubt = doubt_and_remedy(chips.tasks.back(), options.method); !doubt.empty()) {
      log_warning(doubt);
      notes.push_back(std::move(doubt));
    }
  }
  if (options.out.empty()) text += "the chips are kept nowhere; --out FILE keeps them\n";
  if (!options.out.empty()) chip::write_chips(chips, options.out);
  Json json = chips_json(chips);
  json["run"] = run_record(command_line(), options.common.seed);
  json["notes"] = std::move(notes);
  if (!options.out.empty()) json["output"] = options.out;
  if (!options.html.empty()) write_text(options.html, chips_html(json));
  return {std::move(json), std::move(text)};
}

}  // namespace

std::function<Output()> declare_chip_train(Arguments arguments) {
  auto options = std::make_shared<ChipTrainOptions>();
  chip::TrainOptions& train = options->train;
  arguments.add("FEATURES", options->features, "files that `streamline chip cache` made of one model, one a task");
  arguments.add("--kind", options->kinds, "linear, mlp, or both; default: both of adamw, linear of closed forms");
  arguments.add("--method", options->method,
                "adamw (steps), ridge (least squares, closed form), newton (logistic regression)",
                {.choices = {"adamw", "ridge", "newton"}});
  arguments.add("--feature-norm", options->feature_norm,
                "what happens to a hidden state first: none, standardise, rms, layer (the last two as a final norm "
                "without weights would do it)",
                {.choices = {"none", "standardise", "rms", "layer"}});
  arguments.flag("--no-bias", options->no_bias, "no bias in the last matrix, as heads of transformers have none");
  Arguments steps = arguments.group("Steps of AdamW");
  steps.add("--learning-rate", train.learning_rate, "constant", {.limits = kPositive});
  steps.add("--weight-decay", train.weight_decay, "decoupled", {.limits = kNonNegative});
  steps.add("--epochs", train.epochs, "times that the texts are gone through", {.limits = kPositive});
  steps.add("--batch", train.batch, "texts a step", {.limits = kPositive});
  steps.add("--width", train.width, "of an MLP chip", {.limits = kPositive});
  arguments.add("--penalty", train.penalty, "L2, of ridge and newton; default: by leaving one out (ridge), 1 (newton)",
                {.shows_default = false, .limits = kPositive});
  arguments.add("--validation", train.validation, "share of the texts that chips are chosen by",
                {.limits = Limits{0, 0.9}});
  arguments.add("--test", train.test, "share of the texts that nothing is trained on or chosen by",
                {.limits = Limits{0, 0.9}});
  add_choice_options(arguments, options->choice);
  arguments.add("--out", options->out, "the file of chips");
  arguments.add("--html", options->html, "a page with the accuracies by layer");
  arguments.flag("--overwrite", options->overwrite, "replace existing files");
  add_compute_options(arguments, options->common);
  return [options, arguments] {
    check_train_options(arguments, *options);
    resolve_choice(arguments, options->choice);
    return run_train(*options);
  };
}

}  // namespace streamline::cli

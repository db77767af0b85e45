// SPDX-License-Identifier: Apache-2.0
// `streamline compare`: several models on the same questions and texts, held against the first.
#include <map>
#include <memory>

#include "alike.h"
#include "command.h"
#include "compare_methods.h"
#include "evaluation.h"
#include "kept.h"
#include "shipped_text.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/engine/generate.h"
#include "streamline/eval/speed.h"
#include "streamline/report/comparison.h"
#include "streamline/report/report.h"
#include "streamline/tasks/same_questions.h"
#include "streamline/tasks/stability_report.h"
#include "training.h"

namespace streamline::cli::compare_command {
namespace {

struct Options {
  CommonOptions common;
  CompareModelOptions models;
  EvaluationOptions evaluation;
  std::vector<std::string> prompts;
  std::int64_t prompt_tokens = 48, speed_tokens = 256, bootstrap = 1000;
  std::string html, csv, markdown;
  bool no_speed = false;
};

// What all models are measured against.
struct Reference {
  Source source;
  std::vector<Evaluation> evaluations = {};        // of all models so far, the source's first
  std::map<std::string, std::size_t> places = {};  // of the models that others may be the same as, by that
};

std::string results_folder(const Options& options, const ComparedModel& model) {
  if (options.evaluation.out.empty()) return "";
  std::string folder = model.name;
  for (char& c : folder)
    if (c == ' ' || c == '/' || c == '(' || c == ')') c = '_';
  return (std::filesystem::path(options.evaluation.out) / folder).string();
}

Keep keep_of(const Options& options, const ComparedModel& model) {
  return {.folder = results_folder(options, model),
          .key = model_key(model.model, model.plan_digest, options.common.seed),
          .overwrite = options.evaluation.overwrite};
}

Json speed_json(const Options& options, const Model& model) {
  const SpeedResult speed =
      measure_speed(model, {.prompt = options.speed_tokens, .decode = 32, .repetitions = 3, .batch = 1}, false);
  return {{"prompt_tokens", options.speed_tokens},
          {"prefill_tokens_per_second", speed.prefill_tokens_per_second},
          {"decode_tokens_per_second", speed.decode_tokens_per_second}};
}

Json samples(const Options& options, const Model& model, const Tokenizer& tokenizer) {
  Json result = Json::array();
  for (const std::string& prompt : options.prompts) {
    GenerateOptions generation{.max_tokens = options.prompt_tokens};
    if (tokenizer.eos()) generation.stop = {*tokenizer.eos()};
    const std::vector<TokenId> tokens = tokenizer.encode(prompt, true);
    result.push_back(
        {{"prompt", prompt}, {"text", decode_after(tokenizer, tokens, generate(model, tokens, generation))}});
  }
  return result;
}

// Stability and paired differences of a model's answers from the source's.
Json against_source(const Options& options, const Evaluation& source, Evaluation& evaluation) {
  if (evaluation.answers.empty()) return nullptr;
  evaluation.answers = in_order_of(source.answers, std::move(evaluation.answers));
  const bool whole_texts = style_named(options.evaluation.style) == Style::opencompass;
  const StabilityReport report =
      stability_report(source.answers, evaluation.answers,
                       {.score = whole_texts ? ChoiceScore::opencompass_nll : ChoiceScore::mean_nll,
                        .bootstrap = options.bootstrap,
                        .seed = options.common.seed});
  for (const std::string& sentence : heavy_weights(report)) evaluation.warn(sentence);
  return to_json(report);
}

// What training makes of a model that is to be trained; no model where all that it would answer is kept.
std::optional<Trained> trained(const Options& options, const ComparedModel& compared, const Workload& workload,
                               const Source& source) {
  if (!compared.trained) return std::nullopt;
  const Keep keep = keep_of(options, compared);
  if (const std::optional<Json> kept = kept_training(keep);
      kept && options.prompts.empty() && all_kept(keep, workload, source.key))
    return Trained{.record = kept->at("record"), .warning = kept->at("warning")};
  Trained training = compared.trained();
  keep_training(keep, {{"record", training.record}, {"warning", training.warning}});
  return training;
}

// One model's part of the record. The source, when `reference` is still empty, fills it.
Json measure(const Options& options, const ComparedModel& compared, const Workload& workload, Reference& reference) {
  const bool is_source = reference.evaluations.empty();
  const std::optional<Trained> training = trained(options, compared, workload, reference.source);
  const Model& model = training && training->model ? *training->model : compared.model;
  const Model& written = compared.written ? *compared.written : model;
  log_info("measuring " + compared.name);
  Evaluation evaluation;
  const Keep keep = keep_of(options, compared);
  naming_bad_tensors(model, [&] {
    evaluation = is_source ? evaluate_source(model, *compared.opened->tokenizer, workload, keep, reference.source)
                           : evaluate(model, *compared.opened->tokenizer, workload, keep, &reference.source);
  });
  Json entry = {{"name", compared.name},
                {"layers", model.layer_count()},
                {"parameters", written.parameters()},
                {"bytes", written.weight_bytes()}};
  entry.update(compared.about);
  const Json against = is_source ? Json() : against_source(options, reference.evaluations.front(), evaluation);
  evaluation.warnings.insert(evaluation.warnings.begin(), compared.warnings.begin(), compared.warnings.end());
  if (training) {
    entry["healed"].update(training->record);
    if (!training->warning.empty()) evaluation.warn(training->warning);
  }
  entry.update(to_json(evaluation, workload));
  for (const auto& [name, value] : figures(evaluation, written)) entry["figures"][name] = value;
  if (!options.no_speed) entry["speed"] = speed_json(options, written);
  if (!options.prompts.empty()) entry["samples"] = samples(options, model, *compared.opened->tokenizer);
  if (!is_source) entry["against_source"] = against;
  reference.evaluations.push_back(std::move(evaluation));
  return entry;
}

// That of a model which was measured already under another name, `earlier`; what was said of that one's choice goes.
Json measured_before(const ComparedModel& compared, const ComparedModel& earlier, Evaluation evaluation, Json entry,
                     Reference& reference) {
  log_info(compared.name + " is the same as " + earlier.name);
  auto& warnings = evaluation.warnings;  // the method's come first
  warnings.erase(warnings.begin(), warnings.begin() + std::ssize(earlier.warnings));
  warnings.insert(warnings.begin(), compared.warnings.begin(), compared.warnings.end());
  entry.erase("warnings");
  if (!warnings.empty()) entry["warnings"] = warnings;
  reference.evaluations.push_back(std::move(evaluation));
  entry["name"] = compared.name;
  entry["same_as"] = earlier.name;
  const Json healed = entry.value("healed", Json());  // the same, with what the training came to
  entry.update(compared.about);
  if (!healed.is_null()) entry["healed"] = healed;
  return entry;
}

// Before hours of work: that its results can be written.
void check_outputs(const Options& options) {
  const std::vector<std::string> given = {options.html, options.csv, options.markdown};
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (given[i].empty()) continue;
    check_output(given[i], options.evaluation.overwrite);
    for (std::size_t k = 0; k < i; ++k)
      if (given[k] == given[i]) fail(ErrorKind::usage, given[i], " is to hold two outputs; give each its own name");
  }
}

Output run(const Options& options) {
  check_outputs(options);
  const Placement placement = start(options.common);
  tell_of_shipped_text(options.models.data);
  tell_of_shipped_text(options.evaluation);
  const auto [models, calibration, warnings, looked_at] = open_compared(options.models, placement, options.common.seed);
  Json record = {{"format", 1}, {"run", computing_record(placement, options.common.seed)}};
  Reference reference;
  std::optional<Workload> workload;  // of the tokenizer at hand: views of one checkpoint share it
  const OpenedModel* loaded = nullptr;
  for (const ComparedModel& model : models) {
    if (loaded != model.opened.get()) {
      workload = load_workload(options.evaluation, *model.opened, options.common.seed);
      loaded = model.opened.get();
    }
    if (reference.evaluations.empty())
      for (const ComparedModel& each : models) check_kept(keep_of(options, each), *workload);
    const auto same = model.same.empty() ? reference.places.end() : reference.places.find(model.same);
    if (same == reference.places.end() && !model.same.empty())
      reference.places.emplace(model.same, reference.evaluations.size());
    record["models"].push_back(same == reference.places.end()
                                   ? measure(options, model, *workload, reference)
                                   : measured_before(model, models[same->second], reference.evaluations[same->second],
                                                     record["models"][same->second], reference));
  }
  add_alike(reference.evaluations, record["models"]);
  mark_pareto(record);
  if (!calibration.is_null()) record["calibration"] = calibration;
  if (!looked_at.is_null()) record["looked_at"] = looked_at;
  if (!warnings.empty()) record["warnings"] = warnings;
  if (!options.html.empty()) write_text(options.html, comparison_html(record));
  if (!options.csv.empty()) write_text(options.csv, comparison_csv(record));
  if (!options.markdown.empty()) write_text(options.markdown, comparison_markdown(record));
  std::string text = comparison_table(record);
  return {.json = std::move(record), .text = std::move(text)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  Arguments output = arguments.group("Output"), sweep = arguments.group("Plans and methods");
  arguments.add("MODELS", options->models.models,
                "checkpoints; the first is the source that the others are held against");
  sweep.add("--plan", options->models.plans, "plans on the source, which are looked at without writing them");
  sweep.add("--methods", options->models.methods, "pruning methods to try on the source, or all");
  sweep.add("--layers", options->models.layers, "layers that each of them takes out, e.g. 2,4,8");
  sweep.add_texts("--budget", options->models.budgets,
                  "what they may leave, as prune's --budget: the smallest cut of each that meets it; may be repeated");
  sweep.add("--data", options->models.data.path,
            "calibration text of the methods; default: the books that come with the program");
  sweep.add("--seq-len", options->models.data.seq_len,
            "tokens of text a calibration sequence; default: 512, or what the "
            "model's positions hold beside BOS",
            {.shows_default = false, .limits = kPositive});
  sweep.add_several(
      "--calibration", options->models.calibrations,
      "several texts instead of --data, behind the models: each chooses, and how far their cuts differ is told");
  sweep.add("--seeds", options->models.seeds, "draws of sequences from each text that choose", {.limits = kPositive});
  sweep.add("--heal-tokens", options->models.heal_tokens,
            "train adapters on so many tokens in every cut of a method, and show it healed beside it; 0: none",
            {.limits = kNonNegative});
  sweep.add("--heal-batch", options->models.heal_batch,
            "sequences an optimizer step of it; fewer make more steps of as many tokens", {.limits = kPositive});
  sweep.add("--heal-data", options->models.heal_data, "text to train them on; default: what is named for the methods");
  sweep.add("--samples", options->models.data.samples, "calibration sequences", {.limits = kPositive});
  sweep.add("--cache-limit", options->models.cache_limit,
            "most that a search among the methods may put into its temporary file; the rest is computed each time");
  sweep.add(
      "--format", options->models.format,
      "form in which the cuts would be written, of which sizes, budgets and speeds are: auto, ordinary (zeros for "
      "halves of layers that went), decilm, per-layer");
  add_evaluation_options(arguments, options->evaluation);
  output.add("--html", options->html, "one self-contained page");
  output.add("--csv", options->csv, "table of all figures");
  output.add("--markdown", options->markdown, "the table that is printed, as Markdown");
  output.add_texts("--prompt", options->prompts, "a text that every model continues, side by side; may be repeated");
  output.add("--prompt-tokens", options->prompt_tokens, "tokens of each continuation", {.limits = kPositive});
  output.add("--speed-tokens", options->speed_tokens, "tokens of the measured prefill", {.limits = kPositive});
  output.flag("--no-speed", options->no_speed, "do not measure prefill and decode speed");
  output.add("--bootstrap", options->bootstrap, "resamples behind the intervals of stability", {.limits = kPositive});
  add_sweep_options(arguments, options->common);
  return [options, arguments] {
    check_meaning(
        arguments,
        {{{"--cache-limit"},
          try_many_candidates(options->models.methods),
          "--methods that try many candidates, as blockpruner"},
         {{"--heal-batch"}, options->models.heal_tokens > 0, "--heal-tokens, whose steps it is of"},
         {{"--format"}, !options->models.methods.empty() || !options->models.plans.empty(), "--methods or --plan"}});
    options->models.data.corpus = options->evaluation.corpus;
    options->models.data.bos = options->evaluation.bos;
    options->models.keep = options->evaluation.out;
    if (lacks_text_to_look_at(options->models)) take_shipped_text(options->models.data);
    take_shipped_text(options->evaluation);
    return resumable(options->evaluation.out, [&] { return run(*options); });
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "compare", "several models on the same texts and tasks, on one page",
      "  streamline compare MODEL SMALLER --perplexity FILE --tasks hellaswag,piqa --data-dir DIR --html page.html\n"
      "  streamline compare MODEL --methods all --layers 2,4,8\n"
      "  streamline compare MODEL --methods all --layers 2,4,8 --data CALIBRATION --perplexity FILE\n"
      "  streamline compare MODEL --plan a.json --plan b.json --perplexity FILE --prompt 'Once upon a time'\n",
      declare};
  return declared;
}

}  // namespace streamline::cli::compare_command

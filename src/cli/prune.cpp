// SPDX-License-Identifier: Apache-2.0
// `streamline prune`: from a checkpoint and text to a smaller checkpoint and a report.
#include <algorithm>
#include <memory>

#include "changed_model.h"
#include "command.h"
#include "method_options.h"
#include "prune_run.h"
#include "rank_group.h"
#include "recipe.h"
#include "shipped_text.h"
#include "streamline/arch/companions.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/heal/refit.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/prune/half_choice.h"
#include "streamline/report/report.h"
#include "streamline/surgery/apply_gguf.h"
#include "streamline/surgery/changeable.h"
#include "training.h"

namespace streamline::cli::prune_command {
namespace {

bool writes(const PruneOptions& options) { return !options.dry_run && !options.plan_only; }

// What one process does by itself: what shares nothing, and files that several would write.
void check_shared(const PruneOptions& options) {
  if (ranks().alone()) return;
  const auto refuse = [](const std::string& what) {
    fail(ErrorKind::usage, what, " is the work of one process, and WORLD_SIZE says ", ranks().size(),
         "; leave it out, or start without torchrun (docs/ranks.md)");
  };
  if (options.refit != "none") refuse("--refit");
  if (!options.cache.empty()) refuse("--cache");
  if (options.budget.find("latency") != std::string::npos) refuse("--budget latency");
}

// Methods that take shares of what is inside layers.
bool narrows(const Method& method) {
  return std::ranges::any_of(method.params, [](const Param& param) { return param.name == "ratio"; });
}

// What of the inside of layers a method may take, with these parameters.
struct Inside {
  bool heads = false, channels = false;
};
Inside taken_inside(const Method& method, const Json& params) {
  if (!narrows(method)) return {};
  const std::string what = params.value("inside", params.value("over", std::string("both")));
  const bool both = what == "both" || what == "inside";
  const bool keep_heads = params.contains("keep-heads"), keep_channels = params.contains("keep-channels");
  const bool counts = keep_heads || keep_channels;  // of which each alone leaves the other ones
  return {.heads = (both || what == "heads") && (!counts || keep_heads),
          .channels = (both || what == "channels") && (!counts || keep_channels)};
}

void check_meanings(const Arguments& arguments, const PruneOptions& options) {
  const Method& method = find_method(options.method);
  const bool heals = options.replacement != "none", mse = options.loss.find("mse") != std::string::npos;
  check_meaning(
      arguments,
      {{{"--tokens", "--epochs", "--learning-rate", "--batch-tokens", "--weight-decay", "--loss", "--init",
         "--patience", "--cache", "--log", "--accept-worse", "--loss-split", "--mse", "--skip-first-position",
         "--cache-dtype"},
        heals,
        "what --replace trains, and nothing is trained here"},
       {{"--mse", "--skip-first-position"}, mse, "--loss mse"},
       {{"--loss-split"}, options.loss.find('+') != std::string::npos, "a --loss of two, as mse+lm"},
       {{"--state"}, heals || method.keeps_state, "what --replace trains, or a --method that keeps what it finds"},
       {{"--save-every"}, heals, "what --replace trains; what a method finds is saved at once"},
       {{"--save-every"}, !options.state.empty(), "--state"},
       {{"--cache-dtype"}, !options.cache.empty(), "--cache"},
       {{"--cache-limit"},
        !options.cache.empty() || method.keeps_prefixes,
        "--cache, or a --method that tries many candidates, as blockpruner"},
       {{"--validation"}, heals || options.evaluation.empty(), "--replace; with --eval alone nothing is held out"},
       {{"--candidates", "--candidate-tokens"}, options.replacement == "auto", "--replace auto"},
       {{"--task-dir", "--data-dir", "--limit"}, !options.questions.tasks.empty(), "--tasks"},
       {{"--refit"},
        options.refit != "least-squares" || narrows(method),
        "methods that take heads and channels, as wanda-sp; --refit bias with all that drop"},
       {{"--refit"}, options.refit == "none" || !options.plan_only, "a result; a plan alone has no fitted weights"}});
}

// The text that comes with the program chooses where none is given; nothing is trained on it. Errors: usage.
void take_text(PruneOptions& options) {
  const bool puts_back = options.replacement != "none" && (!options.plan_only || options.replacement == "auto");
  const bool fits = options.refit != "none";
  if (options.data.path.empty() && (puts_back || fits))
    fail(ErrorKind::usage,
         "--data is required: ", puts_back ? "--replace " + options.replacement : "--refit " + options.refit,
         " learns from it; give text like your model's use, or cut alone with ",
         puts_back ? "--replace none" : "--refit none");
  take_shipped_text(options.data);
}

void check_options(const PruneOptions& options) {
  const Method& method = find_method(options.method);
  // A budget adds what says how much, and all is checked with that.
  if (options.budget.empty()) resolve_params(method.params, options.method_params, "--method " + options.method);
  check_shared(options);
  if (options.refit != "none" && options.replacement != "none")
    fail(ErrorKind::usage, "--replace and --refit both make up for what goes; give one of them");
  if (options.refit != "none" && method.merges)
    fail(ErrorKind::usage, options.method, " puts merged layers in the place of what goes; leave --refit out");
  if (options.replacement != "none" && options.replacement != "auto") parse_replacement(options.replacement, "auto");
  if (options.replacement == "auto")
    for (const std::string& name : options.candidates)
      if (name != "none") parse_replacement(name);
  if (!options.budget.empty()) parse_budgets(options.budget);
  if (!options.budget.empty() && options.replacement == "auto")
    fail(ErrorKind::usage, "--budget needs to know what is put back; name it with --replace instead of auto");
  if (!options.budget.empty() && !options.state.empty() &&
      (options.method == "evolve" || options.method == "policy-gradient"))
    fail(ErrorKind::usage, options.method,
         " searches anew for every size that --budget tries, and --state keeps one; give one of ", "the two");
  parse_losses(options.loss, options.loss_split);
  if (!options.start.empty()) parse_start(options.start);
  parse_format(options.format);
  parse_size(options.cache_limit);
  if (options.out.empty() && writes(options))
    fail(ErrorKind::usage, "--out is required (or --dry-run, or --plan-only)");
  if (writes(options) && ranks().first()) check_output_directory(options.out, options.overwrite);
}

// What this model cannot be, told before the work.
void check_source(const PruneRun& run) {
  const Checkpoint& checkpoint = run.opened.model.checkpoint();
  const Method& method = find_method(run.options.method);
  const Inside inside = taken_inside(method, run.options.method_params);
  const HalfKinds halves = half_kinds(method, run.options.method_params);
  if (run.options.refit != "none") {
    const RefitKind kind = parse_refit(run.options.refit);
    const bool narrower = inside.heads || inside.channels;
    if (!narrower && kind == RefitKind::least_squares)
      fail(ErrorKind::usage, "--refit least-squares makes up for heads and channels that go, and here none do; ",
           "--refit bias does for layers and halves");
    if (!checkpoint.is_safetensors())
      fail(ErrorKind::unsupported, checkpoint.label(),
           ": --refit changes matrices, and those of a GGUF file keep their bytes; prune the checkpoint that the file "
           "was made from, and export the result");
    if (kind == RefitKind::bias && !narrower)
      check_emulated_updates(run.opened.model.config(),
                             halves.attention || halves.mlp ? DroppedUnits::halves : DroppedUnits::layers);
    check_refit(run.opened.model.config(), kind, inside.heads, inside.channels);
  }
  check_no_side_route(checkpoint, "reads its layers where they are");
  if (!writes(run.options)) return;
  if (checkpoint.is_safetensors()) return check_cuttable(run.opened.model, inside.heads, inside.channels);
  check_gguf_slices(run.opened.model, inside.heads, inside.channels);
  check_gguf_halves(halves.attention, halves.mlp);
}

// A plan is worth having all the same where nothing is to be written.
void warn_of_unwritable(PruneRun& run) {
  try {
    check_cut(run, run.plan);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    warn(run.report, error.what());
  }
}

// What --sparsity and --layers came to; --budget says it by itself.
void tell_size(const PruneRun& run) {
  const Json &given = run.options.method_params, &found = run.proposal.plan.scores;
  for (const char* size : {"sparsity", "layers"})
    if (given.contains(size) && found.contains("sparsity"))
      log_info("--" + std::string(size) + " " + given[size].dump() + " saves " +
               fixed(100 * found["sparsity"].get<double>(), 1) + " % of the parameters");
}

Output run(const PruneOptions& options) {
  check_options(options);
  const Placement placement = start(options.common);
  PruneRun run{options, open_model(options.model, placement)};
  check_source(run);
  run.replacement = options.replacement;
  if (!options.state.empty()) run.memory = SearchMemory(search_state_file(options.state), ranks());
  check_state(run);
  if (writes(options)) check_writable(run);
  const Model& source = run.opened.model;
  run.report = {{"format", 1}, {"run", computing_record(placement, options.common.seed)}};
  run.report["recipe"] = options.recipe;

  stage(run, "read text", [&] { load_data(run); });
  check_state(run);
  if (options.replacement == "auto") stage(run, "try replacements", [&] { choose_replacement(run); });
  stage(run, "score", [&] { naming_bad_tensors(source, [&] { choose(run); }); });
  check_state(run);
  for (const std::string& warning : run.proposal.warnings) log_warning(warning);
  log_info(summary(run.plan));
  tell_size(run);
  if (writes(options))
    check_cut(run, run.plan);
  else
    warn_of_unwritable(run);
  if (options.plan_only) {
    Json plan = to_json(run.plan);
    std::string text = dump_json(plan);
    run.report["plan"] = std::move(plan);
    return {std::move(run.report), std::move(text)};
  }
  stage(run, "measure source", [&] { measure_source(run); });
  Plan cut = run.proposal.plan;
  if (run.proposal.replacements.empty())  // what heals is not there yet
    for (Segment& segment : cut.segments)
      if (segment.action == Action::replace) segment.action = Action::drop, segment.replacement.clear();
  stage(run, "measure cut", [&] { measure(run, "cut", cut); });
  if (run.heals()) {
    stage(run, "heal", [&] { heal(run); });
    stage(run, "measure healed", [&] { measure(run, "healed", run.plan); });
  }
  if (options.refit != "none") {
    stage(run, "refit", [&] { refit(run); });
    stage(run, "measure healed", [&] { measure(run, "healed", run.plan); });
  }
  if (!options.dry_run && ranks().first()) {
    write(run);
    remove_state(options.state);
  }
  return {run.report, report_table(run.report)};
}

void add_training_options(Arguments& arguments, PruneOptions& options) {
  Arguments training = arguments.group("Training of what is put back"), kept = arguments.group("State and cache");
  training.add("--tokens", options.tokens, "tokens to train on", {.limits = kPositive});
  training.add("--epochs", options.heal.epochs, "times over them", {.limits = kPositive});
  training.add("--learning-rate", options.heal.learning_rate, "largest rate; default: the replacement's own",
               {.limits = kPositive});
  training.add("--batch-tokens", options.heal.batch_tokens, "tokens an optimizer step; default: chosen",
               {.limits = kPositive});
  training.add("--weight-decay", options.heal.weight_decay, "AdamW weight decay", {.limits = kNonNegative});
  training.add("--validation", options.validation_sequences, "sequences held out, by document", {.limits = kPositive});
  training.add("--patience", options.heal.patience, "validations without improvement that end the training",
               {.limits = kPositive});
  training.add("--loss", options.loss, "mse, lm, kl, or two of them in turn: mse+lm, mse+kl");
  training.add("--loss-split", options.loss_split, "share of the steps that the first of two losses takes");
  training.add("--mse", options.mse, "plain, or normalised: each token's error over its target's energy",
               {.choices = {"plain", "normalised"}});
  training.flag("--skip-first-position", options.heal.objective.skip_first_position,
                "leave the first position, where massive activations live, out of mse");
  training.add("--log", options.log, "file to which each step and validation is appended, a JSON object a line");
  kept.add("--state", options.state,
           "directory where a method that searches or scores heads and channels, and the training, save "
           "their state until the result is written; the same command goes on from there");
  kept.add("--save-every", options.heal.save_every, "seconds between two states of the training",
           {.limits = kNonNegative});
  kept.add("--cache", options.cache, "directory where hidden states are kept for further epochs, candidates and runs");
  kept.add("--cache-limit", options.cache_limit,
           "most it may hold, and most of what a search (blockpruner, iterative, beam, evolve) may put into its "
           "temporary file, e.g. 50GB; the rest is computed each time");
  kept.add("--cache-dtype", options.cache_dtype, "type of the states in it",
           {.choices = {"bfloat16", "float16", "float32"}});
}

void add_replacement_options(Arguments& arguments, PruneOptions& options) {
  Arguments healing = arguments.group("What to put back");
  healing.add("--replace", options.replacement,
              "what to train in place of the cut: none, auto, or see `streamline list`; NAME:2 is two in a row; "
              "default: what the method's paper trains there (layer for llm-streamline)");
  healing.add("--init", options.start,
              "how the weights start: zero, inherit, random, closed-form; default: the replacement's own");
  healing.add("--candidates", options.candidates, "what --replace auto tries");
  healing.add("--candidate-tokens", options.candidate_tokens, "tokens that each of them is trained on",
              {.limits = kPositive});
  healing.flag("--accept-worse", options.accept_worse,
               "keep a replacement that is worse than nothing on the held-out text");
  healing.add(
      "--refit", options.refit,
      "what makes up for what went, in the matrices that stay, over the text of --data: none; least-squares (for "
      "heads and channels: what stays is fitted to what went); bias (the mean of what went is added, of heads "
      "and channels as FLAP does, of halves and layers as emulated updates)",
      {.choices = {"none", "least-squares", "bias"}});
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<PruneOptions>();
  add_model(arguments, options->model);
  arguments.add("--out", options->out, "directory of the smaller checkpoint and its report; of a GGUF file NAME.gguf");
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  arguments.flag("--dry-run", options->dry_run, "do everything but write");
  arguments.flag("--plan-only", options->plan_only,
                 "choose what to cut and print the plan; nothing is trained or written");
  arguments.add("--format", options->format, kFormatHelp);
  add_shard_size(arguments, options->max_shard_size);
  add_recipe_option(arguments);
  Arguments text = arguments.group("Text to look at and to measure on"), choice = arguments.group("What to cut");
  add_data_options(text, options->data, DataNeed::choosing);
  text.add("--eval", options->evaluation,
           "text for the perplexities; default: documents of --data held out of training");
  text.add("--eval-windows", options->evaluation_windows, "windows of it", {.limits = kPositive});
  text.flag("--no-speed", options->no_speed, "do not measure prefill and decode speed");
  choice.add("--method", options->method,
             "how to choose; see `streamline list`, `streamline list METHOD` for the options of one, and below");
  choice.add("--budget", options->budget,
             "the smallest cut that leaves at most this: params=0.8x (of the source's), bytes=100MB, kv-cache=0.5x "
             "(bytes a token), latency=0.7x (measured here); several with commas between them");
  add_replacement_options(arguments, *options);
  add_training_options(arguments, *options);
  Arguments machine = arguments.group(kMachine), asking = arguments.group("With --method shapley --game accuracy");
  add_sweep_options(machine, options->common);
  add_method_options(arguments, choice, options->method_params);
  add_question_options(asking, options->questions);
  return [options, arguments] {
    options->recipe = recipe_text("prune", arguments.given());
    if (options->replacement.empty())
      options->replacement = options->refit == "none" ? find_method(options->method).replacement : "none";
    check_meanings(arguments, *options);
    take_text(*options);
    return with_state(options->state, [&] { return run(*options); });
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "prune", "cut the least important run of layers, heal, measure, write",
      "  streamline prune models/books-5m --data models/text/calibration.jsonl --out smaller --cut 4\n"
      "  streamline prune MODEL --data FILE --out DIR --sparsity 0.25 --replace swiglu-residual --tokens 1000000\n"
      "  streamline prune MODEL --out DIR --cut 6 --replace none\n"
      "  streamline prune --config run.yaml --seed 1\n"
      "  streamline prune MODEL --data FILE --cut 6 --replace none --plan-only > plan.json\n"
      "  torchrun --no-python --nproc-per-node 2 streamline prune MODEL --data FILE --out DIR --cut 6\n",
      declare, true};
  return declared;
}

}  // namespace streamline::cli::prune_command

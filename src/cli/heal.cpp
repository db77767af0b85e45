// SPDX-License-Identifier: Apache-2.0
// `streamline heal`: adapters trained in all layers of a model that was cut, merged into it or beside it.
#include <algorithm>
#include <memory>
#include <sstream>

#include "command.h"
#include "heal_run.h"
#include "options.h"
#include "recipe.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/resources.h"
#include "streamline/eval/perplexity.h"
#include "streamline/heal/peft_files.h"
#include "streamline/heal/run_key.h"
#include "streamline/heal/train_state.h"
#include "streamline/heal/tuning.h"
#include "streamline/report/report.h"
#include "streamline/surgery/apply.h"
#include "streamline/surgery/changeable.h"
#include "training.h"

namespace streamline::cli::heal_command {
namespace {

void check_options(const Options& options) {
  if (options.out.empty() && options.adapters.empty())
    fail(ErrorKind::usage, "--out for the healed model, --adapters for PEFT files beside the model as it is, or both");
  if (!ranks().first()) return;  // who writes
  for (const std::string& target : {options.out, options.adapters}) check_output_directory(target, options.overwrite);
}

void load_text(Run& run) {
  const Options& options = run.options;
  run.text =
      load_training_text(run.opened, options.data, options.tokens, options.validation_sequences, options.common.seed);
  run.report["training"] = text_record(run.text.training);
  run.measured = load_measured(run.opened, options.data, options.evaluation, options.evaluation_windows);
}

TuningOptions tuning_options(const Run& run) {
  TuningOptions tuning = run.options.tuning;
  tuning.adapters.roles = parse_adapter_roles(run.options.targets);
  if (run.options.with == "dora") tuning.adapters.kind = AdapterKind::dora;
  if (run.options.with == "norms") tuning.adapters.kind = AdapterKind::norms;
  tuning.base = run.options.base == "nf4" ? FrozenBase::nf4 : FrozenBase::stored;
  tuning.heal = heal_options(run, "adapters");
  return tuning;
}

void write_adapters(const Run& run, const Adapters& adapters) {
  OutputDirectory out(run.options.adapters, run.options.overwrite ? Overwrite::yes : Overwrite::no);
  write_peft(out.staging(), adapters, run.opened.model, run.options.model);
  write_report(out, run.report);
  out.commit();
}

// The card of the healed model, below its front matter.
std::string card(const Run& run) {
  const Json& adapters = run.report["adapters"];
  std::ostringstream text;
  text << "`" << run.options.model << "` healed: ";
  if (run.options.with == "norms")
    text << "the weights of its layers' norms (" << adapters["parameters"] << " parameters)";
  else
    text << "adapters (" << run.options.with << ") of rank " << adapters["rank"] << " (" << adapters["parameters"]
         << " parameters) beside its matrices " << adapters["matrices"].dump();
  text << ", trained on " << run.report["training"]["tokens"] << " tokens of " << run.report["training"]["source"]
       << " for the next token and merged into the weights.";
  if (run.options.with == "lora") text << " They lie in `streamline/adapters` as PEFT files.";
  text << "\n";
  text << card_end(run);
  return text.str();
}

void write_merged(Run& run, const Adapters& adapters, const Model& healed) {
  const Options& options = run.options;
  ApplyOptions apply = apply_options(run, card(run));
  apply.provenance["adapters"] = run.report["adapters"];
  apply.finish = [&](OutputDirectory& directory, const AppliedPlan& applied) {
    const std::filesystem::path folder = directory.staging() / "streamline" / "adapters";
    if (options.with == "lora") {
      std::filesystem::create_directories(folder);
      write_peft(folder, adapters, run.opened.model, options.model);
    }
    run.report["output"] = output_record(options.out, applied);
    write_report(directory, run.report);
  };
  apply_plan(healed, plan_of_all(healed, "heal"), {}, options.out, apply);
}

// What was done, as the report's headline says it.
std::string summary(const Run& run, const Adapters& adapters) {
  const std::string size = format_count(static_cast<double>(adapters.parameters())) + " parameters";
  if (run.options.with == "norms") return "trained the weights of the layers' norms, " + size;
  return "trained adapters (" + run.options.with + ") of rank " + std::to_string(adapters.options.rank) +
         " in all layers, " + size;
}

void heal_with_adapters(Run& run) {
  const Options& options = run.options;
  const Model& model = run.opened.model;
  const TuningOptions tuning = tuning_options(run);
  check_state(tuning.heal, tuning_key(model, run.text.training, run.text.validation, tuning));
  measure(run, "before", model);
  Tuned tuned = tune(model, run.text.training, run.text.validation, tuning);
  Json targets = Json::array();
  for (const Role role : tuned.adapters.options.roles) targets.push_back(role_name(role));
  run.report["adapters"] = {{"with", options.with},
                            {"rank", tuned.adapters.options.rank},
                            {"scale", tuned.adapters.options.scale()},
                            {"dropout", tuned.adapters.options.dropout},
                            {"matrices", targets},
                            {"parameters", tuned.adapters.parameters()},
                            {"base", options.base}};
  run.report["summary"] = summary(run, tuned.adapters);
  Json record = {{"replacement", "adapters"}, {"loss", "lm"}};
  record.update(to_json(tuned.result));
  run.report["healing"] = Json::array({std::move(record)});
  tell_if_nothing_learnt(run, tuned.result);
  const Model healed = model.changed(merging(tuned.adapters));
  measure(run, "healed", healed);
  if (!ranks().first()) return;  // who writes
  if (!options.adapters.empty()) write_adapters(run, tuned.adapters);
  if (!options.out.empty()) write_merged(run, tuned.adapters, healed);
}

// Whether a healed model can be written, told before the work.
void check_mergeable(const Model& model, const Options& options) {
  const Checkpoint& checkpoint = model.checkpoint();
  const std::string alone = options.with == "lora" ? ", or write --adapters alone" : "";
  if (!checkpoint.is_safetensors())
    fail(ErrorKind::unsupported, checkpoint.label(),
         ": what is trained cannot be merged into a GGUF file, whose matrices keep their bytes; heal the checkpoint "
         "that the file was made from and export the result",
         alone);
  if (options.with == "lora" || options.with == "dora") {
    const std::vector<Role> roles = parse_adapter_roles(options.targets);
    check_changeable(
        model, [&](std::int64_t, Role role) { return std::ranges::count(roles, role) > 0; },
        "into which nothing can be merged; heal the unquantised checkpoint" + alone);
  }
  check_applicable(checkpoint, options.out);
}

Output run(const Options& options) {
  check_options(options);
  const Placement placement = start(options.common);
  Run run{options, open_model(options.model, placement)};
  const Model& model = run.opened.model;
  if (!options.out.empty()) check_mergeable(model, options);
  run.report = {{"format", 1}, {"run", computing_record(placement, options.common.seed)}};
  run.report["recipe"] = options.recipe;
  run.report["source"] = source_record(options.model, model);
  if (ranks().first())
    check_train_states(options.state,
                       run_of_model(options.with == "sherl" ? kSherl : kAdapters, model, options.common.seed));
  load_text(run);
  if (options.with == "sherl")
    heal_with_sherl(run);
  else
    heal_with_adapters(run);
  if (ranks().first()) remove_state(options.state);
  return {run.report, report_table(run.report)};
}

// What the other choice is told by means nothing here.
void check_choice(const Options& options, const Arguments& arguments) {
  const std::string& with = options.with;
  const bool matrices = with == "lora" || with == "dora";
  check_meaning(arguments, {{{"--dropout", "--adapters"}, with == "lora", "--with lora"},
                            {{"--rank", "--alpha", "--matrices"}, matrices, "--with lora or dora"},
                            {{"--base"}, matrices || with == "norms", "--with lora, dora or norms"},
                            {{"--late", "--features", "--reduction", "--start", "--feature-norm", "--target"},
                             with == "sherl",
                             "--with sherl"},
                            {{"--original"}, options.target == "hidden", "--target hidden"},
                            {{"--eval-windows"}, !options.evaluation.empty(), "--eval"},
                            {{"--save-every"}, !options.state.empty(), "--state"}});
  if (options.target == "hidden" && options.original.empty())
    fail(ErrorKind::usage, "--target hidden aims at what the layers that were cut would have written; name the model ",
         "that has them with --original");
}

void add_adapter_options(Arguments& arguments, Options& options) {
  Arguments matrices = arguments.group("With --with lora or dora"), lora = arguments.group("With --with lora"),
            frozen = arguments.group("With --with lora, dora or norms");
  matrices.add("--rank", options.tuning.adapters.rank, "of the adapters; smaller where healing makes tasks worse",
               {.limits = kPositive});
  matrices.add("--alpha", options.tuning.adapters.alpha, "their update is scaled by alpha / rank; default: the rank",
               {.limits = kPositive});
  lora.add("--dropout", options.tuning.adapters.dropout, "share of an adapter's input that is left out while it learns",
           {.limits = kNonNegative});
  matrices.add("--matrices", options.targets,
               "that get an adapter: mlp, attention, all, or some of q, k, v, o, gate, up, down");
  frozen.add("--base", options.base, "the frozen matrices while adapters learn: as stored, or in 4 bits (QLoRA)",
             {.choices = {"stored", "nf4"}});
}

void add_sherl_options(Arguments& arguments, Options& options) {
  Arguments sherl = arguments.group("With --with sherl");
  sherl.add("--target", options.target,
            "what is learnt: lm, the next token through the last layers; hidden, what the layers that were cut would "
            "have written, without a way back through any layer",
            {.choices = {"lm", "hidden"}});
  sherl.add("--original", options.original, "with --target hidden: the model before the cut");
  sherl.add("--late", options.sherl.late,
            "last layers, which read what was merged; nothing is learnt through others. With --target hidden those "
            "behind the cut, which a pruned model's plan tells",
            {.limits = kPositive});
  sherl.add("--features", options.sherl.features, "hidden states that are merged, the embedding's included",
            {.limits = kPositive});
  sherl.add("--reduction", options.sherl.reduction, "the width of the merging is the hidden size over this",
            {.limits = kPositive});
  sherl.add("--start", options.start, "identity: the model as it is; paper: small random weights and a closed gate",
            {.choices = {"identity", "paper"}});
  sherl.add("--feature-norm", options.feature_norm, "divide hidden states by their root mean square first, or not",
            {.choices = {"rms", "none"}});
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.add("--out", options->out, "directory of the healed model, the adapters merged into its weights");
  arguments.add("--adapters", options->adapters, "directory of the adapters as PEFT files, for the model as it is");
  arguments.flag("--overwrite", options->overwrite, "replace what is there");
  add_shard_size(arguments, options->max_shard_size);
  arguments.add(
      "--with", options->with,
      "lora: adapters in all layers, merged into them; dora: with the lengths of the matrices' rows apart; "
      "norms: the layers' norms alone; sherl: one adapter that makes what the last layers read of the hidden states "
      "of the early ones, in a file beside the model",
      {.choices = {"lora", "dora", "norms", "sherl"}});
  Arguments text = arguments.group("Text to train on and to measure on"), training = arguments.group("Training");
  add_data_options(text, options->data, DataNeed::training);
  text.add("--eval", options->evaluation, "text whose perplexity is measured before and after");
  text.add("--eval-windows", options->evaluation_windows, "windows of it", {.limits = kPositive});
  HealOptions& heal = options->tuning.heal;
  heal.clip = 1;
  heal.weight_decay = 0;
  training.add("--tokens", options->tokens, "tokens to train on", {.limits = kPositive});
  training.add("--epochs", heal.epochs, "times over them", {.limits = kPositive});
  training.add("--batch", options->sequences_per_step, "sequences an optimizer step", {.limits = kPositive});
  training.add("--learning-rate", heal.learning_rate, "largest rate; default: 3e-4, with sherl 1e-3",
               {.limits = kPositive});
  training.add("--warmup", options->tuning.warmup_steps, "steps up to it, at most a tenth of all",
               {.limits = kNonNegative});
  training.add("--weight-decay", heal.weight_decay, "AdamW weight decay", {.limits = kNonNegative});
  training.add("--validation", options->validation_sequences, "sequences held out, by document", {.limits = kPositive});
  training.add("--patience", heal.patience, "validations without improvement that end the training",
               {.limits = kPositive});
  training.add(
      "--state", options->state,
      "directory where the training saves its state until the result is written; the same command goes on from "
      "there");
  training.add("--save-every", heal.save_every, "seconds between two of these", {.limits = kNonNegative});
  training.add("--log", options->log, "file to which each step and validation is appended, a JSON object a line");
  add_adapter_options(arguments, *options);
  add_sherl_options(arguments, *options);
  Arguments machine = arguments.group(kMachine);
  add_sweep_options(machine, options->common);
  return [options, arguments] {
    options->recipe = recipe_text("heal", arguments.given());
    if (options->data.path.empty())
      fail(ErrorKind::usage, "--data is required: heal learns from it; give text like your model's use");
    check_choice(*options, arguments);
    options->late_given = arguments.given("--late");
    return with_state(options->state, [&] { return run(*options); });
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "heal", "train adapters (LoRA) in all layers of a model that was cut",
      "  streamline heal smaller --data FILE --out healed\n"
      "  streamline heal smaller --data FILE --adapters lora --rank 8 --base nf4\n"
      "  streamline heal smaller --data FILE --with sherl --late 2 --out healed\n"
      "  streamline heal smaller --data FILE --with sherl --target hidden --original whole --out healed\n"
      "  torchrun --no-python --nproc-per-node 2 streamline heal smaller --data FILE --out healed\n",
      declare, true};
  return declared;
}

}  // namespace streamline::cli::heal_command

// SPDX-License-Identifier: Apache-2.0
// `streamline apply`: carries out a stored plan.
#include <memory>

#include "command.h"
#include "options.h"
#include "plan_option.h"
#include "streamline/arch/layer_stack.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/report.h"
#include "streamline/surgery/renumber.h"

namespace streamline::cli::apply_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model, plan, out, max_shard_size = "5GB", format = "auto", check = "auto";
  bool overwrite = false, any_weights = false;

  AnyWeights accepted() const { return any_weights ? AnyWeights::yes : AnyWeights::no; }
};

// Why this program cannot compute with a checkpoint (its family, its number format); empty when it can.
std::string why_not_computed(const Checkpoint& checkpoint) {
  try {
    resolve_config(checkpoint);
    return {};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported || !checkpoint.is_safetensors()) throw;
    return error.what();
  }
}

struct Done {
  Plan plan;
  AppliedPlan applied;
  Json run;
};

Done apply_computing(const Options& options, const std::shared_ptr<const Checkpoint>& checkpoint, ApplyOptions apply) {
  const Placement placement = start(options.common);
  apply.provenance = computing_record(placement, options.common.seed);
  const Model source = Model::open(checkpoint, placement);
  const PlannedSurgery surgery = open_plan(options.plan, source, options.common.seed, options.accepted());
  return {surgery.plan, apply_plan(surgery.on(source), surgery.plan, surgery.replacements, options.out, apply),
          apply.provenance};
}

Done apply_names(const Options& options, const std::shared_ptr<const Checkpoint>& checkpoint, ApplyOptions apply) {
  apply.provenance = run_record(command_line(), options.common.seed);
  const Plan plan = read_plan(options.plan, *checkpoint, find_layer_stack(*checkpoint).layers, options.accepted());
  return {plan, apply_by_names(checkpoint, plan, options.out, apply), apply.provenance};
}

Output report(const Options& options, const Done& done, double seconds) {
  const AppliedPlan& applied = done.applied;
  Json json = {
      {"run", done.run},
      {"output", options.out},
      {"layers", applied.layers},
      {"parameters", applied.computed ? Json(applied.parameters) : Json()},
      {"bytes", applied.bytes},
      {"ordinary", applied.ordinary},
      {"format", applied.format},
      {"notes", applied.notes},
      {"checked", checked_name(applied.checked)},
      {"largest_logit_difference", applied.largest_logit_difference ? Json(*applied.largest_logit_difference) : Json()},
      {"seconds", seconds}};
  std::string text = summary(done.plan) + "\n" + options.out + ": " + counted(applied.layers, "layer") + ", ";
  if (applied.computed) text += format_count(static_cast<double>(applied.parameters)) + " parameters, ";
  text += format_bytes(applied.bytes) + "\n";
  for (const std::string& note : applied.notes) text += note + "\n";
  return {std::move(json), std::move(text)};
}

Output run(const Options& options) {
  start_logging(options.common);
  check_output_directory(options.out, options.overwrite);
  const auto checkpoint = open_checkpoint(options.model);
  const std::string why = why_not_computed(*checkpoint);
  if (!why.empty()) log_detail(why);
  const Stopwatch watch;
  ApplyOptions apply;
  apply.max_shard_size = parse_size(options.max_shard_size);
  apply.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
  apply.format = parse_format(options.format);
  if (options.check != "auto") apply.check = options.check == "files" ? Checked::files : Checked::logits;
  const Done done = (why.empty() ? apply_computing : apply_names)(options, checkpoint, apply);
  return report(options, done, watch.seconds());
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.add("--plan", options->plan, "plan.json, by hand or from streamline/ in an earlier output",
                {.required = true});
  arguments.add("--out", options->out, "directory of the result; of a GGUF file NAME.gguf", {.required = true});
  add_shard_size(arguments, options->max_shard_size);
  arguments.add("--format", options->format, kFormatHelp);
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  arguments.flag("--any-weights", options->any_weights,
                 "take a plan that was made for other weights: a quantised, fine-tuned or unquantised twin");
  arguments.add(
      "--check", options->check,
      "how far to compare the result with the model in memory: names, shapes and lists (files), or what both "
      "compute as well (logits); auto: logits, or where all layers stay as they were their tensors and settings",
      {.choices = {"auto", "files", "logits"}});
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{"apply", "carry out a stored plan on a checkpoint",
                                "  streamline apply models/books-5m --plan smaller/streamline/plan.json --out again\n",
                                declare};
  return declared;
}

}  // namespace streamline::cli::apply_command

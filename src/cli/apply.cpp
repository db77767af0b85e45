// SPDX-License-Identifier: Apache-2.0
// `streamline apply`: carries out a stored plan.
#include <memory>

#include "command.h"
#include "options.h"
#include "plan_option.h"
#include "streamline/base/resources.h"
#include "streamline/report/report.h"
#include "streamline/surgery/apply.h"

namespace streamline::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string model, plan, out, max_shard_size = "5GB";
  bool overwrite = false;
};

Output run(const Options& options) {
  const Placement placement = start(options.common);
  const Model source = Model::open(open_checkpoint(options.model), placement);
  const auto [plan, replacements] = open_plan(options.plan, source, options.common.seed);
  const Stopwatch watch;
  ApplyOptions apply;
  apply.max_shard_size = parse_size(options.max_shard_size);
  apply.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
  apply.provenance = run_record(command_line(), options.common.seed);
  const AppliedPlan applied = apply_plan(source, plan, replacements, options.out, apply);
  Json json = {{"run", apply.provenance},   {"output", options.out},
               {"layers", applied.layers},  {"parameters", applied.parameters},
               {"bytes", applied.bytes},    {"ordinary", applied.ordinary},
               {"notes", applied.notes},    {"largest_logit_difference", applied.largest_logit_difference},
               {"seconds", watch.seconds()}};
  std::string text = summary(plan) + "\n" + options.out + ": " + std::to_string(applied.layers) + " layers, " +
                     format_count(static_cast<double>(applied.parameters)) + " parameters, " +
                     format_bytes(applied.bytes) + "\n";
  for (const std::string& note : applied.notes) text += note + "\n";
  return {std::move(json), std::move(text)};
}

std::function<Output()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  add_model(app, options->model);
  app.add_option("--plan", options->plan, "plan.json, by hand or from streamline/ in an earlier output")->required();
  app.add_option("--out", options->out, "directory of the result")->required();
  app.add_option("--max-shard-size", options->max_shard_size, "largest weight file, e.g. 5GB")->capture_default_str();
  app.add_flag("--overwrite", options->overwrite, "replace an existing --out");
  add_compute_options(app, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& apply_command() {
  static const Command command{"apply", "carry out a stored plan on a checkpoint",
                               "  streamline apply models/books-5m --plan smaller/streamline/plan.json --out again\n",
                               declare};
  return command;
}

}  // namespace streamline::cli

// SPDX-License-Identifier: Apache-2.0
// `streamline plan merge`: plans of one model as a single plan.
#include <memory>

#include "command.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/report/report.h"
#include "streamline/surgery/merge_files.h"

namespace streamline::cli::plan_command {
namespace {

struct Options {
  CommonOptions common;
  std::string action;
  std::vector<std::string> plans;
  std::string out;
  bool overwrite = false;
};

Output run(const Options& options) {
  start_logging(options.common);
  if (options.action != "merge")
    fail(ErrorKind::usage, "streamline plan ", options.action, ": no such action; there is merge");
  if (options.plans.size() < 2) fail(ErrorKind::usage, "streamline plan merge: name two plans or more");
  const Plan plan = merge_plan_files(options.plans, options.out, options.overwrite ? Overwrite::yes : Overwrite::no);
  Json json = {{"run", run_record(command_line(), 0)},
               {"output", options.out},
               {"summary", summary(plan)},
               {"plan", to_json(plan)}};
  return {std::move(json), options.out + ": " + summary(plan) + "\n"};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add("ACTION", options->action, "merge: a plan that cuts what any of the plans cuts", {.required = true});
  arguments.add("PLANS", options->plans, "two plans or more of one model, or results that have one in streamline/");
  arguments.add("--out", options->out,
                "file of the new plan, NAME.json; trained weights go beside it as NAME.safetensors, masks of single "
                "weights as NAME.masks.safetensors",
                {.required = true});
  arguments.flag("--overwrite", options->overwrite, "replace existing files");
  add_output_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{"plan", "merge plans of one model",
                                "  streamline plan merge attention.json deepest.json --out both.json\n"
                                "  streamline apply MODEL --plan both.json --out DIR\n",
                                declare};
  return declared;
}

}  // namespace streamline::cli::plan_command

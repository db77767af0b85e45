// SPDX-License-Identifier: Apache-2.0
// What an estimate is told, and what of it is printed.
#include <sstream>

#include "estimate.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/report.h"

namespace streamline::cli {

void add_estimate_options(Arguments& arguments, EstimateOptions& options, CommonOptions& common) {
  arguments.add("--estimate", options.command,
                "also what a run of this command would take here: seconds, memory, disk; measures for a few seconds",
                {.choices = {"score", "prune", "heal"}});
  Arguments told = arguments.group("What that run is told");
  add_data_options(told, options.data, DataNeed::optional);
  told.add("--cut", options.cut, "layers in the window", {.limits = kPositive});
  told.add("--start", options.start, "its first layer; default: near the end", {.limits = kNonNegative});
  told.add("--replace", options.replacement, "what is trained in its place");
  told.add("--tokens", options.tokens, "tokens to train on", {.limits = kPositive});
  told.add("--epochs", options.epochs, "times over them", {.limits = kPositive});
  told.add("--validation", options.validation_sequences, "sequences held out", {.limits = kPositive});
  told.add("--eval-windows", options.evaluation_windows, "windows of the perplexities", {.limits = kPositive});
  told.flag("--eval", options.evaluates, "of heal: perplexity is measured before and after");
  told.flag("--no-speed", options.no_speed, "of prune: speed is not measured");
  add_machine_options(told, common);
  add_memory_option(told, common);
}

std::string estimate_text(const Json& estimate) {
  std::vector<std::vector<std::string>> rows = {{"stage", "time", "memory"}};
  for (const Json& stage : estimate["stages"])
    rows.push_back({stage["name"].get<std::string>(), format_seconds(stage["seconds"].get<double>()),
                    format_bytes(stage["memory"].get<std::uint64_t>())});
  rows.push_back({"all", format_seconds(estimate["seconds"].get<double>()),
                  format_bytes(estimate["memory"].get<std::uint64_t>())});
  std::ostringstream text;
  text << "A run of " << estimate["command"].get<std::string>() << " on this machine, about ("
       << counted(estimate["measured"]["threads"].get<std::int64_t>(), "thread") << ", "
       << estimate["measured"]["dtype"].get<std::string>() << ")\n"
       << format_table(rows) << "beside " << format_bytes(estimate["mapped"].get<std::uint64_t>())
       << " of mapped weights; " << format_bytes(estimate["disk"].get<std::uint64_t>()) << " are written, "
       << format_bytes(estimate["temporary_disk"].get<std::uint64_t>()) << " for the time of the run\n";
  return text.str();
}

}  // namespace streamline::cli

// SPDX-License-Identifier: Apache-2.0
#include "heal_run.h"

#include <sstream>

#include "streamline/base/log.h"

namespace streamline::cli::heal_command {

void measure(Run& run, const char* name, const Model& model) {
  add_measured(run.report, run.opened, run.measured, name, model);
}

HealOptions heal_options(const Run& run, const std::string& trained) {
  const Options& options = run.options;
  HealOptions heal = options.tuning.heal;
  heal.seed = options.common.seed;
  heal.batch_tokens = options.sequences_per_step * run.report["training"]["seq_len"].get<std::int64_t>();
  if (!options.state.empty()) {
    std::filesystem::create_directories(options.state);
    heal.state_file = std::filesystem::path(options.state) / (trained + ".safetensors");
  }
  if (ranks().first()) heal.log = json_lines(options.log);
  return heal;
}

ApplyOptions apply_options(const Run& run, const std::string& body) {
  const Options& options = run.options;
  ApplyOptions apply = changed_options({options.model, options.max_shard_size, options.overwrite}, run.report, body);
  apply.provenance["training"] = run.report["training"];
  return apply;
}

void tell_if_nothing_learnt(Run& run, const HealResult& result) {
  if (result.last().best_step > 0) return;
  const std::string sentence =
      "nothing was learnt: after no step the held-out text was likelier than before the training, and the model is as "
      "it was; try a smaller --learning-rate, or more --tokens";
  log_warning(sentence);
  run.report["warnings"].push_back(sentence);
}

std::string card_end(const Run& run) {
  std::ostringstream text;
  if (run.measured.given) {
    const auto value = [&](int row) { return run.report["models"][row]["perplexity"]["value"].get<double>(); };
    text.precision(4);
    text << "\nPerplexity on " << run.report["models"][0]["perplexity"]["text"]["source"].get<std::string>() << ": "
         << value(0) << " before, " << value(1) << " after.\n";
  }
  return text.str() + card_recipe(run.report);
}

}  // namespace streamline::cli::heal_command

// SPDX-License-Identifier: Apache-2.0
#include "heal_run.h"

#include "streamline/base/perplexity_text.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/train_state.h"

namespace streamline::cli::heal_command {

void measure(Run& run, const char* name, const Model& model) {
  add_measured(run.report, run.opened, run.measured, name, model);
}

HealOptions heal_options(const Run& run, const std::string& trained) {
  const Options& options = run.options;
  HealOptions heal = options.tuning.heal;
  heal.seed = options.common.seed;
  heal.batch_tokens = options.sequences_per_step * longest_sequence(run.text.training);
  if (!options.state.empty()) {
    std::filesystem::create_directories(options.state);
    heal.state_file = std::filesystem::path(options.state) / (trained + ".safetensors");
  }
  if (ranks().first()) heal.log = json_lines(options.log);
  return heal;
}

void check_state(const HealOptions& heal, const Json& key) {
  if (!heal.state_file.empty() && ranks().first()) static_cast<void>(load_progress(heal.state_file, key));
}

ApplyOptions apply_options(const Run& run, const std::string& body) {
  const Options& options = run.options;
  ApplyOptions apply = changed_options({options.model, options.max_shard_size, options.overwrite}, run.report, body);
  apply.provenance["training"] = run.report["training"];
  return apply;
}

void tell_if_nothing_learnt(Run& run, const HealResult& result) {
  const std::string sentence = nothing_learnt(result, "try a smaller --learning-rate, or more --tokens");
  if (!sentence.empty()) warn(run.report, sentence);
}

std::string card_end(const Run& run) {
  std::string text;
  if (run.measured.given) {
    const Json &before = run.report["models"][0]["perplexity"], &after = run.report["models"][1]["perplexity"];
    text = "\nPerplexity on " + before["text"]["source"].get<std::string>() + ": " +
           perplexity_text(before).value_or("-") + " before, " + perplexity_text(after).value_or("-") + " after (" +
           (before["standard_error"].is_null() ? "" : "± one standard error; ") + windows_text(before) + ").\n";
  }
  return text + card_recipe(run.report);
}

}  // namespace streamline::cli::heal_command

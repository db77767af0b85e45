// SPDX-License-Identifier: Apache-2.0
#include "heal_run.h"

#include <sstream>

namespace streamline::cli::heal_command {

void measure(Run& run, const char* name, const Model& model) {
  Json row = {{"name", name},
              {"layers", model.layer_count()},
              {"parameters", model.parameters()},
              {"bytes", model.weight_bytes()}};
  if (!run.options.evaluation.empty()) {
    const PerplexityResult result = perplexity(model, run.evaluation, run.perplexity, run.opened.tokenizer->bos());
    row["perplexity"] = to_json(result, run.perplexity, run.evaluation);
  }
  run.report["models"].push_back(std::move(row));
}

HealOptions heal_options(const Run& run, const std::string& trained) {
  const Options& options = run.options;
  HealOptions heal = options.tuning.heal;
  heal.seed = options.common.seed;
  heal.batch_tokens = options.sequences_per_step * run.report["training"]["seq_len"].get<std::int64_t>();
  if (!options.memory.empty()) heal.memory = parse_size(options.memory);
  if (!options.state.empty()) {
    std::filesystem::create_directories(options.state);
    heal.state_file = std::filesystem::path(options.state) / (trained + ".safetensors");
  }
  heal.log = json_lines(options.log);
  return heal;
}

ApplyOptions apply_options(const Run& run, const std::string& body) {
  ApplyOptions apply;
  apply.max_shard_size = parse_size(run.options.max_shard_size);
  apply.overwrite = run.options.overwrite ? Overwrite::yes : Overwrite::no;
  apply.provenance = run.report["run"];
  apply.provenance["source"] = run.options.model;
  apply.provenance["training"] = run.report["training"];
  apply.card_body = body;
  apply.repeatable = false;
  return apply;
}

Plan plan_of_all(const Model& model) {
  Plan plan{.base = {.layers = model.layer_count(), .digest = model.checkpoint().digest()}};
  plan.segments = {{.first = 0, .last = model.layer_count() - 1}};
  plan.method = {.name = "heal"};
  return plan;
}

std::string card_end(const Run& run) {
  std::ostringstream text;
  if (!run.options.evaluation.empty())
    text << "\nPerplexity on " << run.report["models"][0]["perplexity"]["text"]["source"] << ": "
         << run.report["models"][0]["perplexity"]["value"] << " before, "
         << run.report["models"][1]["perplexity"]["value"] << " after.\n";
  text << "\n## Recipe\n\n```\n";
  for (const Json& word : run.report["run"]["command"]) text << word.get<std::string>() << ' ';
  text << "\n```\n";
  return text.str();
}

}  // namespace streamline::cli::heal_command

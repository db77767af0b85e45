// SPDX-License-Identifier: Apache-2.0
// Healing as `prune` runs it: options, the candidates of --replace auto, what is refused, what is recorded.
#include "prune_run.h"
#include "rank_group.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/heal/heal_plan.h"
#include "streamline/heal/run_key.h"
#include "streamline/heal/train_state.h"
#include "streamline/prune/unit_search.h"
#include "training.h"

namespace streamline::cli {
namespace {

std::vector<LossStage> losses(const PruneOptions& options) {
  std::vector<LossStage> stages = parse_losses(options.loss, options.loss_split);
  for (LossStage& stage : stages)
    if (stage.loss == Loss::mse && options.mse == "normalised") stage.loss = Loss::normalised_mse;
  return stages;
}

HealOptions heal_options(const PruneOptions& options) {
  HealOptions heal = options.heal;
  heal.seed = options.common.seed;
  heal.losses = losses(options);
  if (!options.start.empty()) heal.start = parse_start(options.start);
  if (!options.cache.empty())
    heal.cache = {.directory = options.cache,
                  .limit = parse_size(options.cache_limit),
                  .dtype = resolve_placement("cpu", options.cache_dtype).dtype};
  return heal;
}

// The first sequences of a text, about so many tokens.
TokenBatches beginning(const TokenBatches& text, std::int64_t tokens) {
  TokenBatches part = text;
  std::int64_t taken = 0;
  std::size_t count = 0;
  while (count < text.sequences.size() && taken < tokens)
    taken += static_cast<std::int64_t>(text.sequences[count++].size()) - text.skip_first;
  part.sequences.resize(count);
  return part;
}

// Why what a candidate leaves could not be written; empty where it can, or nothing is to be written.
std::string why_unwritable(const PruneRun& run, const std::string& candidate, const Plan& plan) {
  if (run.options.dry_run) return {};
  try {
    if (candidate != "none") check_replacement(run, candidate);
    check_cut(run, candidate == "none" ? plan : with_networks(plan, parse_replacement(candidate)));
    return {};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    return error.what();
  }
}

void refuse_worse(const PruneRun& run, const HealedPlanWindow& window) {
  if (!worse_than_nothing(window.result)) return;
  const HealStage& stage = window.result.last();
  const std::string verdict = "'" + run.replacement + "' in place of layers " + std::to_string(window.first) + ".." +
                              std::to_string(window.first + window.count - 1) + " has a loss (" +
                              std::string(loss_name(stage.loss)) + ") of " + general(stage.best, 3) +
                              " on held-out text, doing nothing " + general(stage.nothing, 3);
  if (!run.options.accept_worse)
    fail(ErrorKind::gate, verdict,
         ": refused, nothing was written; train on more --tokens, choose another --replace, or pass --accept-worse");
  log_warning(verdict);
}

}  // namespace

void check_state(const PruneRun& run) {
  const PruneOptions& options = run.options;
  if (options.state.empty() || !ranks().first()) return;
  const Model& model = run.opened.model;
  run.memory.check(search_of_model(model, options.method, options.common.seed));
  if (!run.heals()) return;
  if (run.training.sequences.empty() || run.replacement == "auto")
    return check_train_states(options.state, run_of_model(kHealing, model, options.common.seed));
  const ReplacementChoice choice = parse_replacement(run.replacement);
  const HealPlanOptions heal{.heal = heal_options(options), .state_directory = options.state};
  if (run.proposal.plan.segments.empty())
    check_train_states(options.state, healing_key(model, choice, run.training, run.validation, heal.heal));
  else
    check_states(model, run.proposal.plan, choice, run.training, run.validation, heal);
}

void choose_replacement(PruneRun& run) {
  const PruneOptions& options = run.options;
  run.proposal = propose(run, "none");  // for the scores, which all candidates share
  std::vector<Candidate> candidates;
  for (const std::string& name : options.candidates) {
    const Plan plan = propose(run, name).plan;
    candidates.push_back({name, plan, why_unwritable(run, name, plan)});
  }
  const auto results =
      try_candidates(run.opened.model, candidates, beginning(run.training, options.candidate_tokens), run.validation,
                     heal_options(options), run.evaluation, run.perplexity, run.opened.tokenizer->bos());
  const CandidateResult& best = results[best_candidate(results)];
  run.replacement = best.name;
  Json records = Json::array();
  for (const CandidateResult& result : results) records.push_back(to_json(result));
  run.report["candidates"] = {{"tokens", options.candidate_tokens}, {"chosen", best.name}, {"results", records}};
  log_info("of the candidates '" + best.name + "' gives the smallest perplexity, " + perplexity_text(best.perplexity));
}

void heal(PruneRun& run) {
  HealPlanOptions options{.heal = heal_options(run.options), .state_directory = run.options.state};
  if (ranks().first()) options.heal.log = json_lines(run.options.log);
  if (!options.state_directory.empty()) std::filesystem::create_directories(options.state_directory);
  HealedPlan healed = heal_plan(run.opened.model, run.proposal.plan, parse_replacement(run.replacement), run.training,
                                run.validation, options);
  Json records = Json::array();
  for (const HealedPlanWindow& window : healed.windows) {
    Json record = {{"replacement", run.replacement}, {"loss", losses_name(options.heal.losses)}};
    record.update(to_json(window));
    record["refused"] = worse_than_nothing(window.result) && !run.options.accept_worse;
    records.push_back(std::move(record));
  }
  run.report["healing"] = std::move(records);
  for (const HealedPlanWindow& window : healed.windows) refuse_worse(run, window);
  run.plan = std::move(healed.plan);
  run.replacements = std::move(healed.replacements);
}

}  // namespace streamline::cli

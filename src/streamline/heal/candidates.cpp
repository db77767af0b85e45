// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/candidates.h"

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

Model candidate_model(const Model& source, const Candidate& candidate, const TokenBatches& training,
                      const TokenBatches& validation, const HealOptions& options, CandidateResult& result) {
  if (candidate.name == "none") return source.view(candidate.plan, {});
  HealedPlan healed =
      heal_plan(source, candidate.plan, parse_replacement(candidate.name), training, validation, {.heal = options});
  result.windows = std::move(healed.windows);
  return source.view(healed.plan, healed.replacements);
}

}  // namespace

std::vector<CandidateResult> try_candidates(const Model& source, const std::vector<Candidate>& candidates,
                                            const TokenBatches& training, const TokenBatches& validation,
                                            const HealOptions& options, const EvaluationText& text,
                                            const PerplexityOptions& perplexity_options, std::optional<TokenId> bos) {
  std::vector<CandidateResult> results;
  for (const Candidate& candidate : candidates) {
    const Stopwatch clock;
    CandidateResult result{.name = candidate.name};
    try {
      if (!candidate.refused.empty()) fail(ErrorKind::unsupported, candidate.refused);
      const Model model = candidate_model(source, candidate, training, validation, options, result);
      result.perplexity = perplexity(model, text, perplexity_options, bos).value;
      result.parameters = model.parameters();
      log_info("candidate '" + candidate.name + "': perplexity " + perplexity_text(result.perplexity));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::unsupported) throw;
      result.refused = error.what();
      log_info("candidate '" + candidate.name + "' does not apply: " + result.refused);
    }
    result.seconds = clock.seconds();
    results.push_back(std::move(result));
  }
  return results;
}

std::size_t best_candidate(const std::vector<CandidateResult>& results) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < results.size(); ++i)
    if (results[i].refused.empty() && (!best || results[i].perplexity < results[*best].perplexity)) best = i;
  if (!best)
    fail(ErrorKind::unsupported, "none of the candidates applies to this model",
         results.empty() ? "" : "; '" + results.front().name + "': " + results.front().refused);
  return *best;
}

Json to_json(const CandidateResult& result) {
  Json json = {{"name", result.name}};
  if (!result.refused.empty()) {
    json["refused"] = result.refused;
    return json;
  }
  json["perplexity"] = result.perplexity;
  json["parameters"] = result.parameters;
  json["seconds"] = result.seconds;
  json["windows"] = Json::array();
  for (const HealedPlanWindow& window : result.windows) json["windows"].push_back(to_json(window));
  return json;
}

}  // namespace streamline

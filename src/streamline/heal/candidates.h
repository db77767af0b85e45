// SPDX-License-Identifier: Apache-2.0
// Which replacement to take for a model: each is trained on a small budget, and what counts is the perplexity of the
// model that it would give.
#pragma once

#include "streamline/eval/perplexity.h"
#include "streamline/heal/heal_plan.h"

namespace streamline {

struct Candidate {
  std::string name;          // as parse_replacement() takes it, or "none"
  Plan plan;                 // what the method proposes for it
  std::string refused = {};  // why its result could not be written, so that it is not tried
};

struct CandidateResult {
  std::string name = {};
  double perplexity = 0;
  std::int64_t parameters = 0;  // of the model
  double seconds = 0;
  std::string refused = {};  // why it does not apply to this model; the rest is empty then
  std::vector<HealedPlanWindow> windows = {};
};

// In the order of `candidates`. A candidate that this model does not support is not an error.
std::vector<CandidateResult> try_candidates(const Model& source, const std::vector<Candidate>& candidates,
                                            const TokenBatches& training, const TokenBatches& validation,
                                            const HealOptions& options, const EvaluationText& text,
                                            const PerplexityOptions& perplexity_options, std::optional<TokenId> bos);

// The index of the smallest perplexity. Errors: unsupported when none applies.
std::size_t best_candidate(const std::vector<CandidateResult>& results);

Json to_json(const CandidateResult& result);

}  // namespace streamline

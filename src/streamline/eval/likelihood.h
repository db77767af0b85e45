// SPDX-License-Identifier: Apache-2.0
// Log likelihoods of continuations: what multiple choice is scored by. What several sequences begin with is computed
// once, no position is padded, and of the head only the rows that are asked for.
#pragma once

#include <string>
#include <vector>

#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

// Sequences that belong together, as the choices of a question do.
struct LikelihoodRequest {
  struct Sequence {
    std::vector<TokenId> tokens;  // two or more
    std::size_t scored_from = 1;  // index of the first token that is scored; 1 … tokens.size() - 1
  };
  std::vector<Sequence> sequences;
};

struct Likelihood {
  double log_likelihood = 0;  // of the scored tokens, summed, nats
  bool greedy = true;         // each of them was the model's first choice
};

struct LikelihoodOptions {
  std::int64_t batch_tokens = 0;  // rows that run together; 0: default_batch_tokens()
  bool share = true;              // compute common beginnings once; without it each sequence runs by itself
  std::string label = {};         // of the progress line; empty: none
};

// One result a sequence, in the order of the requests, which the ranks of the model's placement share; neither order
// nor batches change them by more than rounding. Errors: mismatch for ids outside the embedding and sequences longer
// than the model's positions; numeric for a likelihood that is no number (the request is named by its index);
// interrupted.
std::vector<std::vector<Likelihood>> likelihoods(const Model& model, const std::vector<LikelihoodRequest>& requests,
                                                 const LikelihoodOptions& options);

}  // namespace streamline

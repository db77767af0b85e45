// SPDX-License-Identifier: Apache-2.0
// A model's answers to the questions of a benchmark.
#pragma once

#include "streamline/eval/likelihood.h"
#include "streamline/tasks/answers.h"
#include "streamline/tasks/task_set.h"
#include "streamline/text/tokenizer.h"

namespace streamline {

struct TaskScoringOptions {
  std::int64_t batch_tokens = 0;  // 0: default_batch_tokens()
  std::int64_t max_tokens = 0;    // of a question with its answer; 0: the model's positions, or 2048
  bool bos = false;               // BOS in front of every question
  bool progress = false;
};

// A set's items as tokens.
struct TokenizedSet {
  std::vector<LikelihoodRequest> requests;  // one an item, one sequence a choice
  std::int64_t truncated = 0;               // items of which a sequence did not fit
};

// Tokens of a question with its answer that a model may read.
std::int64_t most_tokens(const Model& model, const TaskScoringOptions& options);

// Style::lm_eval, as lm-evaluation-harness has it: context and continuation are tokenised together (spaces at the
// context's end go with the continuation), the continuation's tokens are those beyond the context's own number; an
// empty context becomes BOS (or EOS). Style::opencompass: the whole text, of which all tokens but the first are scored.
// What is too long loses its beginning.
//
// Errors: mismatch for a continuation of no tokens, and for one that does not fit by itself.
TokenizedSet tokenize(const TaskSet& set, const Tokenizer& tokenizer, std::int64_t max_tokens, bool bos);

// Errors: those of tokenize() and likelihoods().
TaskAnswers answer(const Model& model, const Tokenizer& tokenizer, const TaskSet& set,
                   const TaskScoringOptions& options);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The loop that every training goes through, whatever it trains: stages of one loss each, optimizer steps through
// shuffled text, validation, the best weights kept, and a state from which an interrupted run goes on to the same bits.
#pragma once

#include "streamline/heal/heal_memory.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/trainer.h"

namespace streamline {

// What is trained, and how it is judged. Losses are means over all that is judged.
struct Trainee {
  std::vector<torch::Tensor> parameters;  // those that learn
  // Adds to each parameter's gradient that of the loss over these training sequences, and returns that loss. Steps
  // count from 1; the random choices of one (dropout) depend on its number alone.
  std::function<double(Loss loss, std::int64_t step, const Indices& sequences)> add_gradient;
  // Over the validation text; `of_nothing`: as if there was nothing trained.
  std::function<double(Loss loss, bool of_nothing)> validation_error;
  // All that the result is made of, as a copy on the CPU, and back.
  std::function<std::vector<torch::Tensor>()> snapshot;
  std::function<void(const std::vector<torch::Tensor>&)> restore;
  // Whether a stage that begins like this has nothing to train.
  std::function<bool(const HealStage& stage)> is_solved;
  // Who share the work. All have the same parameters and draw the same sequences; add_gradient and validation_error
  // share these out and bring together what they found. The first saves the state, which the others must find too.
  Ranks ranks = {};
};

// Adds up the gradients that ranks have of their parts of a step; of one that had no part they are zeros.
void sum_gradients(const Ranks& ranks, const std::vector<torch::Tensor>& parameters);

// Sets the tokens of a micro-batch: those of the state that the run goes on from, since sums and what is dropped depend
// on them; else as many as fit, fewer where ranks share a step. `run` as for train(). Errors: those of
// fitting_micro_batch(), and those of a state that cannot be taken up.
void set_micro_batch(Pace& pace, const HealMemory& use, const TokenBatches& training, const HealOptions& options,
                     const Json& run);

// Errors: unsupported for a model in float16, resource without text, mismatch for ids outside the vocabulary.
void check_trainable(const Model& model, const TokenBatches& training, const TokenBatches& validation);

// Trains until the last stage ends, and leaves the best weights of that stage in the trainee; the curves go into
// `result`. `prepare` is called before the first stage, unless a saved state is taken up. `run`: key of all that
// decides the result (state_key.h), by which a saved state is known. Errors: numeric when a loss is not finite (naming
// the step), mismatch for a state of another run.
void train(const Trainee& trainee, const TokenBatches& training, const Pace& pace, const Rng& rng,
           const HealOptions& options, const Json& run, const std::function<void()>& prepare, HealResult& result);

}  // namespace streamline

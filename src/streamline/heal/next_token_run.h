// SPDX-License-Identifier: Apache-2.0
// What trainings of a few parameters of a model for the next token have in common, whatever the parameters are.
#pragma once

#include "streamline/heal/training_run.h"

namespace streamline {

// Trains `parameters` in place: gradients from add_gradient(step, sequences), judged by validation_error(of_nothing).
Trainee trainee_of(const std::vector<torch::Tensor>& parameters,
                   std::function<double(std::int64_t step, const Indices& sequences)> add_gradient,
                   std::function<double(bool of_nothing)> validation_error);

// So many steps as a share of all, at most a tenth.
double warmup_share(std::int64_t warmup_steps, std::int64_t steps);

// Tokens of the sequences that have one before them.
double predicted_tokens(const TokenBatches& batches, const Indices& sequences);

// What decides such a run beside what is trained.
Json tuned_run(const Model& model, const TokenBatches& training, const TokenBatches& validation,
               const HealOptions& heal, std::int64_t warmup_steps);

}  // namespace streamline

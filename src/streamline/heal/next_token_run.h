// SPDX-License-Identifier: Apache-2.0
// What trainings of a few parameters of a model for the next token have in common, whatever the parameters are.
#pragma once

#include "streamline/heal/training_run.h"

namespace streamline {

// Trains `parameters` in place, the same on all ranks: gradients from add_gradient(step, sequences), judged by
// validation_error(of_nothing).
Trainee trainee_of(const Ranks& ranks, const std::vector<torch::Tensor>& parameters,
                   std::function<double(std::int64_t step, const Indices& sequences)> add_gradient,
                   std::function<double(bool of_nothing)> validation_error);

// The options of such a run: its loss, and so many warm-up steps as a share of all, at most a tenth.
HealOptions next_token_options(HealOptions heal, std::int64_t warmup_steps, std::int64_t steps);

// Tokens of the sequences that have one before them.
double predicted_tokens(const TokenBatches& batches, const Indices& sequences);

// What a micro-batch adds to a sum: ids [batch, seq] int64, and the micro-batch's number in its step, from 1.
using MicroBatchLoss = std::function<double(const torch::Tensor& ids, std::int64_t number)>;
// The mean over predicted_tokens() of what `loss` sums up of each micro-batch, which ranks share.
double mean_loss(const TokenBatches& batches, const Indices& sequences, std::int64_t micro_batch_tokens,
                 const Placement& placement, const MicroBatchLoss& loss);
// The gradients of that mean, from those that each rank has of its sums.
void finish_gradients(const Ranks& ranks, const std::vector<torch::Tensor>& parameters, double predicted_tokens);

// What decides such a run, `work` (run_key.h), beside what is trained.
Json tuned_run(std::string_view work, const Model& model, const TokenBatches& training, const TokenBatches& validation,
               const HealOptions& heal, std::int64_t warmup_steps);

}  // namespace streamline

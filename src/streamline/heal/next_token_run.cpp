// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/next_token_run.h"

#include <algorithm>

#include "streamline/base/log.h"
#include "streamline/heal/run_key.h"

namespace streamline {

Trainee trainee_of(const Ranks& ranks, const std::vector<torch::Tensor>& parameters,
                   std::function<double(std::int64_t, const Indices&)> add_gradient,
                   std::function<double(bool)> validation_error) {
  return {
      .parameters = parameters,
      .add_gradient = [add = std::move(add_gradient)](Loss, std::int64_t step,
                                                      const Indices& sequences) { return add(step, sequences); },
      .validation_error = [error = std::move(validation_error)](Loss, bool of_nothing) { return error(of_nothing); },
      .snapshot =
          [parameters] {
            std::vector<torch::Tensor> copy;
            for (const torch::Tensor& parameter : parameters) copy.push_back(parameter.detach().cpu().clone());
            return copy;
          },
      .restore =
          [parameters](const std::vector<torch::Tensor>& values) {
            const torch::NoGradGuard no_grad;
            for (std::size_t i = 0; i < parameters.size(); ++i) torch::Tensor(parameters[i]).copy_(values[i]);
          },
      .is_solved = [](const HealStage&) { return false; },
      .ranks = ranks};
}

HealOptions next_token_options(HealOptions heal, std::int64_t warmup_steps, std::int64_t steps) {
  heal.losses = {{.loss = Loss::next_token}};
  heal.warmup_fraction =
      std::min(0.1, static_cast<double>(warmup_steps) / static_cast<double>(std::max<std::int64_t>(steps, 1)));
  return heal;
}

double predicted_tokens(const TokenBatches& batches, const Indices& sequences) {
  return static_cast<double>(position_count(batches, sequences) - std::ssize(sequences));
}

double mean_loss(const TokenBatches& batches, const Indices& sequences, std::int64_t micro_batch_tokens,
                 const Placement& placement, const MicroBatchLoss& loss) {
  double sum = 0;
  std::int64_t number = 0;
  for (const Indices& group : micro_batches(batches, sequences, micro_batch_tokens)) {
    check_interrupted();
    if (placement.ranks.takes(number++)) sum += loss(to_tensor(batches, group, placement.device), number);
  }
  return placement.ranks.sum(sum) / predicted_tokens(batches, sequences);
}

void finish_gradients(const Ranks& ranks, const std::vector<torch::Tensor>& parameters, double predicted_tokens) {
  for (const torch::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
    parameter.mutable_grad().div_(predicted_tokens);
  }
  sum_gradients(ranks, parameters);
}

Json tuned_run(std::string_view work, const Model& model, const TokenBatches& training, const TokenBatches& validation,
               const HealOptions& heal, std::int64_t warmup_steps) {
  Json key = run_of_model(work, model, heal.seed);
  key.update({{"layers", {model.layer_count(), heal.view_digest}},
              {"text", {text_digest(training), text_digest(validation)}},
              {"learning rate", {heal.learning_rate, heal.minimum_learning_rate, warmup_steps}},
              {"optimizer", {heal.weight_decay, heal.beta1, heal.beta2, heal.clip}},
              {"epochs and batches",
               {heal.epochs, heal.batch_tokens, heal.micro_batch_tokens, heal.validate_every, heal.patience}}});
  return key;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/sherl_tuning.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/engine/tail.h"
#include "streamline/heal/next_token_run.h"
#include "streamline/heal/objective.h"
#include "streamline/heal/run_key.h"

namespace streamline {
namespace {

// What the early layers leave behind: the features and the stream in front of the late route.
struct EarlyStates {
  std::vector<torch::Tensor> features;
  torch::Tensor stream;
};

EarlyStates run_early(const Model& model, const SherlAdapter& adapter, const torch::Tensor& ids) {
  const torch::NoGradGuard no_gradients;
  EarlyStates states{.features = {}, .stream = model.embed(ids)};
  const Positions positions = rope_positions(model.config(), 0, ids.size(1), model.placement().device);
  for (std::int64_t layer = 0;; ++layer) {
    if (std::ranges::find(adapter.features, layer) != adapter.features.end()) states.features.push_back(states.stream);
    if (layer == adapter.at) return states;
    states.stream = block_forward(model.config(), model.layer(layer), states.stream, positions);
  }
}

// What the layers that went would have made of the stream that enters the late route.
torch::Tensor written_by_removed(const SherlTuningOptions& options, torch::Tensor stream) {
  const torch::NoGradGuard no_gradients;
  const Model& original = *options.original;
  const Positions positions = rope_positions(original.config(), 0, stream.size(1), original.placement().device);
  for (std::int64_t i = 0; i < options.removed.count; ++i)
    stream = block_forward(original.config(), original.layer(options.removed.first + i), stream, positions);
  return stream;
}

class SherlTuning {
 public:
  SherlTuning(const Model& model, const TokenBatches& training, const TokenBatches& validation,
              const SherlTuningOptions& options)
      : model_(model),
        training_(training),
        validation_(validation),
        options_(options),
        pace_(pace_of(training, validation, kSherlRate, options.heal)),
        rng_(options.heal.seed),
        adapter_(initial_sherl(model, options.sherl, rng_)),
        late_(model, adapter_.at) {
    run_ = sherl_key(model, training, validation, options);
    set_micro_batch(pace_,
                    {.model = model,
                     .window = {.first = adapter_.at, .count = 0},
                     .shape = {},
                     .networks = 0,
                     .longest = longest_sequence(training),
                     .on_logits = !on_states(),
                     .beside = static_cast<std::uint64_t>(kTrainedBytes * adapter_.parameters())},
                    training, options.heal, run_);
    for (torch::Tensor* tensor : adapter_.tensors())
      *tensor = tensor->to(model.placement().device).requires_grad_(true);
  }

  SherlTuned run() {
    SherlTuned tuned;
    tuned.result.trained_parameters = adapter_.parameters();
    const Trainee trainee = trainee_of(
        model_.placement().ranks, parameters(),
        [&](std::int64_t, const Indices& sequences) { return add_gradient(sequences); },
        [&](bool of_nothing) { return validation_error(of_nothing); });
    HealOptions heal = next_token_options(options_.heal, options_.warmup_steps, pace_.steps);
    if (on_states()) heal.losses = {{.loss = Loss::state}};
    train(
        trainee, training_, pace_, rng_, heal, run_, [] {}, tuned.result);
    for (torch::Tensor* tensor : adapter_.tensors()) *tensor = tensor->detach().cpu();
    tuned.adapter = std::move(adapter_);
    return tuned;
  }

 private:
  std::vector<torch::Tensor> parameters() {
    std::vector<torch::Tensor> all;
    for (const torch::Tensor* tensor : adapter_.tensors()) all.push_back(*tensor);
    return all;
  }

  bool on_states() const { return options_.original != nullptr; }

  // What means are taken over: all tokens, or those that have one before them.
  double terms(const TokenBatches& batches, const Indices& sequences) const {
    return on_states() ? static_cast<double>(position_count(batches, sequences)) : predicted_tokens(batches, sequences);
  }

  // Of what enters the late route; `stream` is what enters it where nothing was trained.
  Judgement judge(const torch::Tensor& merged, const torch::Tensor& stream, const torch::Tensor& ids,
                  bool gradient) const {
    if (on_states())
      return state_error(Loss::state, merged, written_by_removed(options_, stream), /*skip_first_position=*/false,
                         gradient);
    TailLoss loss = late_.next_token(merged, ids, gradient);
    return {loss.sum, std::move(loss.gradient)};
  }

  double add_gradient(const Indices& sequences) {
    const double mean = mean_over(training_, sequences, [&](const torch::Tensor& ids, std::int64_t) {
      const EarlyStates early = run_early(model_, adapter_, ids);
      const torch::AutoGradMode with_gradient(true);
      const auto merged = sherl_output(adapter_, early.features, early.stream);
      const Judgement loss = judge(merged.detach(), early.stream, ids, /*gradient=*/true);
      merged.backward(loss.gradient.to(merged.scalar_type()));
      return loss.sum;
    });
    finish_gradients(model_.placement().ranks, parameters(), terms(training_, sequences));
    return mean;
  }

  double validation_error(bool of_nothing) {
    const torch::NoGradGuard no_gradients;
    return mean_over(validation_, all_sequences(validation_), [&](const torch::Tensor& ids, std::int64_t) {
      const EarlyStates early = run_early(model_, adapter_, ids);
      const auto x = of_nothing ? early.stream : sherl_output(adapter_, early.features, early.stream);
      return judge(x, early.stream, ids, /*gradient=*/false).sum;
    });
  }

  double mean_over(const TokenBatches& batches, const Indices& sequences, const MicroBatchLoss& loss) const {
    const double mean = mean_loss(batches, sequences, pace_.micro_batch_tokens, model_.placement(), loss);
    return mean * (predicted_tokens(batches, sequences) / terms(batches, sequences));
  }

  const Model& model_;
  const TokenBatches& training_;
  const TokenBatches& validation_;
  const SherlTuningOptions& options_;
  Pace pace_;
  Rng rng_;
  SherlAdapter adapter_;
  Tail late_;
  Json run_ = {};
};

}  // namespace

Json sherl_key(const Model& model, const TokenBatches& training, const TokenBatches& validation,
               const SherlTuningOptions& options) {
  const SherlOptions& sherl = options.sherl;
  Json key = tuned_run(kSherl, model, training, validation, options.heal, options.warmup_steps);
  key["sherl"] = {sherl.late, sherl.features, sherl.reduction, sherl.feature_norm, sherl.start == SherlStart::paper};
  key["target"] = Json();
  if (options.original != nullptr)
    key["target"] = {options.original->checkpoint().digest(), options.removed.first, options.removed.count};
  return key;
}

SherlTuned tune_sherl(const Model& model, const TokenBatches& training, const TokenBatches& validation,
                      const SherlTuningOptions& options) {
  check_trainable(model, training, validation);
  return translating_errors([&] { return SherlTuning(model, training, validation, options).run(); });
}

}  // namespace streamline

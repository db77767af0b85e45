// SPDX-License-Identifier: Apache-2.0
// Trains a replacement on the hidden states before and after its window (LLM-Streamline section 3.2, MSE loss),
// recomputed on the fly: layers 0 … last run without gradient, the rest never. Memory does not grow with the text.
#pragma once

#include "streamline/base/json.h"
#include "streamline/heal/replacement.h"
#include "streamline/heal/schedule.h"
#include "streamline/text/corpus.h"

namespace streamline {

struct HealOptions {
  double learning_rate = 0;          // 0: the replacement's default
  double minimum_learning_rate = 0;  // at the end of the run
  double warmup_fraction = 0.02;     // of the optimizer steps
  double weight_decay = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double clip = 5.0;  // global L2 norm of the gradient; 0: none
  std::int64_t epochs = 1;
  std::int64_t batch_tokens = 0;        // tokens an optimizer step; 0: chosen so that there are a few hundred steps
  std::int64_t micro_batch_tokens = 0;  // tokens that run together; 0: chosen
  std::int64_t validate_every = 0;      // steps; 0: up to ten times a run, as long as that is cheap
  std::uint64_t seed = 0;
};

struct HealStep {
  std::int64_t step = 0, tokens = 0;                      // optimizer updates and training tokens so far
  double loss = 0, learning_rate = 0, gradient_norm = 0;  // of this step; the norm before clipping
};
struct HealValidation {
  std::int64_t step = 0;
  double mse = 0;
};

struct HealResult {
  LayerWeights weights;  // fp32 on the CPU: the best by validation, copied when it was best
  std::vector<HealStep> steps;
  std::vector<HealValidation> validations;  // the first is that of the initial weights, step 0
  double identity_mse = 0;                  // doing nothing: mean((x - y)^2) over validation tokens and channels
  double initial_mse = 0, best_mse = 0;
  std::int64_t best_step = 0, trained_parameters = 0;
  std::int64_t tokens = 0;  // training tokens that updates were made from, each epoch's counted
  double seconds = 0;
};

// Trains `replacement` for layers first … first+count-1. AdamW, fp32 master weights, compute in the model's type.
// The mean is over batch, tokens and channels of an optimizer step, however it is cut into micro-batches; the last
// step of an epoch may be smaller. Same seed, text and thread count: same weights.
// Errors: numeric when the loss is not finite (naming the step), resource when there is no training or validation text
// or too little memory, usage for options that make no sense.
HealResult heal_window(const Model& model, std::int64_t first, std::int64_t count, const Replacement& replacement,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options);

Json to_json(const HealResult& result);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Trains a replacement: on the hidden states before and after its window (LLM-Streamline section 3.2, MSE loss), or on
// logits through the frozen layers behind it. States are recomputed on the fly or come from a cache; memory does not
// grow with the text.
#pragma once

#include <filesystem>

#include "streamline/base/json.h"
#include "streamline/heal/objective.h"
#include "streamline/heal/replacement.h"
#include "streamline/heal/schedule.h"
#include "streamline/heal/state_cache.h"
#include "streamline/text/corpus.h"

namespace streamline {

struct HealOptions {
  double learning_rate = 0;          // 0: the replacement's default
  double minimum_learning_rate = 0;  // at the end of each stage
  double warmup_fraction = 0.02;     // of the optimizer steps of each stage
  double weight_decay = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double clip = 5.0;  // global L2 norm of the gradient; 0: none
  std::int64_t epochs = 1;
  // Both count positions, BOS among them.
  std::int64_t batch_tokens = 0;        // of an optimizer step; 0: chosen so that there are a few hundred steps
  std::int64_t micro_batch_tokens = 0;  // that run together; 0: chosen, fewer where memory is short
  std::int64_t validate_every = 0;      // steps; 0: up to ten times a run, as long as that is cheap
  std::uint64_t seed = 0;
  std::vector<LossStage> losses = {{}};  // in turn
  double later_rate = 0.25;              // the largest learning rate of later stages, relative to the first's
  ObjectiveOptions objective = {};
  std::optional<Start> start = {};              // empty: the replacement's own
  std::int64_t patience = 0;                    // validations without improvement that end a stage; 0: never
  std::optional<StateCacheOptions> cache = {};  // of the states; empty: they are computed every time
  std::string view_digest = {};                 // of what a view has otherwise than its checkpoint; empty: nothing
  // Where the run's state is saved, so that the same call goes on after an interruption; empty: nowhere. The file
  // stays after the end and then holds the result.
  std::filesystem::path state_file = {};
  double save_every = 60;                     // seconds
  std::function<void(const Json&)> log = {};  // one record a step and a validation
};

struct HealStep {
  std::int64_t step = 0, tokens = 0;                      // optimizer updates and training tokens so far
  double loss = 0, learning_rate = 0, gradient_norm = 0;  // of this step; the norm before clipping
};
struct HealValidation {
  std::int64_t step = 0;
  double error = 0;
};

// A part of the run with one loss. Errors are means of that loss over the validation text.
struct HealStage {
  Loss loss = Loss::mse;
  double nothing = 0;  // with nothing in the window's place: for mse, mean((x - y)^2) over tokens and channels
  double initial = 0, best = 0;
  std::int64_t best_step = 0;
  std::vector<HealStep> steps = {};
  std::vector<HealValidation> validations = {};  // the first is that of the weights that the stage begins with
};

// What least squares gave before the training; present where the start was that.
struct ClosedFormRecord {
  double ridge = 0;  // relative to the mean of the Gram matrix's diagonal; infinite: nothing was better than the start
  double error = 0, start_error = 0;  // mean squared, held out
};

struct HealResult {
  std::vector<LayerWeights> weights = {};  // one network each, fp32 on the CPU: the best of the last stage
  std::vector<HealStage> stages = {};      // at least one
  std::optional<ClosedFormRecord> closed_form = {};
  std::int64_t trained_parameters = 0;
  std::int64_t tokens = 0;  // training tokens that updates were made from, each epoch's counted
  double seconds = 0;       // of all its parts, when it was interrupted

  const HealStage& last() const { return stages.back(); }
};

// Trains `choice` for layers first … first+count-1. AdamW, fp32 master weights, compute in the model's type. A loss's
// mean is over an optimizer step, however it is cut into micro-batches; the last step of an epoch may be smaller. Each
// stage goes on from the best weights of the one before. Same seed, text and thread count: same weights, also after an
// interruption. Ranks of the model's placement share the micro-batches of each step: same weights to rounding.
// Errors: numeric when the loss is not finite (naming the step), resource when there is no training or validation text
// or too little memory, usage for options that make no sense, mismatch for a state file of another run.
HealResult heal_window(const Model& model, std::int64_t first, std::int64_t count, const ReplacementChoice& choice,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options);

Json to_json(const HealResult& result);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// What a prediction of the hidden states behind a window is judged by.
#pragma once

#include "streamline/engine/tail.h"
#include "streamline/heal/loss.h"
#include "streamline/heal/window_states.h"

namespace streamline {

// Sums over a group of sequences; divided by the terms of a whole step they are its loss and its gradient.
struct Judgement {
  double sum = 0;
  torch::Tensor gradient = {};  // with respect to the prediction, fp32 or wider, or the compute type; if wanted
};

// Of states by a loss on states: the sum over elements (mse) or tokens of what it is the mean of. [batch, seq, hidden].
Judgement state_error(Loss loss, const torch::Tensor& prediction, const torch::Tensor& target, bool skip_first_position,
                      bool gradient);

struct ObjectiveOptions {
  bool skip_first_position = false;  // of the errors of states: massive activations live there
  std::int64_t teacher_tokens = 64;  // of the vocabulary that the divergence tells apart
};

class Objective {
 public:
  // `model` is the whole one, whose layers from window.end() on judge logits, and must outlive this.
  Objective(Loss loss, const Model& model, const HealedWindow& window, const ObjectiveOptions& options)
      : loss_(loss), tail_(model, window.end()), options_(options), hidden_(model.config().hidden) {}

  Loss loss() const { return loss_; }
  // What the model itself says after these states, as the divergence needs it.
  TopTokens teacher(const torch::Tensor& output) const { return tail_.top_tokens(output, options_.teacher_tokens); }
  // What a sum over these sequences is divided by: elements for mse, tokens for the others.
  double terms(const TokenBatches& batches, const Indices& sequences) const;
  Judgement judge(const torch::Tensor& prediction, const WindowStates& states, const TokenBatches& batches,
                  const Indices& sequences, bool gradient) const;

 private:
  Loss loss_;
  Tail tail_;
  ObjectiveOptions options_;
  std::int64_t hidden_;
};

}  // namespace streamline

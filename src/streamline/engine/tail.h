// SPDX-License-Identifier: Apache-2.0
// The layers from one on and the head: what a loss on logits runs through, and its gradient back to where they begin.
// Each layer's activations are computed anew on the way back (Chen et al., arXiv 1604.06174), so memory holds one
// layer's, the hidden states between layers, and a block of logits.
#pragma once

#include <functional>

#include "streamline/engine/logit_loss.h"
#include "streamline/engine/model.h"

namespace streamline {

// A sum over tokens, and its gradient with respect to the hidden states asked about (undefined where none was wanted).
struct TailLoss {
  double sum = 0;
  torch::Tensor gradient = {};
};

// Bytes of the head where it is no view of the file, of the logits of as many rows as are held at once, and of what a
// loss on them makes on the way.
std::uint64_t head_memory(const Model& model);

// The weights of layer i in the compute type. Those that want a gradient get it added on the way back.
using LayerSource = std::function<LayerWeights(std::int64_t layer)>;

class Tail {
 public:
  // Layers first … of `model`, which must outlive it.
  Tail(const Model& model, std::int64_t first)
      : Tail(model, first, [&model](std::int64_t layer) { return model.layer(layer); }) {}
  // The same with other weights in its layers.
  Tail(const Model& model, std::int64_t first, LayerSource layers)
      : model_(model), first_(first), layers_(std::move(layers)) {}

  // x, [batch, seq, hidden], enters layer `first`. Sum of the cross entropies of the tokens that follow positions
  // 0 … seq-2, in nats. ids: [batch, seq] int64.
  TailLoss next_token(const torch::Tensor& x, const torch::Tensor& ids, bool gradient) const;
  // Sum over all positions of KL(teacher || model), in nats. Of the vocabulary the teacher's top tokens are told apart
  // and the rest is one event, which makes it a lower bound of the whole divergence, exact for k = vocabulary.
  TailLoss divergence(const torch::Tensor& x, const TopTokens& teacher, bool gradient) const;

  // What this model itself says after hidden states x.
  TopTokens top_tokens(const torch::Tensor& x, std::int64_t k) const;

 private:
  // h_first … h_L, without gradient; only the last where nothing goes back.
  std::vector<torch::Tensor> forward(const torch::Tensor& x, bool keep) const;
  torch::Tensor backward(const std::vector<torch::Tensor>& states, torch::Tensor gradient) const;
  template <class BlockLoss>
  TailLoss through(const torch::Tensor& x, bool gradient, BlockLoss&& block_loss) const;

  const Model& model_;
  std::int64_t first_;
  LayerSource layers_;
};

}  // namespace streamline

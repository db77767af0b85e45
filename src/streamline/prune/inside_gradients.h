// SPDX-License-Identifier: Apache-2.0
// Exact gradients of the loss with respect to what is inside layers, a layer at a time: its activations are computed
// anew on the way back, and its gradients are handed out and let go before the next layer's are made. Ranks share the
// sequences.
#pragma once

#include <functional>

#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

// The weights of a layer and the gradients of what was asked for: of each of its tensors, in the tensor's place, or of
// its gates (ones). fp64, zeros where the loss does not depend on one.
struct LayerGradients {
  const LayerWeights& weights;
  const LayerWeights& tensors;              // empty where the gates' were asked for
  torch::Tensor heads = {}, channels = {};  // of the gates: [kv_heads]; [intermediate] or [experts, intermediate]
};
enum class GradientOf { weights, gates };

// Gradients of the mean loss of the tokens that follow positions 0 … seq-2 of ids, [batch, seq] int64; layers come last
// to first, and all ranks see all of them. Returns that loss. A few sequences run together whatever the number of
// ranks, so that the sums of their gradients differ by the order of the fp64 sums alone. Memory: hidden states of all
// layers of this rank's text, one layer, its gradients and their sums.
double inside_gradients(const Model& model, const torch::Tensor& ids, GradientOf what,
                        const std::function<void(std::int64_t layer, const LayerGradients&)>& visit);

// Gates of ones for a layer, in the type and on the device of its weights; undefined for halves it lacks.
Gates unit_gates(const LayerConfig& layer, const torch::TensorOptions& options);

// The first sequences of one length, at most so many, each cut to at most `length` tokens: [batch, seq] int64. Errors:
// resource where there is none of two tokens.
torch::Tensor first_sequences(const TokenBatches& text, std::int64_t count, std::int64_t length, torch::Device device);

}  // namespace streamline

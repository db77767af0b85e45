// SPDX-License-Identifier: Apache-2.0
// The parts that the residual stream passes through one behind the other, whole layers or their halves, and text on its
// way through them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "streamline/engine/layer_states.h"
#include "streamline/engine/memory.h"
#include "streamline/text/corpus.h"

namespace streamline {

// A layer of a model, or one of its halves with that half's own norm.
struct StackPart {
  std::int64_t layer = 0;
  bool attention = true, mlp = true;

  bool is_layer() const { return attention && mlp; }
  bool operator==(const StackPart&) const = default;
};
std::string name(const StackPart& part);  // "L12", "A12", "M7"

std::vector<StackPart> layer_parts(const Model& model);
// All halves of the model in the order in which they are computed. Errors: unsupported for layers whose halves are not
// one behind the other (parallel halves, norms after the sums).
std::vector<StackPart> half_parts(const Model& model);

// The weights of one part in the compute type.
LayerWeights part_weights(const Model& model, const StackPart& part);

// Sequences of one length that run together.
struct TextBatch {
  std::vector<std::int64_t> sequences;  // indices into the text's
  torch::Tensor ids;                    // [sequences, tokens], on the model's device
  Positions positions;

  LayerStates::Shape shape() const { return {.sequences = ids.size(0), .tokens = ids.size(1)}; }
};
// Sequences that predict nothing, shorter than two tokens, are left out. batch_tokens: 0: default_batch_tokens(), for
// one who keeps this of a batch. Errors: resource when no sequence is left, and those of check_sweep_memory().
std::vector<TextBatch> text_batches(const Model& model, const TokenBatches& text, std::int64_t batch_tokens,
                                    Keeps keeps = Keeps::nothing);

// Mean negative log likelihood of the tokens 1 … T-1 of each row of `last`, [k * sequences, tokens, hidden] after the
// last layer: the batch's sequences k times over. NaN where a logit is none.
std::vector<double> sequence_losses(const Model& model, const TextBatch& batch, const torch::Tensor& last);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The streaming pass: batches of sequences go through the layers under a visitor's eyes; nothing is kept but what the
// visitor keeps, so memory does not grow with the number of sequences. Where the weights do not fit into memory, each
// layer sees all batches before the next layer is read; the states between them lie in a temporary file.
#pragma once

#include <functional>
#include <span>

#include "streamline/engine/memory.h"
#include "streamline/text/corpus.h"

namespace streamline {

// Sequences of equal length that run together.
struct SweepBatch {
  std::vector<std::int64_t> sequences;  // indices into TokenBatches::sequences
  torch::Tensor ids;                    // [batch, seq] int64, on the model's device
  std::int64_t skip_first = 0;          // leading positions that enter no statistic
};

struct LayerStep {
  std::int64_t layer;
  const torch::Tensor& input;   // [batch, seq, hidden], h_layer
  const torch::Tensor& output;  // h_{layer+1}
  const LayerWeights& weights;
  const torch::Tensor& middle;  // the stream between the layer's halves; undefined unless SweepVisitor::middle
};

// Any of these may be empty. Of each batch the layers come in order, and of each layer the batches: which of the two
// runs faster depends on SweepOrder, so what belongs to a batch is kept by batch.
struct SweepVisitor {
  std::function<void(const SweepBatch&, const torch::Tensor& embedded)> begin = {};  // h_0
  std::function<void(const SweepBatch&, const LayerStep&)> layer = {};
  std::function<void(const SweepBatch&, const torch::Tensor& last)> end = {};  // h_L, before the final norm
  // All hidden states of a batch, h_0 … h_L, after its end. They are kept until then.
  std::function<void(const SweepBatch&, std::span<const torch::Tensor> states)> states = {};
  // What the matrices of the halves read, as InnerTap has it, while a layer runs (before `layer` is called of it).
  std::function<void(const SweepBatch&, std::int64_t layer, Role role, std::int64_t expert, const torch::Tensor& inner)>
      inner = {};
  bool middle = false;  // whether steps have LayerStep::middle, which costs a copy of the stream
};

enum class SweepOrder {
  automatic,  // by batches where the weights stay in memory
  batches,    // a batch through all layers, then the next batch
  layers,     // all batches through a layer, then the next layer: weights are read once
};

struct SweepOptions {
  std::int64_t batch_tokens = 0;  // tokens that run together; 0: default_batch_tokens()
  std::string label = {};         // of the progress line; empty: none
  bool beyond_positions = false;  // allow sequences longer than the model's positions
  SweepOrder order = SweepOrder::automatic;
  // Each of the placement's ranks runs a part of the batches, and its visitor sees that alone: what it finds must be
  // brought together afterwards. Batches are those of one process, so that each gives the same bits.
  bool shared = false;
};

// No gradients. Order of sequences is kept except that batches hold sequences of one length. Errors: mismatch for token
// ids outside the embedding and sequences longer than the model's positions; resource; interrupted.
void sweep(const Model& model, const TokenBatches& batches, const SweepOptions& options, const SweepVisitor& visitor);

// Indices of sequences of one length, cut into what runs together; lengths in the order of their first sequence. Empty
// sequences are left out.
std::vector<std::vector<std::int64_t>> batches_of_one_length(const TokenBatches& batches, std::int64_t batch_tokens);

// [sequences, seq] int64; all of one length.
torch::Tensor to_tensor(const TokenBatches& batches, const std::vector<std::int64_t>& sequences, torch::Device device);

}  // namespace streamline

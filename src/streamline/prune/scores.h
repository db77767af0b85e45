// SPDX-License-Identifier: Apache-2.0
// What one sweep says of every layer and every window of layers. Formulas and JSON: docs/scores.md.
#pragma once

#include "streamline/engine/sweep.h"
#include "streamline/prune/update_statistics.h"

namespace streamline {

struct LayerNorms {
  double mean = 0;                 // of the token norms of h_i
  double largest_over_median = 0;  // largest token norm / median token norm, the mean over sequences
};

// Square matrices over hidden states 0 … L, row-major, (L+1) * (L+1).
struct Scores {
  std::int64_t layers = 0;
  std::vector<double> cosine;       // mean over sequences of the mean over tokens of cos(h_i, h_j); 0 where a norm is 0
  std::vector<double> relative_l2;  // the same of |h_j - h_i| / |h_i|, i < j
  // The same of the angular distance arccos(cos(h_i, h_j)) / pi, symmetric: of each sequence's last token (Gromov et
  // al., arXiv 2403.17887, eq. 7), and of all tokens. 1/2 where a norm is 0.
  std::vector<double> angular_last, angular_all;
  std::vector<LayerNorms> states;  // of h_0 … h_L
  // The same of what each layer does to the residual stream, and of what its halves do where each can be dropped by
  // itself: from the stream that enters a half to the stream with what it adds. Empty without a model.
  std::vector<UpdateStatistics> layer_updates = {};
  std::vector<std::optional<UpdateStatistics>> attention_updates = {}, mlp_updates = {};
  // Mean cosine of h_{L-1} and the final norm of h_L, what code reads that takes a framework's last hidden state for
  // h_L. Absent where no final norm was seen.
  std::optional<double> normed_last_cosine = {};
  std::int64_t sequences = 0, tokens = 0;
  std::string calibration_digest;

  double window_cosine(std::int64_t start, std::int64_t count) const {
    return cosine[static_cast<std::size_t>(start * (layers + 1) + start + count)];
  }
  double window_relative_l2(std::int64_t start, std::int64_t count) const {
    return relative_l2[static_cast<std::size_t>(start * (layers + 1) + start + count)];
  }
  double block_influence(std::int64_t layer) const { return 1 - window_cosine(layer, 1); }  // ShortGPT, eq. 1
};

// Whether scores tell the halves of such a layer apart, each of which can be dropped by itself.
bool has_scored_halves(const LayerConfig& layer);

// Scores of a model that nothing is known of yet: updates of 0 of what has any, all else empty. A choice among them
// fails for what is wrong with its size before a text is read.
Scores unmeasured_updates(const Config& config);

// LLM-Streamline (arXiv 2403.19135) eq. for cos, of all windows of all lengths in one sweep; h_L before the final norm.
// fp32 inside a token, double across. The states of one batch are kept until its end.
// The batches are shared among the placement's ranks.
// Errors: resource when there are no tokens; numeric when a hidden state is NaN or infinite, naming the layer.
Scores score_layers(const Model& model, const TokenBatches& batches, const SweepOptions& options);

// The same from hidden states that are already there: h_0 … h_L of one sequence a call, each [tokens, hidden], and
// h_L after the final norm where that is there too.
class ScoreAccumulator {
 public:
  explicit ScoreAccumulator(std::int64_t layers);
  void add(std::span<const torch::Tensor> states, const torch::Tensor& normed = {});
  // Sequences through one layer: what enters it, is between its halves, and leaves it, [batch, tokens, hidden] each.
  // Of every layer before add() of those sequences, or of none.
  void add_layer(const LayerConfig& layer, std::int64_t index, const torch::Tensor& in, const torch::Tensor& middle,
                 const torch::Tensor& out);
  // Adds what the other ranks have, each of its own sequences.
  void sum_over(const Ranks& ranks);
  Scores finish() const;  // errors: resource when nothing was added

 private:
  Scores sums_;
};

// Layers where massive activations (Sun et al., arXiv 2402.17762) are born: the largest token norm of their output is
// at least 10 times the median, and that ratio at least 5 times what it was in every state before.
std::vector<std::int64_t> massive_activation_layers(const Scores& scores);

struct Window {
  std::int64_t start = 0, count = 0;
  double cosine = 0;

  std::int64_t last() const { return start + count - 1; }
};
// All starts of one length, best first, ties to the earliest. `protect`: layers that must not be cut.
// Errors: usage when count is not in 1 … layers, or nothing is left to choose from.
std::vector<Window> ranked_windows(const Scores& scores, std::int64_t count, const std::vector<std::int64_t>& protect);

Json to_json(const Scores& scores);

}  // namespace streamline

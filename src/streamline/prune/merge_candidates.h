// SPDX-License-Identifier: Apache-2.0
// A model some of whose layers are merged, and how like the whole model's its output is. A candidate runs from the
// first layer that it changes: what is below is kept. Ranks take sentences in turn.
#pragma once

#include <map>

#include "streamline/engine/model.h"
#include "streamline/prune/layer_merge.h"
#include "streamline/text/corpus.h"

namespace streamline {

// Cosine of the hidden states after the final norm, of a sentence: of all its states as one vector, the mean of its
// tokens', or its last token's. The mean over sentences.
enum class OutputLikeness { flattened, tokens, last_token };
double output_likeness(const torch::Tensor& a, const torch::Tensor& b, OutputLikeness kind);  // [tokens, hidden] each

struct MergeOptions {
  MergeRule rule = MergeRule::telescoped;
  MergeNorms norms = MergeNorms::first;
  OutputLikeness likeness = OutputLikeness::flattened;
  std::int64_t sentences = 10, sentence_tokens = 64;  // of the text, from its beginning
};

class MergeCandidates {
 public:
  // Errors: resource when there is no text.
  MergeCandidates(const Model& model, const TokenBatches& text, const MergeOptions& options);

  std::int64_t source_layers() const { return model_.layer_count(); }
  std::int64_t layers() const { return std::ssize(groups_); }  // as they are now
  void reset();                                                // to the whole model
  // Of the output with the layers base … base + followers of the stack as it is now merged. Known ones cost nothing.
  double likeness(std::int64_t base, std::int64_t followers);
  void fold(std::int64_t base, std::int64_t followers);  // afterwards only bases up to this one are asked for

  std::pair<Plan, Replacements> plan() const;
  // Forward passes of one layer through one sentence, of this rank.
  std::int64_t layers_run() const { return layers_run_; }

 private:
  // Layers first … last of the source; merged ones have weights.
  struct Group {
    std::int64_t first = 0, last = 0;
    std::optional<LayerWeights> weights = {};
  };
  LayerWeights weights(const Group& group) const;
  Group folded(std::int64_t base, std::int64_t followers) const;
  torch::Tensor run(std::size_t sentence, const LayerWeights& layer, const torch::Tensor& x);

  const Model& model_;
  MergeOptions options_;
  std::size_t sentences_ = 0;           // of all ranks; what follows is of this one's alone
  std::vector<std::size_t> own_;        // which of all they are
  std::vector<torch::Tensor> outputs_;  // [1, tokens, hidden] of the whole model, normed
  std::vector<Positions> positions_;
  // [sentence][i]: what enters layer i of the whole model; of the merged one the same up to the lowest fold.
  std::vector<std::vector<torch::Tensor>> states_;
  std::int64_t valid_ = 0;  // the highest such i
  std::vector<Group> groups_;
  std::vector<std::int64_t> folds_;                    // base and followers of each since reset()
  std::map<std::vector<std::int64_t>, double> known_;  // by these and the candidate's
  std::int64_t layers_run_ = 0;
};

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// How much each part changes the stream, again and again as parts of the model go: what lies before the first part that
// changed is not computed again.
#pragma once

#include "streamline/base/params.h"
#include "streamline/prune/part_sets.h"
#include "streamline/prune/prefix_states.h"
#include "streamline/prune/update_statistics.h"

namespace streamline {

// The scores of one sweep by name, of what a part does to the stream; the lowest go first.
using PartScore = std::function<double(const UpdateStatistics&)>;
// cosine (1 - cosine of the states before and after), angular, l1, l2, relative-l1, relative-l2; `in`: what the
// relative ones divide by, the norm of the state before, else that after.
PartScore part_score(const std::string& name, bool in);
Param part_score_param(const std::string& name, const std::string& default_score);
// Of a method whose parameter of this name chooses the score.
Param relative_to_param(const std::string& score_param);

struct RescoringOptions {
  std::int64_t batch_tokens = 0;  // 0: default_batch_tokens()
  PrefixLimits prefixes = {};     // of what enters the parts of all batches, which is kept between runs
};

class Rescoring {
 public:
  // The model, the text and the counter must live as long. Errors: those of text_batches().
  Rescoring(const Model& model, const std::vector<StackPart>& stack, const TokenBatches& text,
            const RescoringOptions& options, PartCounter& counter);

  // Runs the model of these parts. Only what lies behind the first part that differs from the last run is computed
  // again, from the nearest states before it that are kept. Errors: numeric where states are no numbers; those of
  // ScratchFile.
  void run(const PartSet& parts);
  // Of the last run; means over all tokens but leading ones that enter no statistic (BOS).
  const UpdateStatistics& update(std::size_t part) const { return updates_[part]; }

 private:
  void run(const PartSet& parts, std::size_t from, std::size_t batch);
  double scored_tokens(const TextBatch& text) const;
  torch::Tensor scored(const torch::Tensor& x) const;

  const Model& model_;
  std::vector<StackPart> stack_;
  PartCounter& counter_;
  std::vector<TextBatch> batches_;
  std::int64_t skip_first_ = 0;
  double tokens_ = 0;
  PartSet last_ = {};
  PrefixStates entering_;
  std::vector<UpdateStatistics> updates_;
};

}  // namespace streamline

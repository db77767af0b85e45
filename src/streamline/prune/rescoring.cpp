// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/rescoring.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/prune/update_pairs.h"

namespace streamline {

PartScore part_score(const std::string& name, bool in) {
  if (name == "cosine") return [](const UpdateStatistics& update) { return 1 - update.cosine; };
  if (name == "angular") return [](const UpdateStatistics& update) { return update.angle; };
  if (name == "l1") return [](const UpdateStatistics& update) { return update.l1; };
  if (name == "l2") return [](const UpdateStatistics& update) { return update.l2; };
  if (name == "relative-l1")
    return [in](const UpdateStatistics& update) { return in ? update.relative_l1_in : update.relative_l1_out; };
  SL_ASSERT(name == "relative-l2");
  return [in](const UpdateStatistics& update) { return in ? update.relative_l2_in : update.relative_l2_out; };
}

Param part_score_param(const std::string& name, const std::string& default_score) {
  return {.name = name,
          .type = ParamType::text,
          .help =
              "of what a part adds to the residual stream: cosine (1 - cosine of the states before and after), "
              "angular (their angle), its norm (l1, l2), or its norm over theirs (relative-l1, relative-l2)",
          .default_value = default_score,
          .choices = {"cosine", "angular", "l1", "l2", "relative-l1", "relative-l2"}};
}

Param relative_to_param(const std::string& score_param) {
  return {.name = "relative-to",
          .type = ParamType::text,
          .help = "the norm that the relative metrics divide by: of the state after (out) or before (in)",
          .default_value = "out",
          .choices = {"out", "in"},
          .goes_with = {{score_param, {"relative-l1", "relative-l2"}}}};
}

Rescoring::Rescoring(const Model& model, const std::vector<StackPart>& stack, const TokenBatches& text,
                     const RescoringOptions& options, PartCounter& counter)
    : model_(model),
      stack_(stack),
      counter_(counter),
      batches_(text_batches(model, text, options.batch_tokens)),
      skip_first_(text.skip_first),
      entering_(model, stack.size(), options.prefixes),
      updates_(stack.size()) {
  std::vector<LayerStates::Shape> own;  // of this rank
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    tokens_ += scored_tokens(batches_[i]);
    const bool mine = model.placement().ranks.takes(static_cast<std::int64_t>(i));
    own.push_back(mine ? batches_[i].shape() : LayerStates::Shape{});
  }
  entering_.begin(own);
}

double Rescoring::scored_tokens(const TextBatch& text) const {
  return static_cast<double>(text.ids.size(0) * (text.ids.size(1) - skip_first_));
}

// [batch, seq, hidden] -> [tokens, hidden]
torch::Tensor Rescoring::scored(const torch::Tensor& x) const { return x.slice(1, skip_first_).flatten(0, 1); }

void Rescoring::run(const PartSet& parts) {
  SL_ASSERT(parts.size() == stack_.size());
  const torch::NoGradGuard no_gradients;
  const std::size_t from = last_.empty() ? 0 : common_beginning(last_, parts);
  for (std::size_t i = from; i < updates_.size(); ++i) updates_[i] = {};
  const Ranks& ranks = model_.placement().ranks;
  const PartCounter before = std::exchange(counter_, {});
  translating_errors([&] {
    for (std::size_t batch = 0; batch < batches_.size(); ++batch)
      if (ranks.takes(static_cast<std::int64_t>(batch))) run(parts, from, batch);
  });
  sum_updates(ranks, std::span(updates_).subspan(std::min(from, updates_.size())));
  const PartCounter own = std::exchange(counter_, before);
  add_counts(ranks, own, counter_);
  for (std::size_t i = from; i < updates_.size(); ++i) {
    updates_[i] /= tokens_;
    if (!std::isfinite(updates_[i].l1) || !std::isfinite(updates_[i].cosine))
      fail(ErrorKind::numeric, "what ", name(stack_[i]), " adds to the stream is NaN or infinite; try --dtype float32");
  }
  last_ = parts;
}

void Rescoring::run(const PartSet& parts, std::size_t from, std::size_t batch) {
  const TextBatch& text = batches_[batch];
  if (from == stack_.size()) return;
  const std::size_t start = entering_.nearest(from);
  torch::Tensor x = start > 0 ? entering_.get(batch, start) : model_.embed(text.ids);
  for (std::size_t i = start; i < stack_.size(); ++i) {
    if (i > start) entering_.put(batch, i, x);
    if (!parts[i]) continue;
    check_interrupted();
    const torch::Tensor after = block_forward(model_.config(), part_weights(model_, stack_[i]), x, text.positions);
    counter_.parts += std::ssize(text.sequences);
    if (i >= from) {
      UpdateStatistics update = update_statistics(scored(x), scored(after));
      updates_[i] += (update *= scored_tokens(text));
    }
    x = after;
  }
  entering_.rest(batch);
}

}  // namespace streamline

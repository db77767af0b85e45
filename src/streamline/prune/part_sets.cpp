// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/part_sets.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline {
namespace {

constexpr double kNotANumber = std::numeric_limits<double>::infinity();

// A way through the tree: what the last set computed stays as long as the next one begins alike.
class TreeWalk {
 public:
  TreeWalk(const Model& model, std::span<const StackPart> stack, const TextBatch& batch, PrefixStates& entering,
           PartCounter& counter)
      : model_(model),
        stack_(stack),
        batch_(batch),
        counter_(counter),
        embedded_(model.embed(batch.ids)),
        entering_(entering) {
    entering_.begin({batch.shape()});
  }

  // The states after the last part of the set, [sequences, tokens, hidden]; to be read before the next set's.
  const torch::Tensor& last(const PartSet& set) {
    if (previous_ == set) return last_;
    const std::size_t from = previous_ ? entering_.nearest(common_beginning(*previous_, set)) : 0;
    torch::Tensor x = from > 0 ? entering_.get(0, from) : embedded_;
    for (std::size_t i = from; i < stack_.size(); ++i) {
      if (i > from) entering_.put(0, i, x);
      if (!set[i]) continue;
      check_interrupted();
      x = block_forward(model_.config(), part_weights(model_, stack_[i]), x, batch_.positions);
      counter_.parts += std::ssize(batch_.sequences);
    }
    previous_ = set;
    return last_ = x;
  }

 private:
  const Model& model_;
  std::span<const StackPart> stack_;
  const TextBatch& batch_;
  PartCounter& counter_;
  std::optional<PartSet> previous_;
  torch::Tensor embedded_, last_;
  PrefixStates& entering_;  // the stream before each part of the previous set
};

// Sets that begin alike one behind the other, the whole model first.
std::vector<std::size_t> tree_order(std::span<const PartSet> sets) {
  std::vector<std::size_t> order(sets.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return sets[b] < sets[a]; });
  return order;
}

}  // namespace

std::size_t common_beginning(const PartSet& a, const PartSet& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

std::vector<double> part_set_values(const Model& model, std::span<const StackPart> stack, std::span<const PartSet> sets,
                                    std::span<const TextBatch> text, const PartSetOptions& options,
                                    PartCounter& counter) {
  const torch::NoGradGuard no_gradients;
  for (const PartSet& set : sets) SL_ASSERT(set.size() == stack.size());
  return translating_errors([&] {
    const std::vector<std::size_t> order = tree_order(sets);
    const bool compares = options.measure != TextMeasure::loss;
    std::optional<Progress> progress;
    if (!options.label.empty()) progress.emplace(options.label, std::ssize(text) * std::ssize(sets), "evaluations");
    const Ranks& ranks = model.placement().ranks;
    PartCounter own;  // of this rank's batches
    std::vector<double> sums(sets.size(), 0.0);
    std::int64_t sequences = 0, part = 0;
    PrefixStates entering(model, stack.size(), options.prefixes);
    for (const TextBatch& batch : text) {
      sequences += std::ssize(batch.sequences);
      if (!ranks.takes(part++)) continue;
      TreeWalk walk(model, stack, batch, entering, own);
      // Of all parts, so that it lies in memory of its own.
      const torch::Tensor whole = compares ? walk.last(PartSet(stack.size(), true)) : torch::Tensor();
      for (const std::size_t i : order) {
        const torch::Tensor last = walk.last(sets[i]);
        own.evaluations += std::ssize(batch.sequences);
        for (const double value : measure(model, options.measure, batch, whole, last)) sums[i] += value;
        if (progress) progress->advance(ranks.size());
      }
    }
    ranks.sum(sums);
    add_counts(ranks, own, counter);
    for (double& sum : sums) sum = std::isfinite(sum) ? sum / static_cast<double>(sequences) : kNotANumber;
    return sums;
  });
}

}  // namespace streamline

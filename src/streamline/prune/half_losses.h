// SPDX-License-Identifier: Apache-2.0
// What a model loses without one of its halves, for every half at once: candidates of one round share the activations
// before what they leave out.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "streamline/prune/prefix_states.h"
#include "streamline/text/corpus.h"

namespace streamline {

// The attention or the MLP of a layer, with its own norm.
struct Half {
  std::int64_t layer = 0;
  bool attention = true;

  bool operator==(const Half&) const = default;
};
std::string name(const Half& half);  // "A12", "M7"

// All halves of the model in the order in which they are computed. Errors: unsupported for layers whose halves are not
// one behind the other (parallel halves, norms after the sums).
std::vector<Half> all_halves(const Model& model);

// Work that was done, in halves over one batch of sequences.
struct HalfCounter {
  std::int64_t halves = 0;       // executed, those again whose states were not kept
  std::int64_t evaluations = 0;  // candidates whose text was read to its end or until they were hopeless
};

struct HalfLossOptions {
  std::int64_t batch_tokens = 0;  // 0: default_batch_tokens()
  bool stop_early = false;        // costs one more pass; pays where some candidates are far worse than the best
  std::string label = {};         // of the progress line
  PrefixLimits prefixes = {};     // of what enters the halves of a batch
};

// Mean over sequences of the mean negative log likelihood of tokens 1 … T-1 (BlockPruner, arXiv 2406.10594, algorithm
// 1): of the model of `active` halves, and without each of `candidates`, which are among them. With stop_early, a
// candidate that is certain not to have the lowest loss is given up: its loss is then +infinity. So is one that is not
// a number. Errors: numeric when the loss of every candidate is none.
struct HalfLosses {
  double whole = 0;
  std::vector<double> without;  // one a candidate
};
HalfLosses half_losses(const Model& model, std::span<const Half> active, std::span<const Half> candidates,
                       const TokenBatches& batches, const HalfLossOptions& options, HalfCounter& counter);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The score of a merged model in a sweep over coefficients, and how sure a difference between two of them is.
#pragma once

#include <optional>
#include <vector>

#include "streamline/eval/perplexity.h"

namespace streamline {

// One model on the texts of a sweep.
struct SweepFigures {
  std::vector<PerplexityResult> targets = {};
  std::optional<PerplexityResult> control = {};

  std::int64_t windows() const;  // of the text that has the fewest
};

// What merged models are held against.
struct SweepScore {
  double weight = 2;                          // of the targets beside a control
  std::vector<PerplexityResult> tuned = {};   // each target by the model that was tuned for it
  std::optional<PerplexityResult> base = {};  // the control by the base

  // weight * mean over targets of P(tuned) / P + P(base) / P on the control, P being perplexities; without a control
  // the mean alone.
  double of(const SweepFigures& figures) const;
  // of(first) - of(second), with the standard error that the same windows of all models give (delta method, texts
  // independent of each other); without an error where a text has one window.
  Estimate difference(const SweepFigures& first, const SweepFigures& second) const;
};

}  // namespace streamline

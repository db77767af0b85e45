// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/window_states.h"

#include "streamline/base/error.h"

namespace streamline {

WindowStates window_states(const Model& body, const HealedWindow& window, const TokenBatches& batches,
                           const Indices& sequences) {
  TokenBatches part;
  for (const std::int64_t i : sequences) part.sequences.push_back(batches.sequences[static_cast<std::size_t>(i)]);
  const auto length = static_cast<std::int64_t>(part.sequences.front().size());
  const auto tokens = length * static_cast<std::int64_t>(sequences.size());
  WindowStates states;
  SweepVisitor visitor;
  // Copies: the sweep may reuse the memory of a state once its layer is done.
  visitor.layer = [&](const SweepBatch&, const LayerStep& step) {
    if (step.layer == window.begin()) states.input = step.input.clone();
    if (step.layer == window.first) states.nothing = window.before > 0 ? step.input.clone() : states.input;
  };
  visitor.end = [&](const SweepBatch&, const torch::Tensor& last) { states.output = last.clone(); };
  sweep(body, part, {.batch_tokens = tokens, .label = {}, .beyond_positions = true}, visitor);
  SL_ASSERT(states.input.defined() && states.output.size(0) == static_cast<std::int64_t>(sequences.size()));
  return states;
}

StateSource recomputed_states(const Model& body, const HealedWindow& window) {
  return [&body, window](const TokenBatches& batches, const Indices& sequences) {
    return window_states(body, window, batches, sequences);
  };
}

}  // namespace streamline

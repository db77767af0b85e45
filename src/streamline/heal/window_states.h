// SPDX-License-Identifier: Apache-2.0
// The hidden states around a window, which a replacement reads and aims at.
#pragma once

#include "streamline/engine/sweep.h"
#include "streamline/engine/tail.h"

namespace streamline {

using Indices = std::vector<std::int64_t>;  // of sequences

// Layers first … first+count-1 of a model, which a replacement stands in for. It may take in a few more layers before
// them (Replacement::before).
struct HealedWindow {
  std::int64_t first = 0, count = 0;
  std::int64_t before = 0;

  std::int64_t begin() const { return first - before; }  // the first layer that the replacement stands for
  std::int64_t end() const { return first + count; }
};

// Of some sequences of one length, [batch, seq, hidden] in the compute type.
struct WindowStates {
  torch::Tensor input;         // h_begin: what the replacement reads
  torch::Tensor output;        // h_end: what it should give
  torch::Tensor nothing = {};  // h_first: what would be there with nothing in the window's place
  TopTokens teacher = {};      // what the model says after `output`, where the source of the states knows it

  std::int64_t tokens() const { return input.size(0) * input.size(1); }
};

// `body` is the model truncated after the window. All sequences have one length. Nothing is kept.
WindowStates window_states(const Model& body, const HealedWindow& window, const TokenBatches& batches,
                           const Indices& sequences);

// Where a run takes its states from: computed anew, or from a cache (state_cache.h).
using StateSource = std::function<WindowStates(const TokenBatches& batches, const Indices& sequences)>;
StateSource recomputed_states(const Model& body, const HealedWindow& window);

}  // namespace streamline

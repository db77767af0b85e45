// SPDX-License-Identifier: Apache-2.0
// The memory that healing takes, and the micro-batch that fits into it.
#pragma once

#include "streamline/engine/model.h"
#include "streamline/heal/window_states.h"

namespace streamline {

struct HealMemory {
  const Model& model;
  HealedWindow window;
  LayerConfig shape;  // of each network
  std::int64_t networks = 1;
  std::int64_t longest = 0;  // tokens of the longest sequence
  bool on_logits = false;    // a loss runs through the layers behind the window
  std::uint64_t beside = 0;  // bytes of what else is held while it lasts
};

// Of a parameter that learns beside the model's weights: its master weight, gradient, two moments and the best copy.
constexpr std::int64_t kTrainedBytes = 20;

// Bytes above the mapped weights, with so many tokens in a micro-batch.
std::uint64_t heal_memory(const HealMemory& use, std::int64_t micro_batch_tokens);

// `wanted`, or, unless it is `fixed`, the largest half, quarter … of it that fits into working_memory(), but at least a
// sequence; of ranks, the least that one of them can. `state`: the file of a run that began with `wanted`, which keeps
// it; memory that is merely short at the moment is warned of then. Errors: resource when a new run does not fit, or one
// that goes on is given a limit that it does not fit into.
std::int64_t fitting_micro_batch(const HealMemory& use, std::int64_t wanted, bool fixed, const std::string& state);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// What tells one training run from another: keys of their states (base/state_key.h), more of which is known step by
// step.
#pragma once

#include <string_view>

#include "streamline/heal/trainer.h"

namespace streamline {

// What is known with the model. `work`: what is trained, and the version of the form of its state, "healing 1".
Json run_of_model(std::string_view work, const Model& model, std::uint64_t seed);

inline constexpr std::string_view kHealing = "healing 1", kAdapters = "adapters 1", kSherl = "sherl 1";

// Of heal_window(), without a plan: all but where the window lies and what the layers around it are.
Json healing_key(const Model& model, const ReplacementChoice& choice, const TokenBatches& training,
                 const TokenBatches& validation, const HealOptions& options);
// All of it.
Json healing_key(const Model& model, const HealedWindow& window, const ReplacementChoice& choice,
                 const TokenBatches& training, const TokenBatches& validation, const HealOptions& options);

}  // namespace streamline

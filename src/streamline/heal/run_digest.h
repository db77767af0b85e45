// SPDX-License-Identifier: Apache-2.0
// What tells one training run from another.
#pragma once

#include "streamline/heal/trainer.h"

namespace streamline {

// Digest of everything that decides the weights that come out.
std::string run_digest(const Model& model, const HealedWindow& window, const ReplacementChoice& choice, Start start,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options);

}  // namespace streamline

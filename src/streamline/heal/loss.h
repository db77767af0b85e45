// SPDX-License-Identifier: Apache-2.0
// What a replacement is trained for, as a user names it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace streamline {

enum class Loss {
  mse,             // mean (ŷ - y)² over batch, tokens and channels (LLM-Streamline, section 3.2)
  normalised_mse,  // mean over tokens of |ŷ - y|² / |y|²: no token outweighs the others by its size
  state,           // mean over tokens of |ŷ - y|² / |y|² + 1 - cos(ŷ, y): size and direction
  next_token,      // cross entropy of the next token, in nats
  divergence,      // KL(source model || cut model) of the next token, in nats
};

// One part of a run; shares of all stages add up to 1.
struct LossStage {
  Loss loss = Loss::mse;
  double share = 1;  // of the run's optimizer steps

  bool operator==(const LossStage&) const = default;
};

std::string_view loss_name(Loss loss);  // "mse", "normalised-mse", "state", "lm", "kl"
// The loss of this name. Errors: usage, listing those of replacements.
Loss parse_loss(std::string_view name);
// What a replacement is trained for: "mse", "normalised-mse", "lm", "kl", or two of them, as in "mse+kl", of which the
// first takes the share `split`. Errors: usage, also for "state", which only SHERL's adapter is trained for.
std::vector<LossStage> parse_losses(std::string_view text, double split);
std::string losses_name(const std::vector<LossStage>& stages);  // "mse+kl"

}  // namespace streamline

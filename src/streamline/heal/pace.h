// SPDX-License-Identifier: Apache-2.0
// How a healing run goes through its text: optimizer steps, micro-batches, when to validate.
#pragma once

#include <vector>

#include "streamline/heal/trainer.h"
#include "streamline/heal/window_states.h"

namespace streamline {

struct Pace {
  std::int64_t sequences = 0, sequences_per_step = 0;
  std::int64_t steps_per_epoch = 0, steps = 0;  // the last step of an epoch takes what is left
  std::int64_t micro_batch_tokens = 0, validate_every = 0;
  double learning_rate = 0;  // the largest of the first stage
};

// `default_rate`: of the replacement, where the options give none.
Pace pace_of(const TokenBatches& training, const TokenBatches& validation, double default_rate,
             const HealOptions& options);

// Makes micro-batches small enough that a step has one for each of so many ranks, as far as it has sequences.
void share_micro_batches(Pace& pace, const TokenBatches& training, const Ranks& ranks);

Indices all_sequences(const TokenBatches& batches);  // 0, 1, …
// Groups of equal length and at most `positions` positions (but at least one sequence), shorter ones first.
std::vector<Indices> micro_batches(const TokenBatches& batches, Indices sequences, std::int64_t positions);

std::int64_t token_count(const TokenBatches& batches, const Indices& sequences);     // of the text, without BOS
std::int64_t position_count(const TokenBatches& batches, const Indices& sequences);  // BOS among them
// SHA-256 of the ids and of where sequences end.
std::string text_digest(const TokenBatches& batches);
std::int64_t longest_sequence(const TokenBatches& batches);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/pace.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/digest.h"

namespace streamline {
namespace {

constexpr std::int64_t kSteps = 300;              // aimed at: enough for AdamW to settle, measured in docs/healing.md
constexpr std::int64_t kMaxBatchTokens = 262144;  // 128 sequences of 2048, as LLM-Streamline's release
constexpr std::int64_t kMicroBatchTokens = 2048;  // enough to keep matrix products busy
constexpr std::int64_t kLooks = 10;               // validations a run, at most
constexpr double kLookingShare = 0.15;            // positions validated a position trained, at most

std::int64_t length(const TokenBatches& batches, std::int64_t sequence) {
  return static_cast<std::int64_t>(batches.sequences[static_cast<std::size_t>(sequence)].size());
}

std::int64_t default_interval(std::int64_t steps, std::int64_t trained, std::int64_t validated) {
  const double affordable =
      kLookingShare * static_cast<double>(trained) / static_cast<double>(std::max<std::int64_t>(validated, 1));
  const auto looks = static_cast<std::int64_t>(std::clamp(affordable, 1.0, static_cast<double>(kLooks)));
  return (steps + looks - 1) / looks;
}

}  // namespace

Indices all_sequences(const TokenBatches& batches) {
  Indices all(batches.sequences.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  return all;
}

std::int64_t token_count(const TokenBatches& batches, const Indices& sequences) {
  return position_count(batches, sequences) - batches.skip_first * std::ssize(sequences);
}

std::int64_t position_count(const TokenBatches& batches, const Indices& sequences) {
  std::int64_t count = 0;
  for (const std::int64_t i : sequences) count += length(batches, i);
  return count;
}

std::string text_digest(const TokenBatches& batches) {
  Sha256 digest;
  for (const auto& sequence : batches.sequences) {
    const auto length = static_cast<std::uint64_t>(sequence.size());
    digest.update(std::as_bytes(std::span(&length, 1)));
    digest.update(std::as_bytes(std::span(sequence)));
  }
  return digest.hex();
}

std::int64_t longest_sequence(const TokenBatches& batches) {
  std::size_t longest = 0;
  for (const auto& sequence : batches.sequences) longest = std::max(longest, sequence.size());
  return static_cast<std::int64_t>(longest);
}

std::vector<Indices> micro_batches(const TokenBatches& batches, Indices sequences, std::int64_t positions) {
  std::ranges::stable_sort(sequences, {}, [&](std::int64_t i) { return length(batches, i); });
  std::vector<Indices> groups;
  for (const std::int64_t i : sequences) {
    const std::int64_t each = length(batches, i);
    const bool joins = !groups.empty() && length(batches, groups.back().front()) == each &&
                       static_cast<std::int64_t>(groups.back().size() + 1) * each <= positions;
    if (!joins) groups.emplace_back();
    groups.back().push_back(i);
  }
  return groups;
}

void share_micro_batches(Pace& pace, const TokenBatches& training, const Ranks& ranks) {
  if (ranks.alone()) return;
  const std::int64_t positions = training.positions() * pace.sequences_per_step / pace.sequences;
  pace.micro_batch_tokens =
      std::min(pace.micro_batch_tokens, std::max(longest_sequence(training), positions / ranks.size()));
}

Pace pace_of(const TokenBatches& training, const TokenBatches& validation, double default_rate,
             const HealOptions& options) {
  Pace pace;
  pace.sequences = static_cast<std::int64_t>(training.sequences.size());
  const std::int64_t positions = training.positions();  // BOS is computed as well
  const std::int64_t chosen = std::min(kMaxBatchTokens, positions * options.epochs / kSteps);
  const std::int64_t batch_tokens = options.batch_tokens > 0 ? options.batch_tokens : chosen;
  pace.sequences_per_step = std::clamp<std::int64_t>(batch_tokens * pace.sequences / positions, 1, pace.sequences);
  pace.steps_per_epoch = (pace.sequences + pace.sequences_per_step - 1) / pace.sequences_per_step;
  pace.steps = pace.steps_per_epoch * options.epochs;
  pace.micro_batch_tokens = options.micro_batch_tokens > 0 ? options.micro_batch_tokens : kMicroBatchTokens;
  pace.validate_every = options.validate_every > 0
                            ? options.validate_every
                            : default_interval(pace.steps, positions * options.epochs, validation.positions());
  pace.learning_rate = options.learning_rate > 0 ? options.learning_rate : default_rate;
  return pace;
}

}  // namespace streamline

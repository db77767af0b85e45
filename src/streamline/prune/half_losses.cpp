// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/half_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/nn/block.h"
#include "streamline/prune/stack_parts.h"

namespace streamline {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

StackPart part_of(const Half& half) {
  return {.layer = half.layer, .attention = half.attention, .mlp = !half.attention};
}

// One round: losses are filled batch by batch.
class Round {
 public:
  Round(const Model& model, std::span<const Half> active, std::span<const Half> candidates,
        std::span<const TextBatch> batches, HalfCounter& counter)
      : model_(model), active_(active), candidates_(candidates), counter_(counter) {
    for (const TextBatch& batch : batches) sequences_ += std::ssize(batch.sequences);
    losses_.without.assign(candidates.size(), 0.0);
  }

  // Runs all active halves and keeps what enters each.
  void run_whole(const TextBatch& batch) {
    entering_.clear();
    torch::Tensor x = model_.embed(batch.ids);
    for (const Half& half : active_) {
      entering_.push_back(x);
      x = run(half, x, batch);
    }
    losses_.whole += loss(x, batch);
  }

  void run_candidate(std::size_t candidate, const TextBatch& batch) {
    const auto at = static_cast<std::size_t>(std::ranges::find(active_, candidates_[candidate]) - active_.begin());
    SL_ASSERT(at < active_.size());
    torch::Tensor x = entering_[at];
    for (std::size_t i = at + 1; i < active_.size(); ++i) x = run(active_[i], x, batch);
    add(losses_.without[candidate], x, batch);
  }

  // The first candidate by itself, without what others could share.
  void run_first(const TextBatch& batch) {
    torch::Tensor x = model_.embed(batch.ids);
    for (const Half& half : active_)
      if (half != candidates_.front()) x = run(half, x, batch);
    add(losses_.without.front(), x, batch);
  }

  HalfLosses& losses() { return losses_; }

 private:
  void add(double& sum, const torch::Tensor& last, const TextBatch& batch) const {
    sum += loss(last, batch);
    if (std::isnan(sum)) sum = kNever;
  }

  torch::Tensor run(const Half& half, const torch::Tensor& x, const TextBatch& batch) {
    check_interrupted();
    ++counter_.halves;
    return block_forward(model_.config(), part_weights(model_, part_of(half)), x, batch.positions);
  }

  // The batch's share of the mean over all sequences.
  double loss(const torch::Tensor& last, const TextBatch& batch) const {
    const std::vector<double> losses = sequence_losses(model_, batch, last);
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(sequences_);
  }

  const Model& model_;
  std::span<const Half> active_, candidates_;
  HalfCounter& counter_;
  std::int64_t sequences_ = 0;
  std::vector<torch::Tensor> entering_;  // the input of each active half, of the batch at hand
  HalfLosses losses_;
};

}  // namespace

std::string name(const Half& half) { return name(part_of(half)); }

std::vector<Half> all_halves(const Model& model) {
  std::vector<Half> halves;
  for (const StackPart& part : half_parts(model)) halves.push_back({part.layer, part.attention});
  return halves;
}

HalfLosses half_losses(const Model& model, std::span<const Half> active, std::span<const Half> candidates,
                       const TokenBatches& text, const HalfLossOptions& options, HalfCounter& counter) {
  const torch::NoGradGuard no_gradients;
  return translating_errors([&] {
    const std::vector<TextBatch> batches = text_batches(model, text, options.batch_tokens);
    Round round(model, active, candidates, batches, counter);
    counter.evaluations += std::ssize(candidates);
    std::optional<Progress> progress;
    if (!options.label.empty())
      progress.emplace(options.label, std::ssize(batches) * std::ssize(candidates), "evaluations");
    HalfLosses& losses = round.losses();
    double bound = kNever;  // the lowest loss of a candidate that has read everything
    if (options.stop_early && batches.size() > 1 && !candidates.empty()) {
      for (const TextBatch& batch : batches) round.run_first(batch);
      bound = losses.without.front();
    }
    const bool first_is_done = std::isfinite(bound);
    for (const TextBatch& batch : batches) {
      round.run_whole(batch);
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (progress) progress->advance(1);
        if ((i == 0 && first_is_done) || losses.without[i] == kNever) continue;
        round.run_candidate(i, batch);
        // Losses only grow: what is above the bound already cannot come out lowest.
        if (losses.without[i] > bound) losses.without[i] = kNever;
      }
    }
    if (!candidates.empty() && std::ranges::all_of(losses.without, [](double loss) { return loss == kNever; }))
      fail(ErrorKind::numeric, "without any of the halves the model's loss is not a number; try --dtype float32");
    return losses;
  });
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/half_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

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
        std::span<const TextBatch> batches, const PrefixLimits& limits, HalfCounter& counter)
      : model_(model),
        active_(active),
        candidates_(candidates),
        counter_(counter),
        entering_(model, active.size(), limits) {
    for (const TextBatch& batch : batches) sequences_ += std::ssize(batch.sequences);
    losses_.without.assign(candidates.size(), 0.0);
    step_ = losses_.without;
  }

  // Runs all active halves and keeps what enters each.
  void run_whole(const TextBatch& batch) {
    entering_.begin({batch.shape()});
    torch::Tensor x = embedded_ = model_.embed(batch.ids);
    for (std::size_t i = 0; i < active_.size(); ++i) {
      entering_.put(0, i, x);
      x = run(active_[i], x, batch);
    }
    losses_.whole += loss(x, batch);
  }

  void run_candidate(std::size_t candidate, const TextBatch& batch) {
    const auto at = static_cast<std::size_t>(std::ranges::find(active_, candidates_[candidate]) - active_.begin());
    SL_ASSERT(at < active_.size());
    const std::size_t from = entering_.nearest(at);
    torch::Tensor x = from > 0 ? entering_.get(0, from) : embedded_;
    for (std::size_t i = from; i < active_.size(); ++i)
      if (i != at) x = run(active_[i], x, batch);
    step_[candidate] += loss(x, batch);
  }

  // The first candidate by itself, without what others could share.
  void run_first(const TextBatch& batch) {
    torch::Tensor x = model_.embed(batch.ids);
    for (const Half& half : active_)
      if (half != candidates_.front()) x = run(half, x, batch);
    losses_.without.front() += loss(x, batch);
  }

  // What the ranks found of a batch each. Losses only grow: a candidate above the bound cannot come out lowest any
  // more.
  void end_step(const Ranks& ranks, double bound) {
    ranks.sum(step_);
    for (std::size_t i = 0; i < step_.size(); ++i) {
      double& total = losses_.without[i];
      total += std::exchange(step_[i], 0.0);
      if (std::isnan(total) || total > bound) total = kNever;
    }
  }

  HalfLosses& losses() { return losses_; }

 private:
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
  torch::Tensor embedded_;  // of the batch at hand, as what enters each active half
  PrefixStates entering_;
  HalfLosses losses_;
  std::vector<double> step_;  // of this rank's batch, by candidate
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
    const Ranks& ranks = model.placement().ranks;
    const std::int64_t halves_before = counter.halves;
    Round round(model, active, candidates, batches, options.prefixes, counter);
    counter.evaluations += std::ssize(candidates);
    std::optional<Progress> progress;
    if (!options.label.empty())
      progress.emplace(options.label, std::ssize(batches) * std::ssize(candidates), "evaluations");
    HalfLosses& losses = round.losses();
    double bound = kNever;  // the lowest loss of a candidate that has read everything
    if (options.stop_early && batches.size() > 1 && !candidates.empty()) {
      for (std::int64_t at = ranks.rank(); at < std::ssize(batches); at += ranks.size())
        round.run_first(batches[static_cast<std::size_t>(at)]);
      losses.without.front() = ranks.sum(losses.without.front());
      if (std::isnan(losses.without.front())) losses.without.front() = kNever;
      bound = losses.without.front();
    }
    const bool first_is_done = std::isfinite(bound);
    for (std::int64_t first = 0; first < std::ssize(batches); first += ranks.size()) {
      if (first + ranks.rank() < std::ssize(batches)) {
        const TextBatch& batch = batches[static_cast<std::size_t>(first + ranks.rank())];
        round.run_whole(batch);
        for (std::size_t i = 0; i < candidates.size(); ++i) {
          if (progress) progress->advance(ranks.size(), "without " + name(candidates[i]));
          if ((i == 0 && first_is_done) || losses.without[i] == kNever) continue;
          round.run_candidate(i, batch);
        }
      }
      round.end_step(ranks, bound);
    }
    losses.whole = ranks.sum(losses.whole);
    counter.halves = halves_before + std::llround(ranks.sum(static_cast<double>(counter.halves - halves_before)));
    if (!candidates.empty() && std::ranges::all_of(losses.without, [](double loss) { return loss == kNever; }))
      fail(ErrorKind::numeric, "without any of the halves the model's loss is not a number; try --dtype float32");
    return losses;
  });
}

}  // namespace streamline

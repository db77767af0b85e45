// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/half_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"
#include "streamline/eval/token_loss.h"
#include "streamline/nn/halves.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Sequences of one length that run together.
struct Batch {
  torch::Tensor ids;  // [sequences, tokens]
  Positions positions;
  double share = 0;  // of all sequences
};

std::vector<Batch> make_batches(const Model& model, const TokenBatches& text, std::int64_t batch_tokens) {
  std::vector<Batch> batches;
  for (const std::vector<std::int64_t>& together : batches_of_one_length(text, batch_tokens)) {
    const torch::Device device = model.placement().device;
    const torch::Tensor ids = to_tensor(text, together, device);
    if (ids.size(1) < 2) continue;  // predicts nothing
    batches.push_back({.ids = ids,
                       .positions = rope_positions(model.config(), 0, ids.size(1), device),
                       .share = static_cast<double>(together.size())});
  }
  double total = 0;
  for (const Batch& batch : batches) total += batch.share;
  for (Batch& batch : batches) batch.share /= total;
  if (batches.empty()) fail(ErrorKind::resource, "the calibration text has no sequence of two tokens or more");
  return batches;
}

LayerWeights weights_of(const Model& model, const Half& half) {
  const LayerWeights whole = model.layer(half.layer);
  LayerConfig config = whole.config;
  if (half.attention)
    config.mlp.reset();
  else
    config.attention.reset();
  return joined(config, half.attention ? &whole : nullptr, half.attention ? nullptr : &whole);
}

// One round: losses are filled batch by batch.
class Round {
 public:
  Round(const Model& model, std::span<const Half> active, std::span<const Half> candidates, HalfCounter& counter)
      : model_(model), active_(active), candidates_(candidates), counter_(counter) {
    losses_.without.assign(candidates.size(), 0.0);
  }

  // Runs all active halves and keeps what enters each.
  void run_whole(const Batch& batch) {
    entering_.clear();
    torch::Tensor x = model_.embed(batch.ids);
    for (const Half& half : active_) {
      entering_.push_back(x);
      x = run(half, x, batch);
    }
    losses_.whole += loss(x, batch) * batch.share;
  }

  void run_candidate(std::size_t candidate, const Batch& batch) {
    const auto at = static_cast<std::size_t>(std::ranges::find(active_, candidates_[candidate]) - active_.begin());
    SL_ASSERT(at < active_.size());
    torch::Tensor x = entering_[at];
    for (std::size_t i = at + 1; i < active_.size(); ++i) x = run(active_[i], x, batch);
    add(losses_.without[candidate], x, batch);
  }

  // The first candidate by itself, without what others could share.
  void run_first(const Batch& batch) {
    torch::Tensor x = model_.embed(batch.ids);
    for (const Half& half : active_)
      if (half != candidates_.front()) x = run(half, x, batch);
    add(losses_.without.front(), x, batch);
  }

  HalfLosses& losses() { return losses_; }

 private:
  void add(double& sum, const torch::Tensor& last, const Batch& batch) const {
    sum += loss(last, batch) * batch.share;
    if (std::isnan(sum)) sum = kNever;
  }

  torch::Tensor run(const Half& half, const torch::Tensor& x, const Batch& batch) {
    check_interrupted();
    ++counter_.halves;
    return block_forward(model_.config(), weights_of(model_, half), x, batch.positions);
  }

  // Of the batch's sequences, which are of one length.
  double loss(const torch::Tensor& last, const Batch& batch) const {
    const torch::Tensor hidden = last.narrow(1, 0, last.size(1) - 1).flatten(0, 1);
    const torch::Tensor ids = batch.ids.narrow(1, 1, last.size(1) - 1).to(torch::kCPU).contiguous();
    const auto* tokens = ids.const_data_ptr<std::int64_t>();
    double total = 0;
    for (const double nll : token_losses(model_, hidden, {tokens, tokens + ids.numel()})) total += nll;
    return total / static_cast<double>(ids.numel());
  }

  const Model& model_;
  std::span<const Half> active_, candidates_;
  HalfCounter& counter_;
  std::vector<torch::Tensor> entering_;  // the input of each active half, of the batch at hand
  HalfLosses losses_;
};

}  // namespace

std::string name(const Half& half) { return (half.attention ? "A" : "M") + std::to_string(half.layer); }

std::vector<Half> all_halves(const Model& model) {
  std::vector<Half> halves;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    const LayerConfig& config = model.config().layers[static_cast<std::size_t>(layer)];
    if (config.attention && config.mlp && config.residual != Residual::sequential)
      fail(ErrorKind::unsupported, "layer ", layer, " of ", model.checkpoint().label(),
           " does not have its attention and MLP one behind the other, each added to the stream; methods that take "
           "halves of layers cannot cut it");
    if (config.attention) halves.push_back({layer, true});
    if (config.mlp) halves.push_back({layer, false});
  }
  return halves;
}

HalfLosses half_losses(const Model& model, std::span<const Half> active, std::span<const Half> candidates,
                       const TokenBatches& text, const HalfLossOptions& options, HalfCounter& counter) {
  const torch::NoGradGuard no_gradients;
  return translating_errors([&] {
    const std::int64_t tokens = options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(model);
    const std::vector<Batch> batches = make_batches(model, text, tokens);
    Round round(model, active, candidates, counter);
    counter.evaluations += std::ssize(candidates);
    std::optional<Progress> progress;
    if (!options.label.empty())
      progress.emplace(options.label, std::ssize(batches) * std::ssize(candidates), "evaluations");
    HalfLosses& losses = round.losses();
    double bound = kNever;  // the lowest loss of a candidate that has read everything
    if (options.stop_early && batches.size() > 1 && !candidates.empty()) {
      for (const Batch& batch : batches) round.run_first(batch);
      bound = losses.without.front();
    }
    const bool first_is_done = std::isfinite(bound);
    for (const Batch& batch : batches) {
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

// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/sweep.h"

#include <algorithm>
#include <map>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/scratch_file.h"
#include "streamline/engine/layer_states.h"
#include "streamline/nn/block_halves.h"

namespace streamline {
namespace {

constexpr std::int64_t kConversionPaysOff = 1024;  // tokens

void check_length(const Model& model, std::int64_t length, const SweepOptions& options) {
  if (options.beyond_positions || model.config().max_positions <= 0 || length <= model.config().max_positions) return;
  fail(ErrorKind::mismatch, "a sequence of ", length, " tokens is longer than the model's ",
       model.config().max_positions, " positions; use shorter sequences");
}

std::int64_t tokens_of(const TokenBatches& batches, const std::vector<std::int64_t>& sequences) {
  std::int64_t tokens = 0;
  for (const std::int64_t index : sequences) tokens += std::ssize(batches.sequences[static_cast<std::size_t>(index)]);
  return tokens;
}

// The batches that this rank runs.
std::vector<std::vector<std::int64_t>> own_parts(const Model& model, const TokenBatches& batches,
                                                 std::int64_t batch_tokens, bool shared) {
  std::vector<std::vector<std::int64_t>> parts = batches_of_one_length(batches, batch_tokens);
  if (!shared) return parts;
  std::int64_t part = 0;
  std::erase_if(parts, [&](const auto&) { return !model.placement().ranks.takes(part++); });
  return parts;
}

Model::Use use_of(const SweepBatch& batch) {
  // Converting a layer costs as much as its arithmetic for a few dozen tokens; a longer batch need not keep it. On
  // other devices than the CPU weights stay.
  const bool pays = batch.ids.device().is_cpu() && batch.ids.numel() >= kConversionPaysOff;
  return pays ? Model::Use::once : Model::Use::often;
}

SweepOrder order_of(const Model& model, SweepOrder asked, std::uint64_t needed) {
  // A side route reads states of layers that are long gone.
  if (model.route() || !model.placement().device.is_cpu()) return SweepOrder::batches;
  if (asked != SweepOrder::automatic) return asked;
  return weights_stay(model, needed) ? SweepOrder::batches : SweepOrder::layers;
}

// One sweep, in either order.
class Sweep {
 public:
  Sweep(const Model& model, const TokenBatches& tokens, std::vector<std::vector<std::int64_t>> batches,
        const SweepVisitor& visitor, Progress* progress)
      : model_(model), tokens_(tokens), batches_(std::move(batches)), visitor_(visitor), progress_(progress) {}

  void by_batches() {
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      const SweepBatch batch = batch_at(i);
      torch::Tensor x = embedded(batch);
      std::vector<torch::Tensor> states;
      if (visitor_.states) states.push_back(x);
      RouteWalk route(model_.route());
      for (std::int64_t layer = 0; layer < model_.layer_count(); ++layer) {
        LayerWeights weights = model_.layer(layer, use_of(batch));
        x = through(batch, layer, weights, route.enter(layer, x));
        if (visitor_.states) states.push_back(x);
      }
      end(batch, x, states);
      advance(batch.ids.numel(), 1);
    }
  }

  // As many batches at a time as the temporary file has room for.
  void by_layers(std::uint64_t memory) {
    const std::int64_t depths = visitor_.states ? model_.layer_count() + 1 : 1;
    const std::uint64_t room = std::max(memory, scratch_space() / 2);
    for (std::size_t first = 0; first < batches_.size();) {
      std::vector<LayerStates::Shape> shapes;
      std::uint64_t bytes = 0;
      for (std::size_t i = first; i < batches_.size(); ++i) {
        const SweepBatch batch = batch_at(i);
        const LayerStates::Shape shape{.sequences = batch.ids.size(0), .tokens = batch.ids.size(1)};
        bytes += state_bytes(model_, shape) * static_cast<std::uint64_t>(depths);
        if (!shapes.empty() && bytes > room) break;
        shapes.push_back(shape);
      }
      LayerStates states(model_, shapes, depths, memory);
      group_by_layers(first, shapes.size(), depths, states);
      first += shapes.size();
    }
  }

 private:
  SweepBatch batch_at(std::size_t i) const {
    return {.sequences = batches_[i],
            .ids = to_tensor(tokens_, batches_[i], model_.placement().device),
            .skip_first = tokens_.skip_first};
  }

  torch::Tensor embedded(const SweepBatch& batch) const {
    torch::Tensor x = model_.embed(batch.ids);  // [batch, seq, hidden]
    if (visitor_.begin) visitor_.begin(batch, x);
    return x;
  }

  const Positions& positions(std::int64_t seq) {
    if (seq != prepared_) positions_ = rope_positions(model_.config(), 0, seq, model_.placement().device);
    prepared_ = seq;
    return positions_;
  }

  torch::Tensor through(const SweepBatch& batch, std::int64_t layer, LayerWeights& weights, const torch::Tensor& x) {
    check_interrupted();
    if (visitor_.inner)
      weights.tap = [&, layer](Role role, std::int64_t expert, const torch::Tensor& inner) {
        visitor_.inner(batch, layer, role, expert, inner);
      };
    torch::Tensor middle;
    const Positions& at = positions(batch.ids.size(1));
    torch::Tensor y = visitor_.middle ? block_forward_halves(model_.config(), weights, x, at, middle)
                                      : block_forward(model_.config(), weights, x, at);
    if (visitor_.layer) visitor_.layer(batch, LayerStep{layer, x, y, weights, middle});
    return y;
  }

  void end(const SweepBatch& batch, const torch::Tensor& last, std::span<const torch::Tensor> states) const {
    if (visitor_.end) visitor_.end(batch, last);
    if (visitor_.states) visitor_.states(batch, states);
  }

  void group_by_layers(std::size_t first, std::size_t count, std::int64_t depths, LayerStates& states) {
    const std::int64_t layers = model_.layer_count();
    const auto depth = [&](std::int64_t i) { return depths > 1 ? i : 0; };
    if (layers > 0) model_.will_need_layer(0);
    for (std::size_t i = 0; i < count; ++i) states.put(i, 0, embedded(batch_at(first + i)));
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      if (layer + 1 < layers) model_.will_need_layer(layer + 1);
      LayerWeights weights = model_.layer(layer, Model::Use::once);
      for (std::size_t i = 0; i < count; ++i) {
        const SweepBatch batch = batch_at(first + i);
        states.put(i, depth(layer + 1), through(batch, layer, weights, states.get(i, depth(layer))));
        states.rest(i);
        advance(batch.ids.numel(), layers);
      }
      model_.done_with_layer(layer);
    }
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<torch::Tensor> all;
      for (std::int64_t k = 0; k < depths; ++k) all.push_back(states.get(i, k));
      end(batch_at(first + i), all.back(), all);
      states.rest(i);
    }
  }

  // By tokens that went through one of so many layers.
  void advance(std::int64_t tokens, std::int64_t layers) {
    passed_ += tokens;
    if (progress_ == nullptr || passed_ < layers) return;
    progress_->advance(passed_ / layers);
    passed_ %= layers;
  }

  const Model& model_;
  const TokenBatches& tokens_;
  std::vector<std::vector<std::int64_t>> batches_;
  const SweepVisitor& visitor_;
  Progress* progress_;
  Positions positions_;
  std::int64_t prepared_ = -1, passed_ = 0;
};

}  // namespace

std::vector<std::vector<std::int64_t>> batches_of_one_length(const TokenBatches& batches, std::int64_t batch_tokens) {
  std::map<std::size_t, std::vector<std::int64_t>> by_length;
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < batches.sequences.size(); ++i) {
    const std::size_t length = batches.sequences[i].size();
    if (length == 0) continue;
    if (by_length[length].empty()) lengths.push_back(length);
    by_length[length].push_back(static_cast<std::int64_t>(i));
  }
  std::vector<std::vector<std::int64_t>> result;
  for (const std::size_t length : lengths) {
    const auto together = std::max<std::int64_t>(1, batch_tokens / static_cast<std::int64_t>(length));
    const auto& all = by_length[length];
    for (std::size_t first = 0; first < all.size(); first += static_cast<std::size_t>(together)) {
      const std::size_t last = std::min(all.size(), first + static_cast<std::size_t>(together));
      result.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(first),
                          all.begin() + static_cast<std::ptrdiff_t>(last));
    }
  }
  return result;
}

torch::Tensor to_tensor(const TokenBatches& batches, const std::vector<std::int64_t>& sequences, torch::Device device) {
  SL_ASSERT(!sequences.empty());
  const auto rows = static_cast<std::int64_t>(sequences.size());
  const auto length = static_cast<std::int64_t>(batches.sequences[static_cast<std::size_t>(sequences.front())].size());
  auto ids = torch::empty({rows, length}, torch::kLong);
  auto* out = ids.data_ptr<std::int64_t>();
  for (const std::int64_t index : sequences) {
    const auto& sequence = batches.sequences[static_cast<std::size_t>(index)];
    SL_ASSERT(static_cast<std::int64_t>(sequence.size()) == length);
    out = std::copy(sequence.begin(), sequence.end(), out);
  }
  return ids.to(device);
}

void sweep(const Model& model, const TokenBatches& batches, const SweepOptions& options, const SweepVisitor& visitor) {
  const torch::NoGradGuard no_grad;
  const std::int64_t batch_tokens = options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(model);
  std::int64_t total = 0, longest = 1;
  for (const auto& sequence : batches.sequences) {
    check_length(model, static_cast<std::int64_t>(sequence.size()), options);
    longest = std::max(longest, static_cast<std::int64_t>(sequence.size()));
  }
  std::vector<std::vector<std::int64_t>> parts = own_parts(model, batches, batch_tokens, options.shared);
  for (const auto& sequences : parts) total += tokens_of(batches, sequences);
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, total, "tokens");
  translating_errors([&] {
    Sweep run(model, batches, std::move(parts), visitor, progress ? &*progress : nullptr);
    const auto needs = [&](Keeps keeps) { return sweep_memory(model, longest, batch_tokens, keeps); };
    if (order_of(model, options.order, needs(visitor.states ? Keeps::all_states : Keeps::nothing)) ==
        SweepOrder::batches)
      return run.by_batches();
    const std::uint64_t memory = working_memory(model.placement()), needed = needs(Keeps::nothing);
    run.by_layers(memory - std::min(memory, needed));
  });
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/sweep.h"

#include <algorithm>
#include <map>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/nn/block_halves.h"

namespace streamline {
namespace {

// Beyond it the matrix products gain nothing more; 32-bit states are twice as large and their products slower.
constexpr std::int64_t kMostBatchTokens = 4096, kMostBatchTokensFloat = 2048;
constexpr std::int64_t kConversionPaysOff = 1024;     // tokens
constexpr double kHiddenStateBudget = 1'000'000'000;  // bytes, for a visitor that keeps all states of a batch

void check_length(const Model& model, std::int64_t length, const SweepOptions& options) {
  if (options.beyond_positions || model.config().max_positions <= 0 || length <= model.config().max_positions) return;
  fail(ErrorKind::mismatch, "a sequence of ", length, " tokens is longer than the model's ",
       model.config().max_positions, " positions; use shorter sequences");
}

void run_batch(const Model& model, const SweepBatch& batch, const Positions& positions, const SweepVisitor& visitor) {
  // Converting a layer costs as much as its arithmetic for a few dozen tokens; a longer batch need not keep it.
  const Model::Use use = batch.ids.numel() >= kConversionPaysOff ? Model::Use::once : Model::Use::often;
  torch::Tensor x = model.embed(batch.ids);  // [batch, seq, hidden]
  if (visitor.begin) visitor.begin(batch, x);
  RouteWalk route(model.route());
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    check_interrupted();
    LayerWeights weights = model.layer(i, use);
    if (visitor.inner)
      weights.tap = [&](Role role, std::int64_t expert, const torch::Tensor& inner) {
        visitor.inner(batch, i, role, expert, inner);
      };
    x = route.enter(i, x);
    torch::Tensor middle;
    const torch::Tensor y = visitor.middle ? block_forward_halves(model.config(), weights, x, positions, middle)
                                           : block_forward(model.config(), weights, x, positions);
    if (visitor.layer) visitor.layer(batch, LayerStep{i, x, y, weights, middle});
    x = y;
  }
  if (visitor.end) visitor.end(batch, x);
}

std::uint64_t largest_layer_elements(const Config& config) {
  std::int64_t largest = 0;
  for (const LayerConfig& layer : config.layers) largest = std::max(largest, layer_parameters(config, layer));
  return static_cast<std::uint64_t>(largest);
}

// Components a token has in the widest pair of activations of an MLP; of a sparse one, in all that it computes at once.
std::int64_t mlp_width(const MlpConfig& mlp) {
  if (!mlp.experts) return 2 * mlp.intermediate;
  return 2 * (mlp.intermediate * mlp.experts->active + mlp.experts->shared) + 2 * mlp.experts->count;
}

// The largest layer's needs beside the residual stream.
struct LayerNeeds {
  std::int64_t widest = 0;        // components a token
  std::int64_t capped_heads = 0;  // heads whose scores are kept, a block of queries at a time
  bool windows = false;           // masks
};

LayerNeeds layer_needs(const Config& config, std::int64_t seq_len) {
  LayerNeeds needs;
  for (const LayerConfig& layer : config.layers) {
    if (layer.attention) {
      const AttentionConfig& a = *layer.attention;
      needs.widest = std::max(needs.widest, (2 * a.heads + 2 * a.kv_heads) * a.head_dim);
      needs.windows |= a.window.has_value() && *a.window < seq_len;
      if (a.softcap != 0) needs.capped_heads = std::max(needs.capped_heads, a.heads);
    }
    if (layer.mlp) needs.widest = std::max(needs.widest, mlp_width(*layer.mlp));
  }
  return needs;
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

}  // namespace

std::int64_t default_batch_tokens(const Model& model) {
  const double states = static_cast<double>(model.layer_count() + 1);
  const double bytes =
      static_cast<double>(model.config().hidden) * static_cast<double>(torch::elementSize(model.placement().dtype));
  const double affordable = kHiddenStateBudget / (states * bytes);
  return std::clamp(static_cast<std::int64_t>(affordable), std::int64_t{512},
                    model.placement().dtype == torch::kFloat32 ? kMostBatchTokensFloat : kMostBatchTokens);
}

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
  for (const auto& sequence : batches.sequences)
    check_length(model, static_cast<std::int64_t>(sequence.size()), options);
  const std::vector<std::vector<std::int64_t>> parts = own_parts(model, batches, batch_tokens, options.shared);
  std::int64_t total = 0;
  for (const auto& sequences : parts) total += tokens_of(batches, sequences);
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, total, "tokens");
  translating_errors([&] {
    Positions positions;
    std::int64_t prepared = -1;
    for (const auto& sequences : parts) {
      const SweepBatch batch{.sequences = sequences,
                             .ids = to_tensor(batches, sequences, model.placement().device),
                             .skip_first = batches.skip_first};
      const std::int64_t seq = batch.ids.size(1);
      if (seq != prepared) positions = rope_positions(model.config(), 0, seq, model.placement().device);
      prepared = seq;
      run_batch(model, batch, positions, visitor);
      if (progress) progress->advance(batch.ids.numel());
    }
  });
}

std::uint64_t sweep_memory(const Model& model, std::int64_t seq_len, std::int64_t batch_tokens) {
  const Config& config = model.config();
  if (batch_tokens <= 0) batch_tokens = default_batch_tokens(model);
  const auto tokens = static_cast<std::uint64_t>(std::max<std::int64_t>(seq_len, batch_tokens / seq_len * seq_len));
  const LayerNeeds needs = layer_needs(config, seq_len);
  const std::uint64_t element = torch::elementSize(model.placement().dtype);
  // A layer's input, output, their normed copy, and the widest pair of activations.
  const std::uint64_t activations = tokens * static_cast<std::uint64_t>(4 * config.hidden + needs.widest) * element;
  const auto square = static_cast<std::uint64_t>(seq_len) * static_cast<std::uint64_t>(seq_len);
  const std::uint64_t masks = needs.windows ? square * (sizeof(std::int64_t) + sizeof(float)) : 0;
  const std::uint64_t all = static_cast<std::uint64_t>(model.layer_count()) * largest_layer_elements(config) * element;
  const bool stored_as_computed =
      !model.config().dtype.empty() && model.config().dtype == torch::toString(model.placement().dtype);
  const std::uint64_t conversions =
      stored_as_computed ? 0 : std::min<std::uint64_t>(all, 1'000'000'000 + largest_layer_elements(config) * element);
  // 128 queries' scores over all keys, in fp32, before and after the cap and the softmax.
  const std::uint64_t scores = tokens * static_cast<std::uint64_t>(needs.capped_heads) * 128 * 4 * sizeof(float);
  return activations + masks + scores + conversions;
}

}  // namespace streamline

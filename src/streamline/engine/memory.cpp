// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/memory.h"

#include <algorithm>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/engine/mapped.h"

namespace streamline {
namespace {

// Beyond it the matrix products gain nothing more; 32-bit states are twice as large and their products slower.
constexpr std::int64_t kMostBatchTokens = 4096, kMostBatchTokensFloat = 2048;
constexpr std::int64_t kFewestBatchTokens = 64;       // fewer do not pay for reading the weights
constexpr double kHiddenStateBudget = 1'000'000'000;  // bytes, for a visitor that keeps all states of a batch
constexpr std::uint64_t kMostConverted = 1'000'000'000;
constexpr std::uint64_t kMegabyte = 1'000'000;
// What the program takes before it computes: libtorch 60 MB, a large vocabulary 40 MB, the allocator's slack.
constexpr std::uint64_t kProgram = 128 * kMegabyte;

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

// Whether matrices are brought into another type before they are computed with.
bool converts(const Model& model) {
  const std::vector<TensorInfo>& tensors = model.checkpoint().tensors();
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& info) {
    return info.shape.size() >= 2 && (!info.is_plain() || mapped_type(info) != model.placement().dtype);
  });
}

}  // namespace

std::uint64_t working_memory(const Placement& placement) {
  if (placement.memory == 0) return available_memory() / static_cast<std::uint64_t>(placement.ranks.local_size());
  return placement.memory - std::min(placement.memory, kProgram);
}

std::uint64_t conversion_cache(const Placement& placement) {
  if (!placement.device.is_cpu()) return std::numeric_limits<std::uint64_t>::max();
  return std::min(kMostConverted, working_memory(placement) / 4);
}

void require_memory(const Placement& placement, std::uint64_t needed, const std::string& what,
                    const std::string& advice) {
  const std::uint64_t available = working_memory(placement);
  if (!placement.device.is_cpu() || needed <= available) return;
  const bool limited = placement.memory > 0;
  // In whole megabytes, rounded up, so that this very figure is enough.
  const std::uint64_t least = (needed + (limited ? kProgram : 0) + kMegabyte - 1) / kMegabyte;
  fail(ErrorKind::resource, what, " at least ", least, " MB of memory, and ",
       limited ? "--memory allows " : "this machine has ", format_bytes(limited ? placement.memory : available),
       limited ? "; " : " free; ", advice);
}

std::uint64_t sweep_memory(const Model& model, std::int64_t seq_len, std::int64_t batch_tokens, Keeps keeps) {
  const Config& config = model.config();
  if (batch_tokens <= 0) batch_tokens = default_batch_tokens(model, keeps);
  const auto tokens = static_cast<std::uint64_t>(std::max<std::int64_t>(seq_len, batch_tokens / seq_len * seq_len));
  const LayerNeeds needs = layer_needs(config, seq_len);
  const std::uint64_t element = torch::elementSize(model.placement().dtype);
  // A layer's input, output, middle and their normed copies; the widest pair of activations, and what is made of it.
  const std::uint64_t activations = tokens * static_cast<std::uint64_t>(6 * config.hidden + 2 * needs.widest) * element;
  const auto kept = static_cast<std::uint64_t>(keeps == Keeps::all_states ? model.layer_count() + 1 : 0);
  const std::uint64_t states = tokens * kept * static_cast<std::uint64_t>(config.hidden) * element;
  const auto square = static_cast<std::uint64_t>(seq_len) * static_cast<std::uint64_t>(seq_len);
  const std::uint64_t masks = needs.windows ? square * (sizeof(std::int64_t) + sizeof(float)) : 0;
  // 128 queries' scores over all keys, in fp32, before and after the cap and the softmax.
  const std::uint64_t scores = tokens * static_cast<std::uint64_t>(needs.capped_heads) * 128 * 4 * sizeof(float);
  const std::uint64_t layer = largest_layer_elements(config) * element;
  // Of layers that are mapped, the library's copy of a matrix.
  if (!converts(model)) return activations + states + masks + scores + layer / 2;
  // The layer at work, and conversions that are kept: conversion_cache() in the least memory that holds all of this.
  const std::uint64_t needed = activations + states + masks + scores + layer;
  return needed + std::min({static_cast<std::uint64_t>(model.layer_count()) * layer, needed / 3, kMostConverted});
}

std::int64_t default_batch_tokens(const Model& model, Keeps keeps) {
  const double states = static_cast<double>(model.layer_count() + 1);
  const double bytes =
      static_cast<double>(model.config().hidden) * static_cast<double>(torch::elementSize(model.placement().dtype));
  const double affordable = kHiddenStateBudget / (states * bytes);
  std::int64_t tokens =
      std::clamp(static_cast<std::int64_t>(affordable), std::int64_t{512},
                 model.placement().dtype == torch::kFloat32 ? kMostBatchTokensFloat : kMostBatchTokens);
  if (!model.placement().device.is_cpu()) return tokens;
  // Ranks must agree, and what is available differs from moment to moment.
  if (!model.placement().ranks.alone() && model.placement().memory == 0) return tokens;
  const std::uint64_t available = working_memory(model.placement());
  while (tokens > kFewestBatchTokens && sweep_memory(model, kFewestBatchTokens, tokens, keeps) > available) tokens /= 2;
  return tokens;
}

void check_sweep_memory(const Model& model, std::int64_t seq_len, Keeps keeps) {
  require_memory(model.placement(), sweep_memory(model, seq_len, seq_len, keeps),
                 "sequences of " + std::to_string(seq_len) + " tokens need",
                 "use a smaller --seq-len or --dtype bfloat16");
}

bool weights_stay(const Model& model, std::uint64_t sweep_bytes) {
  if (!model.placement().device.is_cpu()) return true;
  return model.weight_bytes() + sweep_bytes <= working_memory(model.placement());
}

}  // namespace streamline

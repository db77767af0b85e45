// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/stack_parts.h"

#include <numeric>

#include "streamline/base/error.h"
#include "streamline/engine/sweep.h"
#include "streamline/eval/token_loss.h"
#include "streamline/nn/halves.h"

namespace streamline {

std::string name(const StackPart& part) {
  return (part.is_layer() ? "L" : part.attention ? "A" : "M") + std::to_string(part.layer);
}

std::vector<StackPart> layer_parts(const Model& model) {
  std::vector<StackPart> parts;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) parts.push_back({.layer = layer});
  return parts;
}

std::vector<StackPart> half_parts(const Model& model) {
  std::vector<StackPart> parts;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    const LayerConfig& config = model.config().layers[static_cast<std::size_t>(layer)];
    if (config.attention && config.mlp && config.residual != Residual::sequential)
      fail(ErrorKind::unsupported, "layer ", layer, " of ", model.checkpoint().label(),
           " does not have its attention and MLP one behind the other, each added to the stream; methods that take "
           "halves of layers cannot cut it");
    if (config.attention) parts.push_back({.layer = layer, .attention = true, .mlp = false});
    if (config.mlp) parts.push_back({.layer = layer, .attention = false, .mlp = true});
  }
  return parts;
}

LayerWeights part_weights(const Model& model, const StackPart& part) {
  LayerWeights whole = model.layer(part.layer);
  return part.is_layer() ? whole : kept_halves(whole, part.attention, part.mlp);
}

std::vector<TextBatch> text_batches(const Model& model, const TokenBatches& text, std::int64_t batch_tokens,
                                    Keeps keeps) {
  const std::int64_t tokens = batch_tokens > 0 ? batch_tokens : default_batch_tokens(model, keeps);
  for (const auto& sequence : text.sequences)
    check_sweep_memory(model, static_cast<std::int64_t>(sequence.size()), keeps);
  const torch::Device device = model.placement().device;
  std::vector<TextBatch> batches;
  for (const std::vector<std::int64_t>& together : batches_of_one_length(text, tokens)) {
    const torch::Tensor ids = to_tensor(text, together, device);
    if (ids.size(1) < 2) continue;
    batches.push_back({together, ids, rope_positions(model.config(), 0, ids.size(1), device)});
  }
  if (batches.empty()) fail(ErrorKind::resource, "the calibration text has no sequence of two tokens or more");
  return batches;
}

std::vector<double> sequence_losses(const Model& model, const TextBatch& batch, const torch::Tensor& last) {
  const std::int64_t predicted = last.size(1) - 1, copies = last.size(0) / batch.ids.size(0);
  const torch::Tensor hidden = last.narrow(1, 0, predicted).flatten(0, 1);
  const torch::Tensor ids = batch.ids.narrow(1, 1, predicted).repeat({copies, 1}).to(torch::kCPU).contiguous();
  const auto* tokens = ids.const_data_ptr<std::int64_t>();
  const std::vector<double> losses = token_losses(model, hidden, {tokens, tokens + ids.numel()});
  std::vector<double> means;
  for (auto row = losses.begin(); row != losses.end(); row += predicted)
    means.push_back(std::accumulate(row, row + predicted, 0.0) / static_cast<double>(predicted));
  return means;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/layer_states.h"

#include "streamline/base/log.h"
#include "streamline/base/residency.h"
#include "streamline/base/resources.h"
#include "streamline/nn/tensor_bytes.h"

namespace streamline {

std::uint64_t state_bytes(const Model& model, const LayerStates::Shape& batch) {
  return static_cast<std::uint64_t>(batch.sequences * batch.tokens * model.config().hidden) *
         torch::elementSize(model.placement().dtype);
}

LayerStates::LayerStates(const Model& model, const std::vector<Shape>& batches, std::int64_t depths,
                         std::uint64_t memory)
    : depths_(depths), states_(batches.size() * static_cast<std::size_t>(depths)) {
  std::uint64_t total = 0;
  for (const Shape& batch : batches) total += state_bytes(model, batch) * static_cast<std::uint64_t>(depths);
  if (total <= memory) return;
  file_ = std::make_unique<const ScratchFile>(total);
  log_detail("hidden states: " + format_bytes(total) + " in a temporary file in " + scratch_directory().string());
  std::byte* next = file_->bytes().data();
  for (std::size_t batch = 0; batch < batches.size(); ++batch) {
    const Shape& shape = batches[batch];
    for (std::int64_t depth = 0; depth < depths; ++depth) {
      states_[place(batch, depth)] =
          torch::from_blob(next, {shape.sequences, shape.tokens, model.config().hidden}, model.placement().dtype);
      next += state_bytes(model, shape);
    }
  }
}

void LayerStates::put(std::size_t batch, std::int64_t depth, const torch::Tensor& state) {
  torch::Tensor& own = states_[place(batch, depth)];
  if (!in_file()) {
    own = state;
    return;
  }
  own.copy_(state);
  done_with(bytes_of(own));
}

torch::Tensor LayerStates::get(std::size_t batch, std::int64_t depth) const { return states_[place(batch, depth)]; }

void LayerStates::rest(std::size_t batch) const {
  if (!in_file()) return;
  for (std::int64_t depth = 0; depth < depths_; ++depth) done_with(bytes_of(states_[place(batch, depth)]));
}

}  // namespace streamline

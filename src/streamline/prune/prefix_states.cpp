// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/prefix_states.h"

#include <algorithm>

#include "streamline/engine/memory.h"

namespace streamline {
namespace {

constexpr std::uint64_t kMostInMemory = 2'000'000'000;

// Half of what is left beside computing with such batches.
std::uint64_t spare_memory(const Model& model, const std::vector<LayerStates::Shape>& batches) {
  if (!model.placement().device.is_cpu()) return kMostInMemory;
  std::int64_t longest = 1, together = 1;
  for (const LayerStates::Shape& shape : batches) {
    longest = std::max(longest, shape.tokens);
    together = std::max(together, shape.sequences * shape.tokens);
  }
  const std::uint64_t working = working_memory(model.placement());
  const std::uint64_t needed = sweep_memory(model, longest, together, Keeps::nothing);
  return std::min(kMostInMemory, (working - std::min(working, needed)) / 2);
}

std::uint64_t file_room(const Model& model, std::uint64_t limit) {
  return std::min(limit, scratch_space() / 2 / static_cast<std::uint64_t>(model.placement().ranks.local_size()));
}

}  // namespace

void PrefixStates::begin(const std::vector<LayerStates::Shape>& batches) {
  if (states_ && batches == shapes_) return;
  states_.reset();  // its file's room is free again
  shapes_ = batches;
  std::uint64_t depth = 0;  // bytes of one state of all batches
  for (const LayerStates::Shape& shape : batches) depth += state_bytes(model_, shape);
  const std::size_t depths = std::max<std::size_t>(parts_, 1) - 1;
  const std::uint64_t memory = limits_.memory ? *limits_.memory : spare_memory(model_, batches);
  const bool fits = depth * depths <= memory;
  const std::uint64_t room = fits ? memory : std::max(memory, file_room(model_, limits_.file));
  stride_ = depth == 0 ? 1 : depths / (room / depth + 1) + 1;
  states_.emplace(model_, batches, static_cast<std::int64_t>(depths / stride_), memory);
}

void PrefixStates::put(std::size_t batch, std::size_t part, const torch::Tensor& entering) {
  if (part > 0 && part % stride_ == 0) states_->put(batch, place(part), entering);
}

torch::Tensor PrefixStates::get(std::size_t batch, std::size_t part) const {
  return states_->get(batch, place(part)).to(model_.placement().device);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/memory_rate.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "streamline/base/log.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

struct Block {
  const std::byte* data;
  std::size_t words;
};

constexpr std::size_t kBlockBytes = 1 << 18;

void add_blocks(const torch::Tensor& matrix, std::vector<Block>& blocks) {
  const auto* data = static_cast<const std::byte*>(matrix.data_ptr());
  const std::size_t bytes = matrix.nbytes();
  for (std::size_t first = 0; first < bytes; first += kBlockBytes)
    blocks.push_back({data + first, std::min(kBlockBytes, bytes - first) / sizeof(std::uint64_t)});
}

std::uint64_t all_bits(const Block& block) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < block.words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, block.data + i * sizeof word, sizeof word);
    bits |= word;
  }
  return bits;
}

}  // namespace

double weight_reading_seconds(const Model& model) {
  if (!model.placement().device.is_cpu()) return 0;
  std::vector<torch::Tensor> kept;  // conversions that no cache holds
  std::vector<Block> blocks;
  const auto add = [&](const torch::Tensor& matrix) {
    kept.push_back(matrix);
    add_blocks(matrix, blocks);
  };
  double seconds = 0;
  std::atomic<std::uint64_t> seen = 0;
  const auto read = [&] {
    check_interrupted();
    const Stopwatch watch;
    at::parallel_for(0, std::ssize(blocks), 1, [&](std::int64_t first, std::int64_t last) {
      std::uint64_t bits = 0;
      for (std::int64_t i = first; i < last; ++i) bits |= all_bits(blocks[static_cast<std::size_t>(i)]);
      seen |= bits;  // so that reading is not left out
    });
    seconds += watch.seconds();
    blocks.clear();
    kept.clear();
  };
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    const LayerWeights weights = model.layer(i);
    const std::int64_t experts = weights.experts.empty() ? 0 : weights.config.mlp->experts->active;
    for (const PlacedTensor& tensor : placed_tensors(weights))
      if (tensor.value.dim() == 2 && tensor.expert < experts) add(tensor.value);
    read();
  }
  add(model.head().weight);
  read();
  return seconds;
}

}  // namespace streamline

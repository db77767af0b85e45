// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/memory_rate.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "streamline/base/log.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

struct Stretch {
  const std::byte* data;
  std::size_t words;
};

constexpr std::size_t kStretchBytes = 1 << 18;

void add_stretches(const torch::Tensor& matrix, std::vector<Stretch>& stretches) {
  const auto* data = static_cast<const std::byte*>(matrix.data_ptr());
  const std::size_t bytes = matrix.nbytes();
  for (std::size_t first = 0; first < bytes; first += kStretchBytes)
    stretches.push_back({data + first, std::min(kStretchBytes, bytes - first) / sizeof(std::uint64_t)});
}

std::uint64_t all_bits(const Stretch& stretch) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < stretch.words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, stretch.data + i * sizeof word, sizeof word);
    bits |= word;
  }
  return bits;
}

std::int64_t experts_of_a_step(const LayerConfig& layer, std::int64_t sequences) {
  if (!layer.mlp || !layer.mlp->experts) return 0;
  return std::min(layer.mlp->experts->count, layer.mlp->experts->active * sequences);
}

}  // namespace

double weight_reading_seconds(const Model& model, std::int64_t sequences) {
  if (!model.placement().device.is_cpu()) return 0;
  std::vector<torch::Tensor> kept;  // conversions that no cache holds
  std::vector<Stretch> stretches;
  const auto add = [&](const torch::Tensor& matrix) {
    kept.push_back(matrix);
    add_stretches(matrix, stretches);
  };
  double seconds = 0;
  std::atomic<std::uint64_t> seen = 0;
  const auto read = [&] {
    check_interrupted();
    const Stopwatch watch;
    at::parallel_for(0, std::ssize(stretches), 1, [&](std::int64_t first, std::int64_t last) {
      std::uint64_t bits = 0;
      for (std::int64_t i = first; i < last; ++i) bits |= all_bits(stretches[static_cast<std::size_t>(i)]);
      seen |= bits;  // so that reading is not left out
    });
    seconds += watch.seconds();
    stretches.clear();
    kept.clear();
  };
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    const LayerWeights weights = model.layer(i);
    const std::int64_t experts = experts_of_a_step(weights.config, sequences);
    for (const PlacedTensor& tensor : placed_tensors(weights)) {
      if (tensor.value.dim() == 2 && tensor.expert < experts) add(tensor.value);
      if (tensor.value.dim() == 3)  // all experts in one, [experts, in, out]
        for (std::int64_t expert = 0; expert < experts; ++expert) add(tensor.value.select(0, expert));
    }
    read();
  }
  add(model.head().weight);
  read();
  return seconds;
}

}  // namespace streamline

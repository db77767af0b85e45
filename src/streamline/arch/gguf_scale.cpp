// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_scale.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace streamline {

std::int64_t gguf_attention_root(std::string_view arch, std::int64_t layers, std::int64_t hidden, std::int64_t heads,
                                 std::int64_t head_dim) {
  constexpr std::pair<std::string_view, std::int64_t> k27B[] = {{"gemma2", 46}, {"gemma3", 62}};
  const std::pair depth{arch, layers};
  return std::find(std::begin(k27B), std::end(k27B), depth) != std::end(k27B) ? hidden / heads : head_dim;
}

double gguf_score_factor(const Config& config) {
  if (!config.family->traits.scale.attention.key.empty()) return 1;  // the file says it
  const AttentionConfig& attention = *config.layers.front().attention;
  const std::int64_t root = gguf_attention_root(config.family->gguf.arch, config.layer_count(), config.hidden,
                                                attention.heads, attention.head_dim);
  return attention.scale.value_or(1 / std::sqrt(static_cast<double>(attention.head_dim))) *
         std::sqrt(static_cast<double>(root));
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/cache_size.h"

namespace streamline {

std::int64_t cache_values_per_token(const Config& config) {
  std::int64_t values = 0;
  for (const LayerConfig& layer : config.layers)
    if (layer.attention) values += 2 * layer.attention->kv_heads * layer.attention->head_dim;
  return values;
}

}  // namespace streamline

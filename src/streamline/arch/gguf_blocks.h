// SPDX-License-Identifier: Apache-2.0
// Layers that differ in shape, as GGUF says it: arrays with a value a layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

// One value a layer: "attention.head_count", "attention.head_count_kv" and "feed_forward_length". No heads: no
// attention; no width: no MLP.
struct GgufLayerSizes {
  std::vector<std::int64_t> heads, kv_heads, widths;
};

// What `block_configs` of a DeciLM's config.json says of them. `where` begins the messages: "a.gguf: 'deci.".
// Errors: unsupported for heads without keys (a linear attention), for numbers of heads that differ where there are
// any, for a width that is no multiple of kBlockWidth; format for a hidden size below 1.
Json gguf_block_configs(const GgufLayerSizes& sizes, std::int64_t hidden, const std::string& where);

}  // namespace streamline

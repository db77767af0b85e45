// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_blocks.h"

#include <algorithm>

#include "streamline/arch/config.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/base/error.h"

namespace streamline {

Json gguf_block_configs(const GgufLayerSizes& sizes, std::int64_t hidden, const std::string& where) {
  SL_ASSERT(sizes.kv_heads.size() == sizes.heads.size() && sizes.widths.size() == sizes.heads.size());
  if (hidden < 1) fail(ErrorKind::format, where, "embedding_length' is ", hidden);
  const std::int64_t all = sizes.heads.empty() ? 0 : *std::max_element(sizes.heads.begin(), sizes.heads.end());
  std::vector<LayerConfig> layers(sizes.heads.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::int64_t heads = sizes.heads[i], kv_heads = sizes.kv_heads[i], width = sizes.widths[i];
    const auto refuse = [&](const char* key, std::int64_t value) {
      fail(ErrorKind::unsupported, where, key, "' of layer ", i, " is ", value, "; such a layer is not supported");
    };
    if (heads != 0 && heads != all) refuse("attention.head_count", heads);
    const bool fits = heads == 0 ? kv_heads == 0 : kv_heads > 0 && heads % kv_heads == 0;
    if (heads < 0 || !fits) refuse("attention.head_count_kv", kv_heads);
    if (width < 0 || width > kMaxDimension || width % kBlockWidth != 0) refuse("feed_forward_length", width);
    layers[i].attention.reset();
    layers[i].mlp.reset();
    if (heads > 0) layers[i].attention = AttentionConfig{.heads = heads, .kv_heads = kv_heads};
    if (width > 0) layers[i].mlp = MlpConfig{.intermediate = width};
  }
  return block_configs(hidden, layers);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_blocks.h"

#include <gtest/gtest.h>

#include "streamline/arch/config.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

Json blocks_of_sizes(const GgufLayerSizes& sizes) { return gguf_block_configs(sizes, 16, "a.gguf: 'deci."); }

TEST(GgufBlocks, GiveEachLayerWhatItsNumbersSay) {
  const Json blocks = blocks_of_sizes({{4, 0, 4, 0}, {2, 0, 1, 0}, {256, 512, 0, 0}});
  const Config config = config_from_json(test::pico_config("nemotron_nas", {{"block_configs", blocks}}), "c.json");
  EXPECT_EQ(config.layers[0].attention->kv_heads, 2);
  EXPECT_EQ(config.layers[2].attention->kv_heads, 1);
  EXPECT_EQ(config.layers[1].mlp->intermediate, 512);
  EXPECT_FALSE(config.layers[1].attention || config.layers[3].attention);
  EXPECT_FALSE(config.layers[2].mlp || config.layers[3].mlp);
}

TEST(GgufBlocks, RefuseWhatNoLayerOfOursIs) {
  const auto refuse = [](const GgufLayerSizes& sizes, const char* message) {
    EXPECT_ERROR(blocks_of_sizes(sizes), unsupported, message);
  };
  refuse({{4, 4}, {2, 0}, {256, 256}}, "a.gguf: 'deci.attention.head_count_kv' of layer 1 is 0");  // linear
  refuse({{4, 4}, {2, 3}, {256, 256}}, "'deci.attention.head_count_kv' of layer 1 is 3");
  refuse({{4, 0}, {2, 2}, {256, 256}}, "'deci.attention.head_count_kv' of layer 1 is 2");
  refuse({{4, 2}, {2, 2}, {256, 256}}, "'deci.attention.head_count' of layer 1 is 2");
  refuse({{-4, -4}, {2, 2}, {256, 256}}, "of layer 0 is");
  refuse({{4, 4}, {2, 2}, {256, 100}}, "'deci.feed_forward_length' of layer 1 is 100");
  refuse({{4, 4}, {2, 2}, {-256, 256}}, "'deci.feed_forward_length' of layer 0 is -256");
  EXPECT_ERROR(gguf_block_configs({{4}, {2}, {256}}, 0, "a.gguf: 'deci."), format, "embedding_length' is 0");
}

}  // namespace
}  // namespace streamline

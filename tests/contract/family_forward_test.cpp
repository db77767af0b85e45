// SPDX-License-Identifier: Apache-2.0
// What every registered family promises: a checkpoint made from its data alone opens, and its forward pass is that of
// plain float64 loops.
#include <algorithm>

#include "support/core/expect.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

class EveryFamily : public testing::TestWithParam<const Family*> {};
INSTANTIATE_TEST_SUITE_P(Contract, EveryFamily, testing::ValuesIn(families().begin(), families().end()),
                         [](const auto& info) { return std::string(info.param->name); });

void expect_reference_forward(const Family& family, const PicoOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto checkpoint = pico_checkpoint(family, options);
  const Model model = Model::open(checkpoint, {.dtype = torch::kFloat});
  const auto ids = pico_ids(1, 23, options.vocab);
  const std::vector<std::int64_t> tokens(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + ids.numel());
  const auto expected = reference_hidden_states(*checkpoint, model.config(), tokens);
  const auto states = hidden_states(model, ids);
  ASSERT_EQ(states.size(), expected.size());
  for (std::size_t i = 0; i < states.size(); ++i)
    EXPECT_LT(relative_difference(states[i], to_torch({expected[i]})), kFloat32) << "h_" << i;
  EXPECT_LT(relative_difference(model.logits(states.back()),
                                to_torch({reference_logits(*checkpoint, model.config(), expected.back())})),
            kFloat32);
}

TEST_P(EveryFamily, ForwardIsTheReference) { expect_reference_forward(*GetParam(), {}); }

TEST_P(EveryFamily, ForwardWithTiedEmbeddingsIsTheReference) {
  expect_reference_forward(*GetParam(), {.extra = {{"tie_word_embeddings", true}}});
}

TEST_P(EveryFamily, ForwardWithBiasesIsTheReference) { expect_reference_forward(*GetParam(), {.biases = true}); }

TEST_P(EveryFamily, ForwardWithAWindowIsTheReference) {
  const WindowRule rule = GetParam()->traits.window;
  if (rule == WindowRule::none) GTEST_SKIP() << "this family has no sliding window";
  const Json extra = {
      {"sliding_window", 7}, {"attention_chunk_size", 7}, {"use_sliding_window", true}, {"max_window_layers", 2}};
  const Config config = config_from_json(pico_config(*GetParam(), {.extra = extra}), "pico");
  EXPECT_TRUE(std::any_of(config.layers.begin(), config.layers.end(), [](const LayerConfig& layer) {
    return layer.attention->window == 7 || layer.attention->chunk == 7;
  }));
  expect_reference_forward(*GetParam(), {.extra = extra});
}

TEST_P(EveryFamily, StoredInHalfTheBytesComputesTheSameWeights) {
  expect_reference_forward(*GetParam(), {.dtype = DType::bf16});
  expect_reference_forward(*GetParam(), {.dtype = DType::f16});
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Which tensors make each tensor of the result, and how far its depth lets them go; L1 … L9 are the checks of the
// specification of LiNeS.
#include "streamline/merge/merge_plan.h"

#include "merge/small_models.h"

namespace streamline::test {
namespace {

using merge::Lines;
using merge::MergePlan;
using merge::Request;
using merge::Source;
using merge::TensorMerge;

const TensorMerge& tensor(const MergePlan& plan, const std::string& name) {
  for (const TensorMerge& merge : plan.tensors)
    if (merge.header.name == name) return merge;
  fail(ErrorKind::internal, "no ", name);
}

TEST(Lines, L1GrowsLinearlyWithDepth) {
  const Lines lines{.alpha = 0.1, .beta = 0.9};
  const auto expect = [&](std::int64_t layers, const std::vector<double>& factors) {
    for (std::size_t i = 0; i < factors.size(); ++i)
      EXPECT_NEAR(merge::depth_factor(lines, static_cast<std::int64_t>(i), layers), factors[i], 1e-6);
    EXPECT_DOUBLE_EQ(merge::depth_factor(lines, layers - 1, layers), 1);
  };
  expect(12, {0.1, 0.181818, 0.263636, 0.345455});
  expect(24, {0.1, 0.139130, 0.178261});
  expect(32, {0.1, 0.129032, 0.158065});
}

TEST(Lines, L3HasTheMeanOfItsEnds) {
  const Lines lines{.alpha = 0.25, .beta = 0.5};
  double sum = 0;
  for (std::int64_t layer = 0; layer < 9; ++layer) sum += merge::depth_factor(lines, layer, 9);
  EXPECT_DOUBLE_EQ(sum / 9, 0.25 + 0.5 / 2);
  EXPECT_EQ(merge::depth_factor(lines, 0, 9), 0.25);
  EXPECT_EQ(merge::depth_factor(lines, 8, 9), 0.75);
}

TEST(Lines, CountsByTheOriginalDepthWhereThatIsGiven) {
  const Lines lines{.alpha = 0, .beta = 1, .depths = {0, 1, 6, 8}, .layers = 9};
  EXPECT_DOUBLE_EQ(merge::depth_factor(lines, 2, 4), 0.75);
  EXPECT_DOUBLE_EQ(merge::depth_factor(lines, 3, 4), 1);
  EXPECT_ERROR(merge::depth_factor({}, 0, 1), usage, "one layer has no depth");
}

// Two digits, experts, and what is outside the layers.
TEST(MergePlan, L7KnowsTheLayerOfEachTensor) {
  Json config = pico_config("mixtral");
  config["num_hidden_layers"] = 12;
  Request request = request_on_first("sum", {pico_source("base", config, 1), pico_source("tuned", config, 2)});
  MergePlan plan = merge::plan_merge(std::move(request));
  scale_by_depth(plan, {.alpha = 0.1, .beta = 1.1});
  EXPECT_NEAR(tensor(plan, "model.layers.1.self_attn.q_proj.weight").parameters.depth, 0.2, 1e-12);
  EXPECT_NEAR(tensor(plan, "model.layers.11.self_attn.q_proj.weight").parameters.depth, 1.2, 1e-12);
  const TensorMerge& expert = tensor(plan, "model.layers.5.block_sparse_moe.experts.0.w1.weight");
  EXPECT_EQ(expert.layer, 5);
  EXPECT_NEAR(expert.parameters.depth, 0.6, 1e-12);
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}) {
    EXPECT_EQ(tensor(plan, name).layer, -1);
    EXPECT_EQ(tensor(plan, name).parameters.depth, 0.1);
  }
  scale_by_depth(plan, {.alpha = 0.1, .beta = 1.1, .outside = 0.75});
  EXPECT_EQ(tensor(plan, "lm_head.weight").parameters.depth, 0.75);
}

// With float64 sums of the written values.
TEST(MergePlan, L9ChangesTheBaseByWhatTheNormsSay) {
  const Json config = pico_config("llama");
  Request request = request_on_first("sum", {pico_source("base", config, 1), pico_source("tuned", config, 2)});
  MergePlan plan = merge::plan_merge(std::move(request));
  const std::vector<merge::Norms> norms = norms_by_layer(plan);
  const Lines lines{.alpha = 0.3, .beta = 0.6};
  scale_by_depth(plan, lines);
  double expected = 0.09 * norms.back().squared, changed = 0;
  for (std::int64_t layer = 0; layer < 4; ++layer)
    expected += std::pow(depth_factor(lines, layer, 4), 2) * norms[static_cast<std::size_t>(layer)].squared;
  for (const TensorMerge& merge : plan.tensors) {
    const std::vector<float> values = floats(merged_bytes(merge));
    const auto base = merge.base.checkpoint->bytes(*merge.base.tensor);
    for (std::size_t i = 0; i < values.size(); ++i)
      changed += std::pow(static_cast<double>(values[i]) - load_float(DType::f32, base.data() + 4 * i), 2);
  }
  EXPECT_NEAR(changed / expected, 1, 1e-6);
}

TEST(MergePlan, TakesLayersFromWhereTheSlicesSay) {
  const Json config = pico_config("llama");
  Request request{.rule = &merge::find_rule("passthrough"),
                  .models = {pico_source("one", config, 1), pico_source("two", config, 2)},
                  .slices = {{.count = 3, .operands = {{0, 0}}}, {.count = 2, .operands = {{1, 2}}}}};
  request.parameters = constant(*request.rule);
  const MergePlan plan = merge::plan_merge(std::move(request));
  EXPECT_EQ(plan.map.origins, (std::vector<std::int64_t>{0, 1, 2, 2, 3}));
  const auto comes_from = [&](const std::string& name, std::size_t model, const std::string& source) {
    const merge::Stored& stored = tensor(plan, name).operands.at(0).stored;
    EXPECT_EQ(stored.checkpoint, plan.request.models[model].checkpoint) << name;
    EXPECT_EQ(stored.tensor->name, source);
  };
  comes_from("model.embed_tokens.weight", 0, "model.embed_tokens.weight");
  comes_from("model.layers.2.mlp.up_proj.weight", 0, "model.layers.2.mlp.up_proj.weight");
  comes_from("model.layers.3.mlp.up_proj.weight", 1, "model.layers.2.mlp.up_proj.weight");
  comes_from("model.layers.4.mlp.up_proj.weight", 1, "model.layers.3.mlp.up_proj.weight");
  comes_from("lm_head.weight", 1, "lm_head.weight");
}

TEST(MergePlan, TakesTheEmbeddingForAHeadThatIsTied) {
  Json tied = pico_config("llama", {{"tie_word_embeddings", true}});
  const Source base = pico_source("base", pico_config("llama"), 1), tuned = pico_source("tuned", tied, 2);
  const MergePlan plan = merge::plan_merge(request_on_first("sum", {base, tuned}));
  EXPECT_EQ(tensor(plan, "lm_head.weight").operands.at(0).stored.tensor->name, "model.embed_tokens.weight");
}

TEST(MergePlan, NamesTheTensorsThatDisagree) {
  const Json config = pico_config("llama");
  const Source base = pico_source("base", config, 1);
  const auto plan = [&](const Source& tuned) { merge::plan_merge(request_on_first("sum", {base, tuned})); };
  EXPECT_ERROR(plan(pico_source("tuned", pico_config("llama", {{"vocab_size", 33}}), 2)), mismatch,
               "tuned/model.safetensors: 'lm_head.weight' is [33, 16]; 'lm_head.weight' of base is [32, 16]");
  EXPECT_ERROR(plan(pico_source("tuned", pico_config("llama", {{"num_hidden_layers", 3}}), 2)), mismatch,
               "tuned: has 3 layers; base has 4");
  EXPECT_ERROR(plan(pico_source("tuned", pico_config("qwen2"), 2)), mismatch,
               "tuned: has a tensor 'model.layers.0.self_attn.k_proj.bias' for which base has none");
  const Source biased = pico_source("biased", pico_config("qwen2"), 2);
  EXPECT_ERROR(merge::plan_merge(request_on_first("sum", {biased, base})), mismatch,
               "base: has no tensor 'model.layers.0.self_attn.k_proj.bias'");
}

TEST(MergePlan, RefusesParametersThatMakeNoSense) {
  const Json config = pico_config("llama");
  const std::vector<Source> models = {pico_source("base", config, 1), pico_source("tuned", config, 2)};
  Request request = request_on_first("ties", models);
  request.parameters = [](const merge::Place&) { return merge::Parameters{.weights = {1}, .densities = {1.5}}; };
  EXPECT_ERROR(merge::plan_merge(request), usage, "a density is 1.5; expected a share");
  request = request_on_first("linear", models, {0});
  EXPECT_ERROR(merge::plan_merge(request), usage, "the sum of the weights is 0");
  request = request_on_first("sum", models);
  request.slices[0].base.reset();
  EXPECT_ERROR(merge::plan_merge(request), usage, "the rule sum needs a base model");
  request = request_on_first("passthrough", {models[0], models[1], models[1]});
  EXPECT_ERROR(merge::plan_merge(request), usage, "passthrough takes one model");
  request = request_on_first("sum", models);
  request.slices[0].count = 5;
  EXPECT_ERROR(merge::plan_merge(request), mismatch, "has layers 0..3; the merge asks for 0..4");
  EXPECT_ERROR(merge::find_rule("average"), usage,
               "there is no merging rule 'average'; there are task-arithmetic, sum");
}

}  // namespace
}  // namespace streamline::test

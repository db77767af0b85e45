// SPDX-License-Identifier: Apache-2.0
// Folding is exact where it claims to be, and falls back to the extension where it cannot be.
#include "streamline/surgery/fold.h"

#include "surgery/written.h"

namespace streamline::test {
namespace {

LayerConfig gated_half(std::int64_t intermediate, Activation activation = Activation::silu) {
  return {.attention = {}, .mlp = MlpConfig{.intermediate = intermediate, .activation = activation}};
}

TEST(Fold, TakesLayersThatAreAnOrdinaryLayerWithLess) {
  const LayerConfig mould = config_from_json(tiny_llama(), "pico").layers[0];
  EXPECT_TRUE(folds_into(mould, mould));
  EXPECT_TRUE(folds_into(gated_half(176), mould));
  EXPECT_TRUE(folds_into(gated_half(8), mould));
  EXPECT_TRUE(folds_into({.attention = mould.attention, .mlp = {}}, mould));
}

TEST(Fold, RefusesLayersThatNoOrdinaryLayerEquals) {
  const LayerConfig mould = config_from_json(tiny_llama(), "pico").layers[0];
  EXPECT_FALSE(folds_into(gated_half(177), mould));
  EXPECT_FALSE(folds_into(gated_half(176, Activation::relu), mould));
  EXPECT_FALSE(folds_into({}, mould));
  LayerConfig layer = gated_half(176);
  layer.mlp->norm = false;
  EXPECT_FALSE(folds_into(layer, mould));
  layer = gated_half(176);
  layer.mlp->residual = false;
  EXPECT_FALSE(folds_into(layer, mould));
  layer = gated_half(176);
  layer.mlp->bias = true;
  EXPECT_FALSE(folds_into(layer, mould));
  layer = mould;
  layer.attention->head_dim = 8;
  EXPECT_FALSE(folds_into(layer, mould));
  layer = mould;
  layer.attention->window = 4;
  EXPECT_FALSE(folds_into(layer, mould));
}

TEST(Fold, PadsANarrowerMlpWithoutChangingTheFunction) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(4), 1);
  const LayerWeights student = random_layer(source.config(), gated_half(40), 2);
  const Plan plan = cut_window(4, 1, 2, "narrow");
  const AppliedPlan applied = apply_plan(source, plan, {{1, student}}, directory.path() / "out", {});
  EXPECT_TRUE(applied.ordinary);
  EXPECT_THAT(applied.notes, testing::Contains("layer 1 is stored as an ordinary layer: its attention output is "
                                               "zeros, its MLP of width 40 is padded with zeros to 176"));
  const Model result = open_model(directory.path() / "out");
  const torch::Tensor ids = some_tokens(256);
  EXPECT_LT(difference(forward_logits(result, ids), forward_logits(source.view(plan, {{1, student}}), ids)), kFloat32);
  const LayerWeights folded = result.layer(1);
  EXPECT_EQ(folded.at(Role::o).weight.abs().max().item<float>(), 0);
  EXPECT_TRUE(torch::equal(folded.at(Role::attention_norm).weight, torch::ones(64)));
  EXPECT_TRUE(torch::equal(folded.at(Role::up).weight.slice(0, 0, 40), student.at(Role::up).weight));
  EXPECT_EQ(folded.at(Role::up).weight.slice(0, 40).abs().max().item<float>(), 0);
}

// OPT's layers have biases, LayerNorm and a plain MLP; the zeroed attention must not leave its bias behind.
TEST(Fold, ZeroesTheBiasOfAMissingAttention) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_opt(), 3);
  const LayerConfig half{.attention = {}, .mlp = source.config().layers[1].mlp};
  apply_plan(source, cut_window(4, 1, 1, "half"), {{1, random_layer(source.config(), half, 4)}},
             directory.path() / "out", {});
  const LayerWeights folded = open_model(directory.path() / "out").layer(1);
  EXPECT_EQ(folded.at(Role::o).bias.abs().max().item<float>(), 0);
  EXPECT_EQ(folded.at(Role::q).bias.abs().max().item<float>(), 0);
  EXPECT_EQ(folded.at(Role::attention_norm).bias.abs().max().item<float>(), 0);
}

TEST(Fold, StoresWhatDoesNotFoldAsAnExtensionThatIsReadBack) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(4), 5);
  const LayerConfig ffn{.attention = {},
                        .mlp = MlpConfig{.intermediate = 96,
                                         .gated = false,
                                         .activation = Activation::relu,
                                         .norm = false,
                                         .residual = false,
                                         .bias = true}};
  const LayerWeights student = random_layer(source.config(), ffn, 6);
  const AppliedPlan applied =
      apply_plan(source, cut_window(4, 1, 2, "ffn"), {{1, student}}, directory.path() / "out", {});
  EXPECT_FALSE(applied.ordinary);
  EXPECT_THAT(applied.notes, testing::Contains(testing::HasSubstr("only this program loads it")));
  const Json config = parse_json(read_text(directory.path() / "out" / "config.json"), "config.json");
  EXPECT_EQ(config["model_type"], "streamline");  // a stock loader must refuse it
  EXPECT_EQ(config["architectures"], Json::array({"StreamlineForCausalLM"}));
  EXPECT_EQ(config["streamline"]["base_model_type"], "llama");
  EXPECT_EQ(config["streamline"]["layers"][0]["index"], 1);
  EXPECT_EQ(config["streamline"]["layers"][0]["intermediate_size"], 96);
  const Model result = open_model(directory.path() / "out");
  EXPECT_NE(result.checkpoint().find("model.layers.1.replacement.up.weight"), nullptr);
  EXPECT_NE(result.checkpoint().find("model.layers.1.replacement.down.bias"), nullptr);
  EXPECT_TRUE(same(result.layer(1), student));
}

// A result with an extension layer is a source like any other.
TEST(Fold, CutsAModelThatHasAnExtensionLayer) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(5), 7);
  const LayerConfig ffn{.attention = {},
                        .mlp = MlpConfig{.intermediate = 32,
                                         .gated = false,
                                         .activation = Activation::relu,
                                         .norm = false,
                                         .residual = false,
                                         .bias = true}};
  const LayerWeights student = random_layer(source.config(), ffn, 8);
  apply_plan(source, cut_window(5, 2, 2, "ffn"), {{1, student}}, directory.path() / "once", {});
  const Model once = open_model(directory.path() / "once");
  const torch::Tensor ids = some_tokens(256);

  apply_plan(once, drop_layers(4, {0}), {}, directory.path() / "kept", {});
  const Model kept = open_model(directory.path() / "kept");
  EXPECT_TRUE(same(kept.layer(1), student));
  EXPECT_TRUE(torch::equal(forward_logits(kept, ids), forward_logits(once.view(drop_layers(4, {0}), {}), ids)));

  const AppliedPlan ordinary = apply_plan(once, drop_layers(4, {2}), {}, directory.path() / "dropped", {});
  EXPECT_TRUE(ordinary.ordinary);
  EXPECT_EQ(open_model(directory.path() / "dropped").config().json["model_type"], "llama");

  const LayerWeights half = random_layer(source.config(), gated_half(176), 9);
  apply_plan(once, cut_window(4, 2, 1, "half"), {{1, half}}, directory.path() / "replaced", {});
  EXPECT_EQ(open_model(directory.path() / "replaced").config().json["model_type"], "llama");
}

TEST(Fold, RefusesAttentionOfAnotherShape) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(4), 10);
  LayerConfig layer = source.config().layers[1];
  layer.attention->kv_heads = 4;
  EXPECT_ERROR(apply_plan(source, cut_window(4, 1, 2, "wide"), {{1, random_layer(source.config(), layer, 11)}},
                          directory.path() / "out", {}),
               unsupported, "is not a layer that a llama checkpoint can hold");
}

}  // namespace
}  // namespace streamline::test

// SPDX-License-Identifier: Apache-2.0
// The export ladder: the same plan as an ordinary checkpoint, as DeciLM and with `per_layer_config`, read back.
#include "streamline/surgery/format.h"

#include "streamline/surgery/export_gguf.h"
#include "streamline/surgery/model_card.h"
#include "support/core/plans.h"
#include "support/torch/pico.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

using testing::Contains, testing::HasSubstr;

AppliedPlan apply_as(const Model& source, const Plan& plan, const std::filesystem::path& out, Format format,
                     const Replacements& replacements = {}) {
  ApplyOptions options;
  options.format = format;
  return apply_plan(source, plan, replacements, out, options);
}

// The written checkpoint computes what the plan means.
void expect_computes(const Model& source, const Plan& plan, const std::filesystem::path& out,
                     const Replacements& replacements = {}) {
  const torch::NoGradGuard no_grad;
  const auto ids = pico_ids(2, 19, source.config().vocab);
  EXPECT_LT(difference(forward_logits(open_model(out), ids), forward_logits(source.view(plan, replacements), ids)),
            kFloat32);
}

TEST(Formats, HaveNames) {
  for (const std::string& name : format_names()) EXPECT_NO_THROW(parse_format(name));
  EXPECT_ERROR(parse_format("deci"), usage, "'deci' is none of auto, ordinary, decilm, per-layer");
}

// Attention of 1 and MLP of 2 find each other; 0 and 3 stay halves.
const Plan kHalves = plan_of({mlp_only, attention_only, mlp_only, attention_only});

TEST(Formats, DeciLMHasNoTensorsOfHalvesThatWent) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("llama"), {.layers = 4});
  const auto out = directory.path() / "out";
  const AppliedPlan applied = apply_as(source, kHalves, out, Format::decilm);
  EXPECT_EQ(applied.format, "decilm");
  EXPECT_FALSE(applied.ordinary);
  EXPECT_THAT(applied.notes, Contains(HasSubstr("re-packed to 3 layers: 1 holds an attention and an MLP of different "
                                                "layers, 2 have a half without partner, and only that")));
  EXPECT_THAT(applied.notes, Contains(HasSubstr("trust-remote-code")));
  EXPECT_THAT(applied.notes, Contains(HasSubstr("llama.cpp then loses the attention")));
  expect_computes(source, kHalves, out);
  const Model result = open_model(out);
  EXPECT_EQ(result.config().family->name, "nemotron_nas");
  EXPECT_EQ(result.checkpoint().find("model.layers.0.input_layernorm.weight"), nullptr);
  EXPECT_EQ(result.checkpoint().find("model.layers.2.post_attention_layernorm.weight"), nullptr);
  // The MLPs of 48 are as wide as the next multiple of 256, the rest zeros.
  const auto down = result.layer(0).at(Role::down).weight;
  EXPECT_EQ(down.size(1), 256);
  EXPECT_EQ(down.narrow(1, 48, 208).abs().max().item<float>(), 0);
  EXPECT_TRUE(torch::equal(down.narrow(1, 0, 48), source.layer(0).at(Role::down).weight));
  const Json config = result.checkpoint().config();
  EXPECT_EQ(config.at("auto_map").at("AutoConfig"), "configuration_decilm.DeciLMConfig");
  EXPECT_THAT(read_text(out / "modeling_decilm.py"), HasSubstr("class DeciLMForCausalLM(LlamaForCausalLM)"));
  EXPECT_THAT(read_text(out / "configuration_decilm.py"), HasSubstr("model_type = \"nemotron-nas\""));
  EXPECT_THAT(read_text(out / "README.md"), HasSubstr("trust_remote_code=True"));
  EXPECT_THAT(read_text(out / "README.md"), HasSubstr("llama.cpp then loses the attention"));
}

TEST(Formats, DeciLMIsScoredAndCutAgain) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("qwen2"), {.layers = 4, .extra = {{"use_sliding_window", false}}});
  const auto first = directory.path() / "first", second = directory.path() / "second";
  apply_as(source, kHalves, first, Format::decilm);
  const Model between = open_model(first);
  const Plan plan = plan_of({keep, drop, keep});
  const AppliedPlan applied = apply_as(between, plan, second, Format::automatic);
  EXPECT_EQ(applied.format, "decilm");
  EXPECT_EQ(applied.layers, 2);
  expect_computes(between, plan, second);
  EXPECT_EQ(read_text(first / "modeling_decilm.py"), read_text(second / "modeling_decilm.py"));
  EXPECT_ERROR(apply_as(between, plan, directory.path() / "x", Format::ordinary), unsupported,
               "cannot be written in the format ordinary: its layers have shapes of their own");
  EXPECT_ERROR(apply_as(between, plan, directory.path() / "x", Format::per_layer), unsupported, "DeciLM checkpoint");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x"));
}

TEST(Formats, PerLayerConfigHasNoTensorsOfHalvesThatWent) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("qwen3"), {.layers = 4});
  const auto out = directory.path() / "out", again = directory.path() / "again";
  const AppliedPlan applied = apply_as(source, kHalves, out, Format::per_layer);
  EXPECT_EQ(applied.format, "per-layer");
  EXPECT_THAT(applied.notes, Contains(HasSubstr("or stops where widths differ")));
  expect_computes(source, kHalves, out);
  const Model result = open_model(out);
  EXPECT_EQ(result.checkpoint().config().at("per_layer_config"),
            parse_json(R"({"0": {"skip": ["attention"]}, "2": {"skip": ["mlp"]}})", ""));
  EXPECT_EQ(result.checkpoint().find("model.layers.0.self_attn.q_norm.weight"), nullptr);
  EXPECT_EQ(applied.parameters, source.view(kHalves, {}).parameters());
  EXPECT_THAT(read_text(out / "README.md"), HasSubstr("only this program"));
  // Cut again, the numbers follow; with the other half gone too it is an ordinary checkpoint.
  apply_as(result, plan_of({drop, keep, keep}), again, Format::automatic);
  EXPECT_EQ(open_model(again).checkpoint().config().at("per_layer_config"),
            parse_json(R"({"1": {"skip": ["mlp"]}})", ""));
  EXPECT_EQ(apply_as(result, plan_of({drop, keep, drop}), directory.path() / "o", Format::automatic).format,
            "ordinary");
}

TEST(Formats, AutomaticIsOrdinary) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("llama"), {.layers = 4});
  const AppliedPlan applied = apply_as(source, kHalves, directory.path() / "out", Format::automatic);
  EXPECT_EQ(applied.format, "ordinary");
  EXPECT_TRUE(applied.ordinary);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "out" / "modeling_decilm.py"));
}

// Gemma 3's every sixth layer has no window; llama.cpp and MLX count on that, whatever config.json lists.
TEST(Formats, ACutBetweenPeriodsIsNotForLoadersThatCountLayers) {
  const TemporaryDirectory directory;
  const Model source =
      pico_model(family_named("gemma3_text"), {.layers = 12, .extra = {{"sliding_window_pattern", 6}}});
  const auto whole = directory.path() / "whole", between = directory.path() / "between";
  EXPECT_THAT(apply_as(source, drop_layers(12, {2, 3, 4, 5, 6, 7}), whole, Format::automatic).notes,
              Contains(HasSubstr("vLLM, llama.cpp's converter and MLX load it")));
  EXPECT_THAT(read_text(whole / "README.md"), HasSubstr("convert_hf_to_gguf.py"));
  const AppliedPlan applied = apply_as(source, drop_layers(12, {1, 2}), between, Format::automatic);
  EXPECT_TRUE(applied.ordinary);
  EXPECT_FALSE(applied.converts);
  EXPECT_THAT(applied.notes, Contains(HasSubstr("transformers and vLLM load it wherever they load the source")));
  EXPECT_THAT(applied.notes, Contains(testing::AllOf(HasSubstr("not for llama.cpp and MLX"),
                                                     HasSubstr("layer 3 has no window; llama.cpp's 'gemma3'"))));
  const std::string card = read_text(between / "README.md");
  EXPECT_THAT(card, testing::Not(HasSubstr("convert_hf_to_gguf.py")));
  EXPECT_THAT(card, testing::Not(HasSubstr("loads it unmodified")));
  EXPECT_THAT(card, HasSubstr("not for llama.cpp and MLX"));
}

TEST(Formats, AReplacementIsStoredWithoutTheHalfThatItLacks) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("llama"), {.layers = 4});
  const Plan plan = cut_window(4, 1, 2, "swiglu-residual");
  LayerConfig shape = source.config().layers[1];
  shape.attention.reset();
  shape.mlp->intermediate = 10;
  const Replacements replacements = {{1, random_layer(source.config(), shape, 3)}};
  for (const Format format : {Format::decilm, Format::per_layer}) {
    const auto out = directory.path() / (format == Format::decilm ? "decilm" : "per-layer");
    apply_as(source, plan, out, format, replacements);
    expect_computes(source, plan, out, replacements);
    EXPECT_FALSE(open_model(out).config().layers[1].attention);
    EXPECT_EQ(open_model(out).config().layers[1].mlp->intermediate, format == Format::decilm ? 256 : 48);
  }
  shape.mlp->norm = false;
  shape.mlp->residual = false;
  const Replacements ffn = {{1, random_layer(source.config(), shape, 3)}};
  EXPECT_ERROR(apply_as(source, plan, directory.path() / "x", Format::decilm, ffn), unsupported,
               "the replacement of layer 1 is no layer that the format decilm can hold");
  EXPECT_ERROR(apply_as(source, plan, directory.path() / "x", Format::ordinary, ffn), unsupported,
               "no layer that ordinary checkpoints have");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x"));
}

TEST(Formats, WhatDeciLMDoesNotComputeIsRefusedInOneLine) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("qwen3"), {.layers = 4});
  EXPECT_ERROR(apply_as(source, kHalves, directory.path() / "x", Format::decilm), unsupported,
               "cannot be written in the format decilm: it has norms of q and k; the format ordinary stands zeros");
  const Model parallel = pico_model(family_named("phi"), {.layers = 4});
  EXPECT_ERROR(apply_as(parallel, kHalves, directory.path() / "x", Format::per_layer), unsupported,
               "the halves of its layers do not follow each other");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x"));
}

// llama.cpp loses the attention of a layer without MLP, and knows nothing of skipped halves: no such file is written.
TEST(Formats, NoneButTheOrdinaryOneBecomesGguf) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("llama"), {.layers = 4});
  for (const Format format : {Format::decilm, Format::per_layer}) {
    const auto out = directory.path() / std::string(format == Format::decilm ? "decilm" : "per-layer");
    apply_as(source, kHalves, out, format);
    EXPECT_ERROR(export_gguf(open_model(out), directory.path() / "x.gguf", {}), unsupported,
                 "cannot become a GGUF file");
  }
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x.gguf"));
}

}  // namespace
}  // namespace streamline::test

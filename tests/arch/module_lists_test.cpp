// SPDX-License-Identifier: Apache-2.0
// Modules that quantisations name, as the tools write them, under the numbers of the result.
#include "streamline/arch/module_lists.h"

#include "support/core/expect.h"

namespace streamline::test {
namespace {

const LayerStack kModules{.prefix = "model.layers.", .layers = 12};
const LayerMap kModuleMap{.before = 12, .origins = {0, 1, 4, 10, 11}};  // 4 becomes 2, 10 and 11 become 3 and 4

TEST(ModuleLists, GiveEachNameItsNewNumber) {
  struct Case {
    std::string module;
    std::vector<std::string> renumbered;
  };
  const std::vector<Case> cases = {
      {"lm_head", {"lm_head"}},
      {"model.layers.4.mlp.gate", {"model.layers.2.mlp.gate"}},
      {"model.layers.10", {"model.layers.3"}},
      {"layers.1.mlp", {"layers.1.mlp"}},
      {"model.language_model.layers.11.self_attn.q_proj", {"model.language_model.layers.4.self_attn.q_proj"}},
      {"model.layers.5.mlp.gate", {}},
      {"vision_tower.encoder.layers.5.mlp", {"vision_tower.encoder.layers.5.mlp"}},
      {"visual.blocks.5.mlp", {"visual.blocks.5.mlp"}},
      {"model.sublayers.5.mlp", {"model.sublayers.5.mlp"}},
      {"Linear", {"Linear"}},
      // patterns of a shell
      {"model.layers.*.mlp.gate", {"model.layers.*.mlp.gate"}},
      {"model.layers.4*", {"model.layers.2.*"}},
      {"model.layers.1*", {"model.layers.1.*", "model.layers.3.*", "model.layers.4.*"}},
      {"model.layers.1?.mlp*", {"model.layers.3.mlp*", "model.layers.4.mlp*"}},
      {"model.layers.5*", {}},
      // regular expressions
      {"re:.*lm_head", {"re:.*lm_head"}},
      {"re:model\\.layers\\.4\\.mlp\\..*", {"re:model\\.layers\\.2\\.mlp\\..*"}},
      {"re:.*layers\\.(0|5|10)\\.mlp.*", {"re:.*layers\\.(?:0|3)\\.mlp.*"}},
      {"re:.*layers.[3-5].self_attn", {"re:.*layers.2.self_attn"}},
      {"re:.*layers\\.\\d+\\.mlp", {"re:.*layers\\.\\d+\\.mlp"}},
      {"re:.*layers.*mlp", {"re:.*layers.*mlp"}},
      {"re:(layers\\.4\\.mlp|layers\\.5\\.mlp)", {"re:(layers\\.2\\.mlp|layers\\.(?!)\\.mlp)"}},
      {"-:.*\\.layers\\.(?:2|3)\\..*", {}},
      {"+:.*\\.layers\\.1[01]\\..*", {"+:.*\\.layers\\.(?:3|4)\\..*"}},
  };
  for (const Case& expected : cases)
    EXPECT_EQ(renumbered_module(expected.module, kModules, kModuleMap), expected.renumbered) << expected.module;
}

TEST(ModuleLists, GoByTheNameThatTheStackHas) {
  const LayerStack stack{.prefix = "transformer.h.", .layers = 12};
  EXPECT_EQ(renumbered_module("transformer.h.4.mlp", stack, kModuleMap),
            std::vector<std::string>{"transformer.h.2.mlp"});
  EXPECT_EQ(renumbered_module("h.5", stack, kModuleMap), std::vector<std::string>{});
}

TEST(ModuleLists, RefuseARegularExpressionThatCannotBeRead) {
  EXPECT_ERROR(renumbered_module("re:layers\\.[5\\.mlp", kModules, kModuleMap), unsupported,
               "cannot tell which layers");
  EXPECT_ERROR(renumbered_module("re:layers\\.(?P<n>5)\\.mlp", kModules, kModuleMap), unsupported,
               "write one entry a layer");
  EXPECT_ERROR(renumbered_module("re:layers\\." + std::string(999, '1'), kModules, kModuleMap), unsupported,
               "too long");
}

// The forms that transformers, compressed-tensors, GPTQModel and AutoRound write.
TEST(ModuleLists, FollowInEveryQuantisationsConfiguration) {
  Json config = Json::parse(R"({
    "quantization_config": {
      "quant_method": "compressed-tensors", "bits": 4,
      "ignore": ["lm_head", "model.layers.5.mlp.gate", "model.layers.10.mlp.gate"],
      "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 4}},
        "group_1": {"targets": ["re:.*layers\\.5\\..*"], "weights": {"num_bits": 8}},
        "group_2": {"targets": ["model.layers.4.mlp"], "weights": {"num_bits": 8}}},
      "modules_in_block_to_quantize": [["self_attn.q_proj"], ["mlp.up_proj"]],
      "dynamic": {"-:.*layers\\.4\\..*": {}, "+:.*layers\\.5\\..*": {"bits": 8}},
      "llm_int8_skip_modules": null},
    "hidden_size": 5})");
  renumber_quantization(config, kModules, kModuleMap);
  const Json& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["ignore"], Json::array({"lm_head", "model.layers.3.mlp.gate"}));
  EXPECT_FALSE(quantization["config_groups"].contains("group_1"));
  EXPECT_EQ(quantization["config_groups"]["group_0"]["targets"], Json::array({"Linear"}));
  EXPECT_EQ(quantization["config_groups"]["group_2"]["targets"], Json::array({"model.layers.2.mlp"}));
  EXPECT_EQ(quantization["modules_in_block_to_quantize"], Json::parse(R"([["self_attn.q_proj"], ["mlp.up_proj"]])"));
  EXPECT_EQ(quantization["dynamic"], Json::parse(R"({"-:.*layers\\.2\\..*": {}})"));
  EXPECT_EQ(quantization["bits"], 4);
  EXPECT_TRUE(quantization["llm_int8_skip_modules"].is_null());
  EXPECT_EQ(config["hidden_size"], 5);
}

}  // namespace
}  // namespace streamline::test

// SPDX-License-Identifier: Apache-2.0
// Layers of their own shapes: `block_configs` of DeciLM and `per_layer_config` of transformers, read, written, refused.
#include "streamline/arch/layer_shapes.h"

#include "streamline/arch/config_write.h"
#include "streamline/arch/decilm.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

using test::block, test::pico_checkpoint, test::pico_config;

Config read_shapes(const Json& json) { return config_from_json(json, "c.json"); }

Json decilm(const Json& blocks) {
  Json config = pico_config("nemotron_nas", {{"block_configs", blocks}, {"intermediate_size", nullptr}});
  config["num_key_value_heads"] = nullptr;
  return config;
}

// As NVIDIA's files have it: 80 of 128 layers' worth of keys, an intermediate of 14336 at hidden 4096 is 5.25.
TEST(BlockConfigs, GiveEachLayerItsWidths) {
  Json config = decilm({block(4, 5.25), block(1, 1.3125), block(nullptr, 0.5), block(2, nullptr)});
  config["hidden_size"] = 4096;
  config["num_attention_heads"] = 32;
  const Config model = read_shapes(config);
  EXPECT_EQ(model.layers[0].attention->kv_heads, 8);
  EXPECT_EQ(model.layers[1].attention->kv_heads, 32);
  EXPECT_EQ(model.layers[0].mlp->intermediate, 14336);
  EXPECT_EQ(model.layers[1].mlp->intermediate, 3584);
  EXPECT_EQ(model.layers[2].mlp->intermediate, 1536);  // 1365, rounded up
  EXPECT_FALSE(model.layers[2].attention || model.layers[3].mlp);
  EXPECT_TRUE(model.layers[2].partial && model.layers[3].partial && !model.layers[0].partial);
}

// Widths that are whole multiples of 256 survive the division by the hidden size.
TEST(BlockConfigs, AreReadAsTheyAreWritten) {
  for (const std::int64_t hidden : {16, 192, 576, 1536, 5120, 8192, 16384})
    for (std::int64_t width = kBlockWidth; width <= 64 * kBlockWidth; width += kBlockWidth) {
      LayerConfig layer{.attention = AttentionConfig{.heads = 4, .kv_heads = 2, .head_dim = hidden / 4},
                        .mlp = MlpConfig{.intermediate = width}};
      Json config = decilm({});
      config["hidden_size"] = hidden;
      config["num_hidden_layers"] = 1;
      config["block_configs"] = block_configs(hidden, {layer});
      ASSERT_EQ(read_shapes(config).layers[0].mlp->intermediate, width) << hidden;
    }
}

// Neither the tensors of a half that is not there, nor its norm.
TEST(BlockConfigs, SayWhichTensorsThereAre) {
  const Json config = decilm({block(2, 24.0), block(nullptr, 24.0), block(2, nullptr), block(nullptr, nullptr)});
  const auto checkpoint = pico_checkpoint(config);
  const Config model = resolve_config(*checkpoint);
  EXPECT_EQ(find_tensor(*checkpoint, model, 1, Role::attention_norm, Part::weight), nullptr);
  EXPECT_EQ(find_tensor(*checkpoint, model, 2, Role::mlp_norm, Part::weight), nullptr);
  EXPECT_NE(find_tensor(*checkpoint, model, 1, Role::mlp_norm, Part::weight), nullptr);
  EXPECT_EQ(layer_parameters(model, *checkpoint, 3), 0);
  EXPECT_EQ(checkpoint->tensors().size(), 3u + 9 + 4 + 5);
}

TEST(BlockConfigs, AreHeldAgainstTheTensors) {
  const auto whole = test::random_tensors(decilm({block(2, 24.0), block(2, 24.0), block(2, 24.0), block(2, 24.0)}));
  const Json lacking = decilm({block(2, 24.0), block(nullptr, 24.0), block(2, 24.0), block(2, 24.0)});
  const auto checkpoint = Checkpoint::open(memory_files("pico", test::checkpoint_files(lacking, whole)));
  EXPECT_ERROR(resolve_config(*checkpoint), mismatch, "config.json says that its half of layer 1 is not there");
}

struct Bad {
  Json blocks;
  ErrorKind kind;
  const char* message;
};

void expect_refused(const std::vector<Bad>& table, const std::function<void(const Json&)>& read_it) {
  for (const Bad& bad : table) {
    SCOPED_TRACE(bad.message);
    try {
      read_it(bad.blocks);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), bad.kind) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(bad.message));
      EXPECT_THAT(error.what(), testing::StartsWith("c.json"));
    }
  }
}

Json with(const char* half, const Json& keys) {
  Json entry = block(2, 24.0);
  entry[half].update(keys);
  return {block(2, 24.0), entry, block(2, 24.0), block(2, 24.0)};
}

TEST(BlockConfigs, ThatAreBrokenAreRefusedInOneLine) {
  using enum ErrorKind;
  const Json good = block(2, 24.0);
  const std::vector<Bad> table = {
      {nullptr, format, "lacks 'block_configs', a list with an entry a layer"},
      {{{"0", good}}, format, "lacks 'block_configs'"},
      {{good, good}, mismatch, "'block_configs' has 2 entries; num_hidden_layers is 4"},
      {{good, 3, good, good}, format, "block_configs[1] has no object 'attention'"},
      {{good, {{"attention", good["attention"]}}, good, good}, format, "block_configs[1] has no object 'ffn'"},
      {with("attention", {{"n_heads_in_group", nullptr}}), mismatch,
       "[1].attention: 'n_heads_in_group' is null; expected"},
      {with("attention", {{"n_heads_in_group", 3}}), mismatch, "'n_heads_in_group' is 3; expected a divisor of the 4"},
      {with("attention", {{"n_heads_in_group", 0}}), mismatch, "'n_heads_in_group' is 0"},
      {with("attention", {{"n_heads_in_group", "2"}}), format, "'n_heads_in_group' is \"2\"; expected an integer"},
      {with("attention", {{"no_op", 1}}), format, "[1].attention: 'no_op' is 1"},
      {with("attention", {{"replace_with_linear", true}}), unsupported,
       "[1].attention: is replaced by a linear map (replace_with_linear); such layers are not supported"},
      {with("ffn", {{"replace_with_linear", true}}), unsupported, "[1].ffn: is replaced by a linear map"},
      {with("attention", {{"window_length", 512}}), unsupported, "'window_length' is 512; supported is null or false"},
      {with("attention", {{"mamba", {{"state_dim", 4}}}}), unsupported, "'mamba' is {\"state_dim\":4}"},
      {with("ffn", {{"ffn_mult", nullptr}}), format, "[1].ffn: 'ffn_mult' is null; expected the width"},
      {with("ffn", {{"ffn_mult", -1.5}}), format, "'ffn_mult' is -1.5"},
      {with("ffn", {{"ffn_mult", 1e300}}), format, "'ffn_mult' is 1e+300"},
      {with("ffn", {{"ffn_mult", "4"}}), format, "'ffn_mult' is \"4\"; expected a number"},
      {with("ffn", {{"hidden_act", "relu"}}), unsupported, "'hidden_act' is \"relu\"; supported is that of the model"},
      {with("ffn", {{"moe", {{"experts", 8}}}}), unsupported, "[1].ffn: 'moe' is"},
  };
  expect_refused(table, [](const Json& blocks) { read_shapes(decilm(blocks)); });
  Json later = good;
  later["attention"].update({{"sparsify", nullptr}, {"unshifted_sink", false}, {"window_length", nullptr}});
  later["parallel_blocks"] = nullptr;
  EXPECT_EQ(read_shapes(decilm({later, good, good, good})).layers.size(), 4u);
}

TEST(PerLayerConfig, TakesHalvesAway) {
  const Json config =
      pico_config("llama", {{"per_layer_config", {{"1", {{"skip", {"attention"}}}}, {"3", {{"skip", {"mlp"}}}}}}});
  const Config model = read_shapes(config);
  EXPECT_FALSE(model.layers[1].attention || model.layers[3].mlp);
  EXPECT_TRUE(model.layers[1].mlp && model.layers[3].attention && model.layers[0].whole());
  EXPECT_EQ(layer_form(model), LayerForm::per_layer);
  EXPECT_EQ(per_layer_config(*model.family, largest_widths(model.layers), model.layers), config.at("per_layer_config"));
  EXPECT_EQ(layer_form(read_shapes(pico_config("llama", {{"per_layer_config", Json::object()}}))), LayerForm::ordinary);
}

TEST(PerLayerConfig, GivesLayersTheirOwnWidths) {
  const Json config = pico_config(
      "llama",
      {{"per_layer_config",
        {{"1", {{"intermediate_size", 8}}}, {"2", {{"num_key_value_heads", 1}, {"num_attention_heads", 2}}}}}});
  const Config model = read_shapes(config);
  EXPECT_EQ(model.layers[1].mlp->intermediate, 8);
  EXPECT_EQ(model.layers[2].attention->heads, 2);
  EXPECT_EQ(model.layers[2].attention->kv_heads, 1);
  EXPECT_EQ(model.layers[2].attention->head_dim, model.layers[0].attention->head_dim);
  EXPECT_EQ(layer_form(model), LayerForm::per_layer);
  EXPECT_EQ(output_config(model, {{.source = 1}, {.source = 2}, {.source = 0}}).at("per_layer_config").size(), 2u);
}

TEST(PerLayerConfig, ThatIsBrokenIsRefusedInOneLine) {
  using enum ErrorKind;
  const std::vector<Bad> table = {
      {Json::array({1}), format, "'per_layer_config' is not an object"},
      {{{"4", {{"skip", {"mlp"}}}}}, mismatch, "per_layer_config[\"4\"]: is no layer; expected 0 to 3"},
      {{{"-1", Json::object()}}, mismatch, "is no layer"},
      {{{"1x", Json::object()}}, mismatch, "is no layer"},
      {{{"1", "skip"}}, format, "per_layer_config[\"1\"]: not an object"},
      {{{"1", {{"skip", "mlp"}}}}, format, "'skip' is not a list"},
      {{{"1", {{"skip", {"norm"}}}}}, unsupported, "'skip' has \"norm\"; supported are"},
      {{{"1", {{"hidden_size", 8}}}}, unsupported, "'hidden_size' of a single layer is not supported"},
      {{{"1", {{"intermediate_size", 0}}}}, format, "'intermediate_size' is 0; expected 1 to"},
      {{{"1", {{"num_key_value_heads", 3}}}}, mismatch, "heads do not go with 3 for keys and values"},
  };
  expect_refused(table, [](const Json& layers) { read_shapes(pico_config("llama", {{"per_layer_config", layers}})); });
  EXPECT_ERROR(read_shapes(pico_config("phi", {{"per_layer_config", {{"1", {{"skip", {"mlp"}}}}}}})), unsupported,
               "halves do not follow each other");
}

TEST(DeciLM, TakesOnlyModelsThatItComputes) {
  const auto why = [](const std::string& family, const Json& changes) {
    return why_not_decilm(read_shapes(pico_config(family, changes)));
  };
  EXPECT_EQ(why("llama", Json::object()), "");
  EXPECT_EQ(why("nemotron_nas", Json::object()), "");
  EXPECT_EQ(why("mistral", {{"sliding_window", nullptr}, {"head_dim", 4}}), "");
  EXPECT_EQ(why("qwen2", {{"use_sliding_window", false}}), "");
  EXPECT_EQ(why("mistral", {{"head_dim", 4}}), "layer 0 has a window of 8 tokens");
  EXPECT_EQ(why("llama", {{"head_dim", 6}}), "layer 0 has 4 heads of 6, which are not the hidden size 16");
  EXPECT_EQ(why("llama", {{"hidden_act", "gelu"}}), "layer 0 has the activation gelu instead of silu");
  EXPECT_EQ(why("qwen3", Json::object()), "it has norms of q and k");
  EXPECT_EQ(why("mixtral", Json::object()), "it has experts");
  EXPECT_EQ(why("phi3", Json::object()), "its layers are not those of Llama");
  EXPECT_EQ(why("granite", Json::object()), "it does not compute as Llama does");
  EXPECT_EQ(why("smollm3", {{"use_sliding_window", false}}), "layer 1 does not turn its heads as the others do");
}

TEST(DeciLM, ConfigurationIsThatOfTheLayers) {
  const Config source = read_shapes(pico_config("qwen2", {{"use_sliding_window", false}}));
  LayerConfig alone = source.layers[1];
  alone.attention.reset();
  const std::vector<LayerOrigin> layers = {{.source = 0, .shape = decilm_layer(source.layers[0])},
                                           {.source = 1, .shape = decilm_layer(alone)}};
  const Json config = output_config(source, layers, nullptr, LayerForm::decilm);
  EXPECT_EQ(config.at("model_type"), "nemotron-nas");
  EXPECT_EQ(config.at("architectures"), Json::array({"DeciLMForCausalLM"}));
  EXPECT_TRUE(config.at("num_key_value_heads").is_null() && config.at("intermediate_size").is_null());
  EXPECT_EQ(config.at("block_configs")[0].at("ffn").at("ffn_mult"), 24.0);
  EXPECT_EQ(config.at("block_configs")[0].at("attention").at("n_heads_in_group"), 2);
  EXPECT_EQ(config.at("block_configs")[1].at("attention").at("no_op"), true);
  EXPECT_EQ(config.at("attention_bias"), false);
  EXPECT_EQ(config.at("qkv_bias"), true);
  for (const char* key : {"layer_types", "sliding_window", "use_sliding_window", "max_window_layers"})
    EXPECT_FALSE(config.contains(key)) << key;
  const Config result = read_shapes(config);
  EXPECT_EQ(result.layers[0], decilm_layer(source.layers[0]));
  EXPECT_EQ(result.layers[1], decilm_layer(alone));
  EXPECT_EQ(result.max_positions, source.max_positions);
  EXPECT_EQ(result.norm_epsilon, source.norm_epsilon);
}

}  // namespace
}  // namespace streamline

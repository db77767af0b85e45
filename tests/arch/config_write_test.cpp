// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/config_write.h"

#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

using test::pico_config;

Config read_config(const Json& json) { return config_from_json(json, "c.json"); }

std::vector<LayerOrigin> origins(const std::vector<std::int64_t>& sources) {
  std::vector<LayerOrigin> layers;
  for (const std::int64_t source : sources) layers.push_back({source, {}});
  return layers;
}

Json cut(const Json& json, const std::vector<std::int64_t>& sources, const Json& provenance = nullptr) {
  return output_config(read_config(json), origins(sources), provenance);
}

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> list;
  for (const auto& [key, value] : object.items()) list.push_back(key);
  return list;
}

Json without_key(Json json, const std::string& key) {
  json.erase(key);
  return json;
}

TEST(OutputConfig, KeepsUnknownKeysAndTheirOrder) {
  const Json source = parse_json(R"({"zeta":[1,{"a":null}],"model_type":"llama","hidden_size":16,"vocab_size":32,
    "_name_or_path":"me/mine","num_hidden_layers":4,"num_attention_heads":4,"intermediate_size":24,
    "rope_theta":10000,"torch_dtype":"float16","alpha":"é","max_position_embeddings":64})",
                                 "c");
  const Json result = cut(source, {0, 3});
  EXPECT_EQ(keys(result),
            (std::vector<std::string>{"zeta", "model_type", "hidden_size", "vocab_size", "num_hidden_layers",
                                      "num_attention_heads", "intermediate_size", "rope_theta", "rope_scaling",
                                      "rope_parameters", "torch_dtype", "dtype", "alpha", "max_position_embeddings",
                                      "tie_word_embeddings"}));
  EXPECT_EQ(result.at("zeta"), source.at("zeta"));
  EXPECT_EQ(result.at("num_hidden_layers"), 2);
  EXPECT_TRUE(result.at("rope_theta").is_number_integer());  // as the source spells it
}

TEST(OutputConfig, WritesBothSpellingsOfAnUnscaledRope) {
  const Json result = cut(pico_config("llama"), {0, 1});
  EXPECT_EQ(result.at("rope_theta"), 10000.0);
  EXPECT_TRUE(result.at("rope_scaling").is_null());
  EXPECT_EQ(result.at("rope_parameters"), (Json{{"rope_type", "default"}, {"rope_theta", 10000.0}}));
  EXPECT_EQ(result.at("torch_dtype"), "float32");
  EXPECT_EQ(result.at("dtype"), "float32");
  EXPECT_EQ(result.at("tie_word_embeddings"), false);
}

TEST(OutputConfig, WritesBothSpellingsOfAScaledRopeFromEither) {
  const Json scaling = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32},
                        {"rope_type", "llama3"}};
  Json parameters = scaling;
  parameters["rope_theta"] = 5e5;
  const Json four = pico_config("llama", {{"rope_theta", 5e5}, {"rope_scaling", scaling}});
  const Json five =
      without_key(without_key(pico_config("llama", {{"rope_parameters", parameters}}), "rope_theta"), "rope_scaling");
  for (const Json& source : {four, five}) {
    const Json result = cut(source, {0, 1, 2});
    EXPECT_EQ(result.at("rope_theta"), 5e5);
    EXPECT_EQ(result.at("rope_scaling"), scaling);
    EXPECT_EQ(result.at("rope_parameters"), parameters);
  }
}

TEST(OutputConfig, NamesTheRopeTypeForNewReadersOfTheOldKey) {
  const Json result = cut(pico_config("llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}), {0});
  EXPECT_EQ(result.at("rope_scaling"), (Json{{"type", "linear"}, {"factor", 2.0}, {"rope_type", "linear"}}));
  EXPECT_EQ(result.at("rope_parameters").at("factor"), 2.0);
}

TEST(OutputConfig, LeavesRopeOutOfFamiliesWithoutIt) {
  const Json result = cut(without_key(pico_config("opt"), "tie_word_embeddings"), {0, 1});
  for (const char* key : {"rope_theta", "rope_scaling", "rope_parameters", "layer_types", "max_window_layers"})
    EXPECT_FALSE(result.contains(key)) << key;
  EXPECT_EQ(result.at("tie_word_embeddings"), true);
}

// 6 layers, window from layer 3 on: cutting 1 and 2 must leave the window on the layers that had it.
TEST(OutputConfig, MakesImplicitWindowsExplicitBeforeCutting) {
  for (const char* family : {"qwen2", "qwen3"}) {
    const Json source = pico_config(family, {{"num_hidden_layers", 6}, {"max_window_layers", 3}});
    const Json result = cut(source, {0, 3, 4, 5});
    EXPECT_EQ(result.at("layer_types"),
              (Json{"full_attention", "sliding_attention", "sliding_attention", "sliding_attention"}));
    EXPECT_EQ(result.at("max_window_layers"), 1);
    const Config before = read_config(source), after = read_config(result);
    for (const auto& [now, then] : {std::pair{0, 0}, {1, 3}, {2, 4}, {3, 5}})
      EXPECT_EQ(after.layers[now].attention->window, before.layers[then].attention->window);
    const Config by_threshold =
        read_config(without_key(result, "layer_types"));  // what a loader that knows no list sees
    for (int i = 0; i < 4; ++i) EXPECT_EQ(by_threshold.layers[i].attention->window, after.layers[i].attention->window);
  }
}

TEST(OutputConfig, SlicesAnExplicitList) {
  const Json types = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
  const Json result = cut(pico_config("qwen3", {{"layer_types", types}}), {0, 3});
  EXPECT_EQ(result.at("layer_types"), (Json{"sliding_attention", "full_attention"}));
}

TEST(OutputConfig, WritesFullAttentionWhereTheWindowIsSwitchedOff) {
  const Json result = cut(pico_config("qwen2", {{"use_sliding_window", false}}), {0, 3});
  EXPECT_EQ(result.at("layer_types"), (Json{"full_attention", "full_attention"}));
  EXPECT_EQ(result.at("sliding_window"), 8);
}

std::vector<bool> slides(const Config& config) {
  std::vector<bool> list;
  for (const LayerConfig& layer : config.layers) list.push_back(layer.attention->window.has_value());
  return list;
}

std::vector<RopeUse> ropes(const Config& config) {
  std::vector<RopeUse> list;
  for (const LayerConfig& layer : config.layers) list.push_back(layer.attention->rope);
  return list;
}

// Every third layer is full: of 0 … 5 those at 2 and 5. Without layer 0 they stand at 1 and 4, which no period says.
TEST(OutputConfig, MakesAPeriodAListAndDropsItWhereItIsNoLongerTrue) {
  for (const char* family : {"gemma3_text", "cohere2"}) {
    const Json source = pico_config(family, {{"num_hidden_layers", 6}});
    const Json shifted = cut(source, {1, 2, 3, 4, 5});
    EXPECT_EQ(shifted.at("layer_types"), (Json{"sliding_attention", "full_attention", "sliding_attention",
                                               "sliding_attention", "full_attention"}));
    EXPECT_FALSE(shifted.contains("sliding_window_pattern"));
    EXPECT_EQ(slides(read_config(shifted)), (std::vector<bool>{true, false, true, true, false}));
    const Json whole_period = cut(source, {0, 1, 2});
    EXPECT_EQ(whole_period.at("sliding_window_pattern"), 3);
    EXPECT_EQ(slides(read_config(without_key(whole_period, "layer_types"))), (std::vector<bool>{true, true, false}));
  }
}

TEST(OutputConfig, MakesAFixedPeriodAList) {
  EXPECT_EQ(cut(pico_config("gemma2"), {1, 2, 3}).at("layer_types"),
            (Json{"full_attention", "sliding_attention", "full_attention"}));
  EXPECT_EQ(cut(pico_config("olmo3"), {2, 3}).at("layer_types"), (Json{"sliding_attention", "full_attention"}));
}

TEST(OutputConfig, LeavesTheRotaryEmbeddingWithItsLayer) {
  const auto none = RopeUse::none, global = RopeUse::global, local = RopeUse::local;
  const Json listed = cut(pico_config("smollm3"), {1, 2, 3});  // no_rope_layers 1, 0, 1, 1
  EXPECT_EQ(listed.at("no_rope_layers"), (Json{0, 1, 1}));
  EXPECT_EQ(ropes(read_config(listed)), (std::vector{none, global, global}));
  const Json interval = cut(without_key(pico_config("smollm3"), "no_rope_layers"), {0, 3});  // every fourth
  EXPECT_EQ(interval.at("no_rope_layers"), (Json{1, 0}));
  EXPECT_EQ(ropes(read_config(cut(pico_config("cohere2"), {1, 2, 3}))), (std::vector{global, none, global}));
  EXPECT_EQ(ropes(read_config(cut(pico_config("gemma3_text"), {1, 2, 3}))), (std::vector{local, global, local}));
}

TEST(OutputConfig, LeavesDenseLayersDense) {
  const auto sparse = [](const Config& config) {
    std::vector<bool> list;
    for (const LayerConfig& layer : config.layers) list.push_back(layer.mlp->experts.has_value());
    return list;
  };
  const Json listed = pico_config("qwen3_moe", {{"num_hidden_layers", 6}, {"mlp_only_layers", {1, 4}}});
  const Json cut_list = cut(listed, {0, 1, 3, 4});
  EXPECT_EQ(cut_list.at("mlp_only_layers"), (Json{1, 3}));
  EXPECT_EQ(sparse(read_config(cut_list)), (std::vector<bool>{true, false, true, false}));
  const Json stepped = pico_config("qwen2_moe", {{"decoder_sparse_step", 2}, {"mlp_only_layers", nullptr}});
  const Json cut_step = cut(stepped, {1, 2, 3});  // sparse at 1 and 3
  EXPECT_EQ(cut_step.at("mlp_only_layers"), Json{1});
  EXPECT_EQ(cut_step.at("decoder_sparse_step"), 1);
  EXPECT_EQ(sparse(read_config(cut_step)), (std::vector<bool>{true, false, true}));
}

TEST(OutputConfig, SpellsTheNumberOfExpertsForBothReaders) {
  const Json source = pico_config("qwen3_moe");
  for (const Json& json : {source, [&] {
                             Json other = without_key(source, "num_experts");
                             other["num_local_experts"] = 4;
                             return other;
                           }()}) {
    const Json result = cut(json, {0, 2});
    EXPECT_EQ(result.at("num_experts"), 4);
    EXPECT_EQ(result.at("num_local_experts"), 4);
  }
}

TEST(OutputConfig, WritesBothSpellingsOfTwoRopes) {
  const Json scaling = {{"rope_type", "linear"}, {"factor", 8.0}};
  const Json source = pico_config("gemma3_text", {{"rope_local_base_freq", 500.0}, {"rope_scaling", scaling}});
  const Json result = cut(source, {0, 1, 2});
  EXPECT_EQ(result.at("rope_theta"), 10000.0);
  EXPECT_EQ(result.at("rope_local_base_freq"), 500.0);
  EXPECT_EQ(result.at("rope_scaling"), scaling);
  EXPECT_EQ(result.at("rope_parameters").at("full_attention"),
            (Json{{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 10000.0}}));
  EXPECT_EQ(result.at("rope_parameters").at("sliding_attention"),
            (Json{{"rope_type", "default"}, {"rope_theta", 500.0}}));
}

TEST(OutputConfig, WritesBothSpellingsOfAPartialRotation) {
  const Json phi = cut(pico_config("phi"), {0, 1});
  EXPECT_EQ(phi.at("partial_rotary_factor"), 0.5);
  EXPECT_EQ(phi.at("rope_parameters").at("partial_rotary_factor"), 0.5);
  const Json neox = cut(pico_config("gpt_neox"), {0, 1});
  EXPECT_EQ(neox.at("rotary_pct"), 0.5);
  EXPECT_EQ(neox.at("rotary_emb_base"), 10000.0);
  EXPECT_FALSE(neox.contains("rope_theta"));
  EXPECT_EQ(neox.at("rope_parameters").at("partial_rotary_factor"), 0.5);
}

TEST(OutputConfig, WritesNoListForFamiliesWithoutOne) {
  EXPECT_FALSE(cut(pico_config("mistral"), {0, 1}).contains("layer_types"));
  EXPECT_FALSE(cut(pico_config("llama"), {0, 1}).contains("layer_types"));
}

TEST(OutputConfig, ReplacesEarlierProvenance) {
  const Json first = cut(pico_config("llama"), {0, 1}, {{"command", "prune"}});
  EXPECT_EQ(first.at("streamline").at("provenance").at("command"), "prune");
  EXPECT_EQ(read_config(first).layer_count(), 2);  // provenance is not read
  EXPECT_FALSE(cut(first, {0}).contains("streamline"));
}

LayerConfig paper_ffn() {
  return {.attention = std::nullopt,
          .mlp = MlpConfig{.intermediate = 64,
                           .gated = false,
                           .activation = Activation::relu,
                           .norm = false,
                           .residual = false,
                           .bias = true}};
}

TEST(Extension, DescribesLayersThatNoOrdinaryLayerExpresses) {
  const Config source = read_config(pico_config("llama"));
  const std::vector<LayerOrigin> layers = {{0, {}}, {1, paper_ffn()}, {3, {}}};
  EXPECT_TRUE(needs_extension(source, layers));
  const Json result = output_config(source, layers, {{"seed", 0}});
  EXPECT_EQ(result.at("model_type"), "streamline");
  EXPECT_EQ(result.at("architectures"), Json{"StreamlineForCausalLM"});
  EXPECT_EQ(result.at("num_hidden_layers"), 3);
  EXPECT_EQ(result.at("streamline"), parse_json(R"({"format":1,"base_model_type":"llama",
    "base_architectures":["PicoForCausalLM"],"layers":[{"index":1,"kind":"ffn","intermediate_size":64,"activation":"relu",
    "gated":false,"norm":false,"residual":false,"bias":true}],"provenance":{"seed":0}})",
                                                "expected"));
  EXPECT_EQ(read_config(result).family->name, "llama");
}

TEST(Extension, IsReadBackWithItsTensors) {
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Config source = read_config(pico_config(std::string(family->name)));
    const Json json = output_config(source, {{0, {}}, {1, paper_ffn()}, {3, {}}});
    const auto checkpoint = test::pico_checkpoint(json);
    const Config config = resolve_config(*checkpoint);
    EXPECT_FALSE(config.layers[1].attention);
    const MlpConfig& mlp = *config.layers[1].mlp;
    EXPECT_FALSE(mlp.gated || mlp.norm || mlp.residual);
    EXPECT_TRUE(mlp.bias);
    EXPECT_EQ(mlp.activation, Activation::relu);
    EXPECT_EQ(config.layers[2].attention->window, source.layers[3].attention->window);
    EXPECT_EQ(layer_parameters(config, config.layers[1]), 2 * 64 * 16 + 64 + 16);
    const TensorInfo* up = find_tensor(*checkpoint, config, 1, Role::up, Part::bias);
    ASSERT_NE(up, nullptr);
    EXPECT_EQ(up->name, std::string(family->layer_prefix) + "1.replacement.up.bias");
    EXPECT_EQ(find_tensor(*checkpoint, config, 1, Role::q, Part::weight), nullptr);
  }
}

TEST(Extension, SurvivesASecondCutAndGoesWithItsLastLayer) {
  const Json once = output_config(read_config(pico_config("llama")), {{0, {}}, {1, paper_ffn()}, {3, {}}});
  const Json moved = cut(once, {1, 2});
  EXPECT_EQ(moved.at("streamline").at("layers").at(0).at("index"), 0);
  EXPECT_EQ(moved.at("streamline").at("base_architectures"), Json{"PicoForCausalLM"});
  const Json ordinary = cut(once, {0, 2});
  EXPECT_EQ(ordinary.at("model_type"), "llama");
  EXPECT_EQ(ordinary.at("architectures"), Json{"PicoForCausalLM"});
  EXPECT_FALSE(ordinary.contains("streamline"));
}

TEST(Extension, RefusesWhatItDoesNotKnow) {
  const Json good = output_config(read_config(pico_config("llama")), {{0, {}}, {1, paper_ffn()}});
  const Json entry = good.at("streamline").at("layers").at(0);
  const auto with_entry = [&](const Json& changes) {
    Json changed = entry;
    changed.update(changes);
    return Json{{"layers", Json::array({changed})}};
  };
  const std::vector<std::tuple<Json, ErrorKind, const char*>> refused = {
      {{{"format", 2}}, ErrorKind::unsupported, "'streamline.format' is 2; this program reads 1"},
      {{{"base_model_type", "gpt5"}}, ErrorKind::unsupported, "the model family 'gpt5'"},
      {{{"base_model_type", nullptr}}, ErrorKind::format, "lacks 'base_model_type'"},
      {{{"layers", 3}}, ErrorKind::format, "'streamline.layers' is not a list"},
      {{{"layers", Json::array({3})}}, ErrorKind::format, "streamline.layers[0]: not an object"},
      {{{"layers", Json::array({entry, entry})}}, ErrorKind::format, "layer 1 is described twice"},
      {with_entry({{"index", 2}}), ErrorKind::mismatch, "'index' is 2; expected 0 to 1"},
      {with_entry({{"kind", "ssm"}}), ErrorKind::unsupported, "the kind 'ssm' is not supported"},
      {with_entry({{"activation", "mish"}}), ErrorKind::unsupported, "the activation 'mish'"},
      {with_entry({{"intermediate_size", 0}}), ErrorKind::format, "'intermediate_size' is 0"},
      {with_entry({{"bias", nullptr}}), ErrorKind::format, "'bias' is missing"},
      {with_entry({{"scale", 2}}), ErrorKind::unsupported, "unknown key 'scale'"},
  };
  for (const auto& [changes, kind, message] : refused) {
    SCOPED_TRACE(message);
    Json json = good;
    json["streamline"].update(changes);
    try {
      read_config(json);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(message));
    }
  }
  EXPECT_ERROR(read_config(without_key(good, "streamline")), format, "there is no object 'streamline'");
}

}  // namespace
}  // namespace streamline

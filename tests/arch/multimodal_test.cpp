// SPDX-License-Identifier: Apache-2.0
// The text model inside configurations and files of several parts.
#include "streamline/arch/multimodal.h"

#include "streamline/arch/config_write.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline::test {
namespace {

Json inside(const Json& text, const Json& others = Json::object()) {
  Json config = {{"architectures", {"ExampleForConditionalGeneration"}}, {"model_type", "example"}};
  config.update(others);
  config["text_config"] = text;
  config["vision_config"] = {{"num_hidden_layers", 2}, {"hidden_size", 5}};
  return config;
}

// The pico checkpoint of a family with its tensors called `before` + the name with "model." replaced, and a tower.
std::shared_ptr<const Checkpoint> file(const Json& config, const std::string& before, const std::string& model) {
  std::vector<TestTensor> tensors = random_tensors(config["text_config"]);
  for (TestTensor& tensor : tensors) {
    std::string& name = tensor.header.name;
    if (name.starts_with("model.")) name.replace(0, 6, model);
    name.insert(0, before);
  }
  tensors.push_back(filled("vision_tower.layers.0.rotary_emb.inv_freq", DType::f32, {4}));
  tensors.push_back(filled("multi_modal_projector.linear.weight", DType::f32, {2, 3}));
  return Checkpoint::open(memory_files("m", checkpoint_files(config, tensors)));
}

TEST(Multimodal, TensorsAreFoundUnderEachBeginning) {
  struct Case {
    std::string before, model;
  };
  for (const Case& c : {Case{"language_model.", "model."}, Case{"", "model.language_model."}, Case{"", "model."},
                        Case{"", "model.text_model."}, Case{"thinker.", "model."}}) {
    SCOPED_TRACE(c.before + c.model);
    const auto checkpoint = file(inside(pico_config("llama")), c.before, c.model);
    const Config config = resolve_config(*checkpoint);
    EXPECT_EQ(config.family->layer_prefix, c.before + c.model + "layers.");
    EXPECT_EQ(config.layer_count(), 4);
    EXPECT_TRUE(config.multimodal);
    EXPECT_EQ(total_parameters(*checkpoint, config), total_parameters(config));  // the tower is none of them
    EXPECT_NE(find_tensor(*checkpoint, config, 3, Role::q, Part::weight), nullptr);
    EXPECT_NE(find_tensor(*checkpoint, config, -1, Role::head, Part::weight), nullptr);
  }
}

TEST(Multimodal, WhatBelongsToNoPartIsStillAnError) {
  const Json config = inside(pico_config("llama"));
  std::vector<TestTensor> tensors = random_tensors(config["text_config"]);
  tensors.push_back(filled("model.layers.1.mlp.extra.weight", DType::f32, {2}));
  EXPECT_ERROR(resolve_config(*Checkpoint::open(memory_files("m", checkpoint_files(config, tensors)))), mismatch,
               "'model.layers.1.mlp.extra.weight' is there");
}

TEST(Multimodal, KeysOfTheTopAreInherited) {
  const Json text = pico_config("llama", {{"tie_word_embeddings", nullptr}, {"torch_dtype", nullptr}});
  const Json config = inside(text, {{"tie_word_embeddings", true}, {"dtype", "float32"}, {"eos_token_id", 7}});
  const Config read = config_from_json(config, "c.json");
  EXPECT_TRUE(read.tied_embeddings);
  EXPECT_EQ(read.dtype, "float32");
  const Json disagrees =
      inside(pico_config("llama", {{"tie_word_embeddings", false}}), {{"tie_word_embeddings", true}});
  EXPECT_TRUE(config_from_json(disagrees, "c.json").tied_embeddings);
}

TEST(Multimodal, OnlyTheTextModelsKeysAreRewritten) {
  Json text = pico_config("gemma3_text", {{"num_hidden_layers", 4}});
  text.erase("bos_token_id");
  const Json before = inside(text, {{"bos_token_id", 3}, {"mm_tokens_per_image", 256}, {"_name_or_path", "x"}});
  const Config source = config_from_json(before, "c.json");
  const Json after = output_config(source, {{.source = 0}, {.source = 3}}, {{"a", 1}});
  EXPECT_EQ(after["text_config"]["num_hidden_layers"], 2);
  EXPECT_EQ(after["text_config"]["layer_types"], Json::array({"sliding_attention", "sliding_attention"}));
  EXPECT_FALSE(after["text_config"].contains("bos_token_id"));
  EXPECT_FALSE(after.contains("_name_or_path"));
  EXPECT_FALSE(after.contains("num_hidden_layers"));
  EXPECT_EQ(after["vision_config"], before["vision_config"]);
  EXPECT_EQ(after["mm_tokens_per_image"], 256);
  EXPECT_EQ(after["model_type"], "example");
  EXPECT_EQ(after["streamline"]["provenance"], Json::parse(R"({"a": 1})"));
  EXPECT_EQ(config_from_json(after, "again").layer_count(), 2);
}

// As google/gemma-3-4b-it says it: what equals the default is not there.
TEST(Multimodal, MissingKeysAreTheDefaultsOfTransformers) {
  const Json text = Json::parse(R"({"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
    "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024})");
  const Config config = config_from_json(inside(text), "c.json");
  EXPECT_EQ(config.vocab, 262208);
  EXPECT_EQ(config.layers[0].attention->heads, 8);
  EXPECT_EQ(config.layers[0].attention->kv_heads, 4);
  EXPECT_EQ(config.layers[0].attention->head_dim, 256);
  EXPECT_EQ(config.rope.factor, 8);
}

TEST(Multimodal, BrokenConfigurationsAreRefused) {
  const auto read = [](const Json& config) { config_from_json(config, "c.json"); };
  EXPECT_ERROR(read(inside({{"model_type", "unheard_of"}})), unsupported, "'unheard_of'");
  EXPECT_ERROR(read(inside({{"hidden_size", 8}})), format, "lacks 'model_type'");
  EXPECT_ERROR(read(inside({{"model_type", "llama"}})), format, "lacks 'hidden_size'");
  EXPECT_ERROR(read(inside("llama")), unsupported, "'example'");
  EXPECT_ERROR(read(inside(pico_config("llama", {{"num_hidden_layers", -1}}))), format, "'num_hidden_layers' is -1");
  EXPECT_ERROR(read(inside(pico_config("llama"), {{"tie_word_embeddings", "yes"}})), format, "tie_word_embeddings");
  EXPECT_ERROR(read({{"model_type", "example"}, {"vision_config", Json::object()}}), unsupported, "'example'");
}

}  // namespace
}  // namespace streamline::test

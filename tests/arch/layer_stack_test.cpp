// SPDX-License-Identifier: Apache-2.0
// Which tensors are the decoder layers of a checkpoint that nothing but its names describes.
#include "streamline/arch/layer_stack.h"

#include "support/core/expect.h"
#include "support/core/tensor_files.h"

namespace streamline::test {
namespace {

std::shared_ptr<const Checkpoint> named(const Json& config, const std::vector<std::string>& names) {
  std::vector<TestTensor> tensors;
  for (const std::string& name : names) tensors.push_back(filled(name, DType::u8, {1}));
  return Checkpoint::open(
      memory_files("m", {{"config.json", dump_json(config)}, {"model.safetensors", safetensors_file(tensors)}}));
}

std::vector<std::string> layers_of(const std::string& prefix, int count, const std::string& suffix = "q.qweight") {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(prefix + std::to_string(i) + "." + suffix);
  return names;
}

std::vector<std::string> together(std::initializer_list<std::vector<std::string>> parts) {
  std::vector<std::string> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

struct Found {
  const char* title;
  Json config;
  std::vector<std::string> names;
  std::string prefix, text_key;
  std::int64_t layers, further;
};

TEST(LayerStack, IsFoundWhereverTheTextModelLies) {
  const Json three = {{"num_hidden_layers", 3}};
  const std::vector<Found> cases = {
      {"plain", three, layers_of("model.layers.", 3), "model.layers.", "", 3, 0},
      {"bare", {{"n_layer", 3}}, layers_of("h.", 3), "h.", "", 3, 0},
      {"more than ten", {{"num_hidden_layers", 12}}, layers_of("model.layers.", 12), "model.layers.", "", 12, 0},
      {"experts inside", three, layers_of("model.layers.", 3, "mlp.experts.7.up.weight"), "model.layers.", "", 3, 0},
      {"a tower of the same height",
       {{"text_config", three}, {"vision_config", three}},
       together({layers_of("vision_tower.encoder.layers.", 3), layers_of("language_model.model.layers.", 3)}),
       "language_model.model.layers.",
       "/text_config",
       3,
       0},
      {"the tower called visual", three, together({layers_of("visual.blocks.", 3), layers_of("model.layers.", 3)}),
       "model.layers.", "", 3, 0},
      {"two names of the text model",
       {{"text_config", three}},
       together({layers_of("model.qformer.layers.", 3), layers_of("model.language_model.layers.", 3)}),
       "model.language_model.layers.",
       "/text_config",
       3,
       0},
      {"a thinker",
       {{"thinker_config", {{"text_config", three}}}},
       layers_of("thinker.model.layers.", 3),
       "thinker.model.layers.",
       "/thinker_config/text_config",
       3,
       0},
      {"the number left to its default",
       {{"text_config", {{"model_type", "llama"}}}},
       layers_of("language_model.model.layers.", 4),
       "language_model.model.layers.",
       "/text_config",
       4,
       0},
      {"a head for the token after the next",
       {{"num_hidden_layers", 3}, {"num_nextn_predict_layers", 1}},
       layers_of("model.layers.", 4),
       "model.layers.",
       "",
       3,
       1},
  };
  for (const Found& expected : cases) {
    SCOPED_TRACE(expected.title);
    const LayerStack stack = find_layer_stack(*named(expected.config, expected.names));
    EXPECT_EQ(stack.prefix, expected.prefix);
    EXPECT_EQ(stack.text_key, expected.text_key);
    EXPECT_EQ(stack.layers, expected.layers);
    EXPECT_EQ(stack.further, expected.further);
  }
}

TEST(LayerStack, IsRefusedWhereItIsNotPlain) {
  const Json three = {{"num_hidden_layers", 3}};
  EXPECT_ERROR(find_layer_stack(*named(three, layers_of("model.layers.", 2))), mismatch,
               "no tensors are numbered as the 3 decoder layers");
  EXPECT_ERROR(find_layer_stack(*named(three, layers_of("model.layers.", 4))), mismatch,
               "there are tensors 'model.layers.3.*', but config.json says num_hidden_layers 3");
  EXPECT_ERROR(find_layer_stack(*named(three, together({layers_of("a.layers.", 3), layers_of("b.layers.", 3)}))),
               mismatch, "'a.layers.*' and 'b.layers.*' could both be the decoder layers");
  EXPECT_ERROR(find_layer_stack(*named(three, layers_of("vision_model.layers.", 3))), mismatch, "no tensors");
  EXPECT_ERROR(find_layer_stack(*named({{"num_hidden_layers", 0}}, layers_of("model.layers.", 3))), format,
               "'num_hidden_layers' is 0");
  EXPECT_ERROR(find_layer_stack(*named({{"model_type", "gemma3"}}, layers_of("language_model.model.layers.", 3))),
               format, "lacks 'num_hidden_layers', or an object 'text_config'");
  EXPECT_ERROR(find_layer_stack(*named({{"num_hidden_layers", "3"}}, layers_of("model.layers.", 3))), format,
               "num_hidden_layers");
}

TEST(LayerStack, PartsATensorsNameAtItsLayer) {
  const LayerStack stack{.prefix = "model.layers.", .layers = 12};
  const auto found = parse_stack_tensor(stack, "model.layers.11.mlp.experts.3.w1.qweight");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->layer, 11);
  EXPECT_EQ(found->suffix, "mlp.experts.3.w1.qweight");
  EXPECT_FALSE(parse_stack_tensor(stack, "model.layers.norm.weight"));
  EXPECT_FALSE(parse_stack_tensor(stack, "model.embed_tokens.weight"));
}

TEST(LayerMap, PlacesSurvivorsAndWhatFollowsThem) {
  const LayerMap map{.before = 6, .origins = {0, 3, 5}};
  EXPECT_EQ(map.place(3), 1);
  EXPECT_EQ(map.place(5), 2);
  EXPECT_EQ(map.place(4), std::nullopt);
  EXPECT_EQ(map.place(6), 3);
}

}  // namespace
}  // namespace streamline::test

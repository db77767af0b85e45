// SPDX-License-Identifier: Apache-2.0
// What configurations say layer by layer, and layer taps, for families that nobody described.
#include "streamline/arch/layer_lists.h"

#include "streamline/arch/layer_taps.h"
#include "support/core/expect.h"

namespace streamline::test {
namespace {

const LayerStack kStack{.prefix = "model.layers.", .layers = 6, .count_key = "num_hidden_layers"};
const LayerMap kMap{.before = 6, .origins = {0, 1, 4, 5}};

Json renumbered(Json text) {
  text["num_hidden_layers"] = 6;
  renumber_layer_lists(text, kStack, kMap);
  return text;
}

TEST(LayerLists, AreCutToTheLayersThatAreLeft) {
  const Json text = renumbered({{"layer_types", {"a", "b", "c", "d", "e", "f"}},
                                {"no_rope_layers", {1, 1, 1, 0, 1, 0}},
                                {"mlp_only_layers", {0, 3, 4}},
                                {"first_k_dense_replace", 3},
                                {"hybrid_override_pattern", "M*-M-*"},
                                {"per_layer_config", {{"3", {{"skip", {"mlp"}}}}, {"4", {{"intermediate_size", 8}}}}},
                                {"architectures", {"1", "2", "3", "4", "5", "6"}},
                                {"other", {1, 2, 3}}});
  EXPECT_EQ(text["num_hidden_layers"], 4);
  EXPECT_EQ(text["layer_types"], Json({"a", "b", "e", "f"}));
  EXPECT_EQ(text["no_rope_layers"], Json({1, 1, 1, 0}));
  EXPECT_EQ(text["mlp_only_layers"], Json({0, 2}));
  EXPECT_EQ(text["first_k_dense_replace"], 2);
  EXPECT_EQ(text["hybrid_override_pattern"], "M*-*");
  EXPECT_EQ(text["per_layer_config"], Json::parse(R"({"2": {"intermediate_size": 8}})"));
  EXPECT_EQ(text["architectures"].size(), 6u);
  EXPECT_EQ(text["other"], Json({1, 2, 3}));
}

// Llama 4: every second layer sparse, every fourth without rotary embedding and with full attention.
TEST(LayerLists, AreMadeExplicitForLlama4) {
  const Json text = renumbered({{"interleave_moe_layer_step", 2}, {"attention_chunk_size", 64}});
  EXPECT_EQ(text["moe_layers"], Json({1, 3}));  // layers 1 and 5 of the source
  EXPECT_EQ(text["no_rope_layers"], Json({1, 1, 1, 1}));
  EXPECT_EQ(text["layer_types"], Json(std::vector<std::string>(4, "chunked_attention")));
}

TEST(LayerLists, RefuseWhatGoesByPosition) {
  EXPECT_ERROR(renumbered({{"full_attention_interval", 3}}), unsupported,
               "'full_attention_interval' is 3: layer 4 would change its kind at position 2");
  EXPECT_EQ(renumbered({{"full_attention_interval", 2}})["full_attention_interval"], 2);  // whole periods went
  EXPECT_ERROR(renumbered({{"num_kv_shared_layers", 2}}), unsupported, "num_kv_shared_layers");
  EXPECT_ERROR(renumbered({{"layer_types", {"a", "b"}}}), mismatch, "'layer_types' has 2 entries; there are 6 layers");
  EXPECT_ERROR(renumbered({{"moe_layers", {0, "x"}}}), format, "'moe_layers' has \"x\"");
}

TEST(LayerTaps, MoveToTheNearestLayerThatIsLeftAndSaySo) {
  Json config = {{"talker_config", {{"accept_hidden_layer", 3}}},
                 {"text_config", {{"deepstack_visual_indexes", {0, 2, 4}}, {"aux_hidden_state_layers", {-3, -1}}}},
                 {"feature_layers", {2, 6}},
                 {"vision_feature_layer", -2},
                 {"vision_config", {{"depth", 27}, {"feature_layers", {2, 3}}}}};
  const std::vector<std::string> notes = renumber_layer_taps(config, kMap);
  EXPECT_EQ(config["talker_config"]["accept_hidden_layer"], 2);                   // layer 4
  EXPECT_EQ(config["text_config"]["deepstack_visual_indexes"], Json({0, 1, 2}));  // layer 2 to 1
  EXPECT_EQ(config["text_config"]["aux_hidden_state_layers"], Json({-2, -1}));    // layer 3 to 4
  EXPECT_EQ(config["feature_layers"], Json({1, 4}));                              // behind the last stays there
  EXPECT_EQ(config["vision_feature_layer"], -2);
  EXPECT_EQ(config["vision_config"]["feature_layers"], Json({2, 3}));
  ASSERT_EQ(notes.size(), 4u);
  EXPECT_THAT(notes[0], ::testing::HasSubstr("'accept_hidden_layer' taps layers that are gone"));
  EXPECT_THAT(notes[0], ::testing::HasSubstr("3 to 4"));
}

TEST(LayerTaps, StayApart) {
  Json config = {{"feature_layers", {3, 4, 2}}};
  renumber_layer_taps(config, kMap);
  EXPECT_EQ(config["feature_layers"], Json({1, 2, 0}));  // 4 keeps its own place; 3 goes to 1, 2 to 0
}

TEST(LayerTaps, OfATowerAreNotTouched) {
  Json config = {{"vision_config", {{"depth", 12}, {"deepstack_visual_indexes", {3, 5, 7}}}}};
  const std::vector<std::string> notes = renumber_layer_taps(config, kMap);
  EXPECT_EQ(config["vision_config"]["deepstack_visual_indexes"], Json({3, 5, 7}));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes[0], ::testing::HasSubstr("behind the first 3 layers of the text model: now layers 0, 1, 4"));
}

TEST(LayerTaps, AreCheckedAgainstTheSource) {
  const auto taps = [](const Json& config) {
    Json edited = config;
    renumber_layer_taps(edited, kMap);
  };
  EXPECT_ERROR(taps({{"accept_hidden_layer", 7}}), mismatch,
               "'accept_hidden_layer' names layer 7; the text model has 6");
  EXPECT_ERROR(taps({{"feature_layers", {0, -7}}}), mismatch, "names layer -7");
  EXPECT_ERROR(taps({{"feature_layers", {0, "1"}}}), format, "'feature_layers' has \"1\"");
  EXPECT_ERROR(taps({{"feature_layers", {0, 1, 2, 3, 5}}}), mismatch, "taps more layers than the 4 that would be left");
  EXPECT_ERROR(taps({{"vision_config", {{"depth", 4}, {"deepstack_visual_indexes", {5}}}}}), mismatch,
               "has 5; the vision tower has 4 layers");
  EXPECT_ERROR(taps({{"vision_config", {{"depth", 9}, {"deepstack_visual_indexes", {1, 2, 3, 4, 5}}}}}), mismatch,
               "behind 5 layers of the text model, and 4 would be left");
  EXPECT_ERROR(taps({{"vision_config", {{"deepstack_visual_indexes", 3}}}}), format, "is not a list");
}

}  // namespace
}  // namespace streamline::test

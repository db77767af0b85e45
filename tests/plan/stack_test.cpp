// SPDX-License-Identifier: Apache-2.0
// Which halves are joined into one layer, and which must stay apart.
#include "streamline/plan/stack.h"

#include "support/core/expect.h"
#include "support/core/plans.h"

namespace streamline {
namespace {

using test::attention_only, test::drop, test::keep, test::mlp_only, test::plan_of;

Config config_of(std::size_t layers, Residual residual = Residual::sequential) {
  Config config;
  config.layers.assign(layers, {.attention = AttentionConfig{.heads = 2, .kv_heads = 2, .head_dim = 4},
                                .mlp = MlpConfig{.intermediate = 8},
                                .residual = residual});
  return config;
}

// "0" a whole layer, "1+3" the attention of 1 with the MLP of 3, "2+" an attention alone, "+2" an MLP alone.
std::string described(const std::vector<OutputLayer>& layers) {
  std::string text;
  for (const OutputLayer& layer : layers) {
    if (!text.empty()) text += " ";
    if (layer.attention) text += std::to_string(layer.source);
    if (layer.whole() && layer.source == layer.mlp_source) continue;
    text += "+";
    if (layer.mlp) text += std::to_string(layer.mlp_source);
  }
  return text;
}

std::string packed(const std::vector<Action>& actions, Residual residual = Residual::sequential) {
  return described(output_layers(config_of(actions.size(), residual), plan_of(actions)));
}

TEST(Stack, JoinsAnAttentionWithTheNextMlp) {
  EXPECT_EQ(packed({keep, attention_only, mlp_only, keep}), "0 1+2 3");
  EXPECT_EQ(packed({attention_only, drop, drop, mlp_only}), "0+3");
  EXPECT_EQ(packed({attention_only, mlp_only, attention_only, mlp_only}), "0+1 2+3");
}

TEST(Stack, LeavesAloneWhatHasNoPartner) {
  EXPECT_EQ(packed({attention_only, attention_only, mlp_only, mlp_only}), "0+ 1+2 +3");
  EXPECT_EQ(packed({mlp_only, attention_only}), "+0 1+");
  EXPECT_EQ(packed({attention_only, keep, mlp_only}), "0+ 1 +2");
}

TEST(Stack, DoesNotJoinAcrossAReplacement) {
  Plan plan = plan_of({attention_only, drop, mlp_only});
  plan.segments[1].action = Action::replace;
  plan.segments[1].replacement = "layer";
  EXPECT_EQ(output_layers(config_of(3), plan).size(), 3u);
}

// Of the layers 0 has both halves, 1 an attention, 2 none, 3 an MLP.
TEST(Stack, JoinsHalvesThatTheSourceHasAlone) {
  Config config = config_of(4);
  for (std::size_t i = 1; i < 4; ++i) {
    if (i != 1) config.layers[i].attention.reset();
    if (i != 3) config.layers[i].mlp.reset();
    config.layers[i].partial = true;
  }
  EXPECT_EQ(described(output_layers(config, keep_all(4))), "0 1+3");
  EXPECT_EQ(described(output_layers(config, plan_of({attention_only, drop, keep, keep}))), "0+3");
  EXPECT_EQ(described(output_layers(config, plan_of({keep, drop, keep, keep}))), "0 +3");
  EXPECT_FALSE(layer_config(config, output_layers(config, keep_all(4))[1]).partial);
  EXPECT_ERROR(output_layers(config, plan_of({keep, attention_only, keep, keep})), mismatch, "has no two halves");
  EXPECT_ERROR(output_layers(config, plan_of({drop, drop, keep, drop})), mismatch, "none of the layers that are left");
}

// A parallel layer's MLP reads what entered the layer, a joined one would read what the attention left.
TEST(Stack, DoesNotJoinParallelHalves) { EXPECT_EQ(packed({attention_only, mlp_only}, Residual::parallel), "0+ +1"); }

TEST(Stack, DoesNotJoinAnMlpThatBorrowsTheNormOfItsAttention) {
  Config config = config_of(2);
  config.layers[1].mlp->shared_norm = true;
  EXPECT_EQ(described(output_layers(config, plan_of({attention_only, mlp_only}))), "0+ +1");
}

TEST(Stack, RefusesHalvesWhoseNormWouldStay) {
  EXPECT_ERROR(packed({keep, mlp_only}, Residual::norm_after_sum), unsupported,
               "the attention of layer 1 cannot be dropped: in this model a norm follows the sum");
}

TEST(Stack, RefusesAHalfThatIsNotThere) {
  Config config = config_of(2);
  config.layers[1].attention.reset();
  EXPECT_ERROR(output_layers(config, plan_of({keep, attention_only})), mismatch,
               "the MLP of layer 1 cannot be dropped: that layer has no two halves");
}

TEST(Stack, TheJoinedLayerHasTheShapesOfItsHalves) {
  Config config = config_of(2);
  config.layers[0].attention->window = 7;
  config.layers[1].mlp->intermediate = 16;
  const std::vector<OutputLayer> layers = output_layers(config, plan_of({attention_only, mlp_only}));
  ASSERT_EQ(layers.size(), 1u);
  const LayerConfig joined = layer_config(config, layers[0]);
  EXPECT_EQ(joined.attention->window, 7);
  EXPECT_EQ(joined.mlp->intermediate, 16);
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Plans that slice: what they may say, how they are written, and how they are put together.
#include "streamline/plan/slice.h"

#include "streamline/plan/merge.h"
#include "streamline/plan/overlap.h"
#include "streamline/plan/stack.h"
#include "support/core/expect.h"
#include "support/core/plans.h"

namespace streamline {
namespace {

using namespace test;

// 3 layers of 8 query heads in 4 groups and MLPs of 6 channels.
Config small_config() {
  return config_from_json({{"model_type", "llama"},
                           {"hidden_size", 32},
                           {"num_hidden_layers", 3},
                           {"num_attention_heads", 8},
                           {"num_key_value_heads", 4},
                           {"intermediate_size", 6},
                           {"vocab_size", 16},
                           {"rms_norm_eps", 1e-6}},
                          "config.json");
}

Plan sliced_plan() {
  Plan plan = keep_all(3);
  plan.slices[0] = {.kv_heads = KeptUnits{4, {0, 2, 3}}};
  plan.slices[2] = {.kv_heads = KeptUnits{4, {1}}, .channels = {KeptUnits{6, {0, 1, 2, 5}}}};
  return plan;
}

TEST(Slices, RoundTripAsVersionTwo) {
  const Json written = to_json(sliced_plan());
  EXPECT_EQ(written.at("version"), 2);
  EXPECT_EQ(written.at("slices").at(1).at("channels"), (Json{{"of", 6}, {"kept", "0..2,5"}}));
  const Plan read = plan_from_json(parse_json(dump_json(written), "plan.json"), "plan.json");
  EXPECT_EQ(read.slices, sliced_plan().slices);
  EXPECT_EQ(to_json(keep_all(3)).at("version"), 1);  // programs that know no slices read plans without them
}

TEST(Slices, TakeListsOfIndicesToo) {
  Json json = to_json(sliced_plan());
  json["slices"][0]["kv_heads"]["kept"] = {0, 2, 3};
  EXPECT_EQ(plan_from_json(json, "plan.json").slices, sliced_plan().slices);
}

TEST(Slices, ThatAreBrokenAreRefusedInOneLine) {
  const Json good = to_json(sliced_plan());
  const auto with = [&](const char* key, const Json& value) {
    Json json = good;
    json["slices"][1]["channels"][key] = value;
    return json;
  };
  EXPECT_ERROR(plan_from_json(with("kept", "0..2,6"), "p"), format, "'6' is no list of indices");
  EXPECT_ERROR(plan_from_json(with("kept", "3,2"), "p"), format, "ascending order");
  EXPECT_ERROR(plan_from_json(with("kept", "0..99999999999999999999"), "p"), format, "no list of indices");
  EXPECT_ERROR(plan_from_json(with("kept", "0,"), "p"), format, "no list of indices");
  EXPECT_ERROR(plan_from_json(with("kept", ""), "p"), format, "keeps nothing; drop that half of the layer instead");
  EXPECT_ERROR(plan_from_json(with("kept", Json::array({0, 0})), "p"), format, "0 is not in ascending order below 6");
  EXPECT_ERROR(plan_from_json(with("kept", Json::array({-1})), "p"), format, "-1 is not in ascending order");
  EXPECT_ERROR(plan_from_json(with("of", 0), "p"), format, "below 0");
  EXPECT_ERROR(plan_from_json(with("of", "six"), "p"), format, "'of'");
  EXPECT_ERROR(plan_from_json(with("share", 1), "p"), format, "unknown key 'share'");
  Json twice = good;
  twice["slices"][1]["layer"] = 0;
  EXPECT_ERROR(plan_from_json(twice, "p"), format, "layer 0 is sliced twice");
  Json beyond = good;
  beyond["slices"][1]["layer"] = 3;
  EXPECT_ERROR(plan_from_json(beyond, "p"), format, "layer 3 is sliced; the source has layers 0..2");
  Json old = good;
  old["version"] = 1;
  EXPECT_ERROR(plan_from_json(old, "p"), format, "'slices' came with plan version 2");
  Json experts = good;
  experts["slices"][1]["channels"] = Json::array({{{"of", 6}, {"kept", "0"}}, {{"of", 6}, {"kept", "0..1"}}});
  EXPECT_ERROR(plan_from_json(experts, "p"), format, "experts of one layer are of one width");
}

TEST(Slices, OfWhatThePlanDropsAreRefused) {
  Plan plan = test::plan_of({drop, attention_only, mlp_only});
  plan.slices[0] = {.kv_heads = KeptUnits{4, {1}}};
  EXPECT_ERROR(validate(plan), mismatch, "layer 0 is dropped and sliced");
  plan.slices = {{1, {.channels = {KeptUnits{6, {1}}}}}};
  EXPECT_ERROR(validate(plan), mismatch, "the MLP of layer 1 is dropped and sliced");
  plan.slices = {{2, {.kv_heads = KeptUnits{4, {1}}}}};
  EXPECT_ERROR(validate(plan), mismatch, "the attention of layer 2 is dropped and sliced");
  plan.slices = {{1, {.kv_heads = KeptUnits{4, {1}}}}, {2, {.channels = {KeptUnits{6, {1}}}}}};
  validate(plan);
}

TEST(Slices, OfAnotherModelAreRefused) {
  const Config config = small_config();
  Plan plan = keep_all(3);
  plan.slices[1] = {.kv_heads = KeptUnits{5, {1}}};
  EXPECT_ERROR(output_layers(config, plan), mismatch, "keeps 1 of 5 key and value heads; the layer has 4");
  plan.slices[1] = {.channels = {KeptUnits{6, {1}}, KeptUnits{6, {2}}}};
  EXPECT_ERROR(output_layers(config, plan), mismatch, "channels of 2 networks; the layer has 1");
}

TEST(Slices, SetTheWidthsOfTheLayersThatStay) {
  const Config config = small_config();
  const std::vector<OutputLayer> layers = output_layers(config, sliced_plan());
  const LayerConfig last = layer_config(config, layers[2]);
  EXPECT_EQ(last.attention->heads, 2);
  EXPECT_EQ(last.attention->kv_heads, 1);
  EXPECT_EQ(last.mlp->intermediate, 4);
  EXPECT_EQ(layer_config(config, layers[0]).attention->heads, 6);
  EXPECT_TRUE(layers[1].untouched() && !layers[0].untouched());
}

TEST(Slices, FollowTheirHalves) {
  const Config config = small_config();
  Plan plan = test::plan_of({attention_only, mlp_only, keep});
  plan.slices = {{0, {.kv_heads = KeptUnits{4, {1}}}}, {1, {.channels = {KeptUnits{6, {3}}}}}};
  const std::vector<OutputLayer> layers = output_layers(config, plan);
  ASSERT_EQ(layers.size(), 2u);  // the two halves are one layer
  EXPECT_EQ(layers[0].slice.kv_heads->kept, std::vector<std::int64_t>{1});
  EXPECT_EQ(layers[0].slice.channels.front().kept, std::vector<std::int64_t>{3});
}

TEST(Slices, ThatLeaveNothingOfAHalfDropItAndSaySo) {
  const Config config = small_config();
  const SlicedPlan made =
      with_slices(config, keep_all(3),
                  {{0, {.kv_heads = KeptUnits{4, {}}, .channels = {KeptUnits{6, {0, 1, 2, 3, 4, 5}}}}},
                   {1, {.kv_heads = KeptUnits{4, {}}, .channels = {KeptUnits{6, {}}}}},
                   {2, {.channels = {KeptUnits{6, {4}}}}}});
  EXPECT_EQ(made.plan.segments[0].action, Action::drop_attention);
  EXPECT_EQ(made.plan.segments[1].action, Action::drop);
  EXPECT_EQ(made.plan.slices.size(), 1u);
  EXPECT_THAT(made.notes, testing::Contains("no head of layer 0 would be left: its attention is dropped"));
  EXPECT_EQ(made.notes.size(), 3u);
  EXPECT_EQ(
      summary(made.plan),
      "dropped layer 1; dropped the attention of layer 0; sliced layer 2: without 5 of 6 channels in 1 layer (of 3)");
}

TEST(Slices, NumbersOfHeadsThatBreakTheGroupsAreRefusedWithTheNearestAllowed) {
  const AttentionConfig attention{.heads = 9, .kv_heads = 3, .head_dim = 4};
  EXPECT_EQ(kv_heads_of(attention, 6, "--heads"), 2);
  EXPECT_ERROR(kv_heads_of(attention, 7, "--heads"), mismatch, "the nearest allowed is 6 or 9");
  EXPECT_ERROR(kv_heads_of(attention, 2, "--heads"), mismatch, "the nearest allowed is 3");
  EXPECT_ERROR(kv_heads_of(attention, 10, "--heads"), mismatch, "the nearest allowed is 9");
  EXPECT_EQ(groups_of_heads(attention, {0, 1, 2, 6, 7, 8}, "x").kept, (std::vector<std::int64_t>{0, 2}));
  EXPECT_ERROR(groups_of_heads(attention, {0, 1, 3}, "x"), mismatch, "head 3 is kept without all of heads 3..5");
}

TEST(Slices, AreMergedWithCutsOfLayersAndOfEachOther) {
  Plan other = test::plan_of({keep, drop, attention_only});
  other.slices[0] = {.kv_heads = KeptUnits{4, {0, 1}}, .channels = {KeptUnits{6, {0}}}};
  const NamedPlan plans[] = {{"width.json", sliced_plan()}, {"depth.json", other}};
  const Plan merged = merge_plans(plans).plan;
  EXPECT_EQ(merged.segments[1].action, Action::drop);
  EXPECT_EQ(merged.segments[2].action, Action::drop_mlp);
  EXPECT_EQ(merged.slices.at(0), (LayerSlice{.kv_heads = KeptUnits{4, {0}}, .channels = {KeptUnits{6, {0}}}}));
  EXPECT_EQ(merged.slices.at(2), (LayerSlice{.kv_heads = KeptUnits{4, {1}}}));  // its MLP went
  Plan nothing_common = keep_all(3);
  nothing_common.slices[2] = {.kv_heads = KeptUnits{4, {0}}};
  const NamedPlan apart[] = {{"a", sliced_plan()}, {"b", nothing_common}};
  EXPECT_EQ(merge_plans(apart).plan.segments[1].action, Action::drop_attention);
  Plan replaced = cut_window(3, 0, 2, "layer");
  const NamedPlan contradicting[] = {{"a", sliced_plan()}, {"b", replaced}};
  EXPECT_ERROR(merge_plans(contradicting), mismatch, "b replaces layers 0..1 by 'layer', and a cuts layer 0");
}

TEST(Slices, CountByTheirShareInTheOverlapOfPlans) {
  Plan half = keep_all(3), quarter = keep_all(3);
  half.slices[0] = {.kv_heads = KeptUnits{4, {0, 1}}};
  quarter.slices[0] = {.kv_heads = KeptUnits{4, {0, 1, 2}}};
  EXPECT_DOUBLE_EQ(cut_overlap(half, quarter), 0.5);
  EXPECT_DOUBLE_EQ(cut_overlap(half, test::plan_of({mlp_only, keep, keep})), 0.5);
  EXPECT_DOUBLE_EQ(cut_overlap(half, half), 1);
}

TEST(IndexRanges, RoundTrip) {
  for (const std::vector<std::int64_t>& list : {std::vector<std::int64_t>{}, {0}, {0, 1, 2}, {0, 2, 4, 5, 6, 9}, {7}})
    EXPECT_EQ(parse_index_ranges(index_ranges(list), 10, "x"), list);
}

TEST(Composed, SlicesOfSlicesNameTheUnitsOfTheFirst) {
  const LayerSlice first{.kv_heads = KeptUnits{4, {0, 2, 3}}, .channels = {KeptUnits{6, {1, 3, 5}}}};
  const LayerSlice second{.kv_heads = KeptUnits{3, {1, 2}}, .channels = {{3, {0, 2}}}};
  EXPECT_EQ(composed(first, second),
            (LayerSlice{.kv_heads = KeptUnits{4, {2, 3}}, .channels = {KeptUnits{6, {1, 5}}}}));
}

}  // namespace
}  // namespace streamline

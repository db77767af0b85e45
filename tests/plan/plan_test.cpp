// SPDX-License-Identifier: Apache-2.0
// Plans tile their source, say what stack they describe, and refuse anything else with a message that names the layers.
#include "streamline/plan/plan.h"

#include "support/core/expect.h"
#include "support/core/plans.h"

namespace streamline {
namespace {

using test::drop, test::keep;

struct Piece {
  std::int64_t first, last;
  Action action = keep;
};

Plan plan_of(std::int64_t layers, const std::vector<Piece>& pieces) {
  Plan plan{.base = {.layers = layers}};
  for (const Piece& piece : pieces)
    plan.segments.push_back({.first = piece.first, .last = piece.last, .action = piece.action});
  return plan;
}

std::vector<std::int64_t> sources(const Plan& plan) {
  std::vector<std::int64_t> layers;
  for (const OutputLayer& layer : lower(plan)) layers.push_back(layer.source);
  return layers;
}

TEST(Plan, AcceptsSegmentsThatTile) {
  EXPECT_NO_THROW(validate(plan_of(6, {{0, 1}, {2, 3, drop}, {4, 5}})));
  EXPECT_NO_THROW(validate(plan_of(1, {{0, 0}})));
}

TEST(Plan, RejectsSegmentsThatOverlap) {
  EXPECT_ERROR(validate(plan_of(5, {{0, 2}, {1, 4, drop}})), mismatch, "layers 1..2 are covered twice");
  EXPECT_ERROR(validate(plan_of(5, {{0, 2}, {2, 4}})), mismatch, "layer 2 is covered twice");
  EXPECT_ERROR(validate(plan_of(5, {{0, 4}, {1, 2}})), mismatch, "layers 1..2 are covered twice");
}

TEST(Plan, RejectsSegmentsThatLeaveGaps) {
  EXPECT_ERROR(validate(plan_of(6, {{0, 4}})), mismatch, "layer 5 is not covered");
  EXPECT_ERROR(validate(plan_of(6, {{0, 1}, {4, 5}})), mismatch, "layers 2..3 are not covered");
  EXPECT_ERROR(validate(plan_of(6, {{3, 5}, {0, 2}})), mismatch, "layers 0..2 are not covered");
  EXPECT_ERROR(validate(plan_of(6, {})), mismatch, "layers 0..5 are not covered");
}

TEST(Plan, RejectsRangesOutsideTheModel) {
  EXPECT_ERROR(validate(plan_of(6, {{0, 6}})), mismatch, "ends outside the 6 layers");
  EXPECT_ERROR(validate(plan_of(6, {{-1, 5}})), mismatch, "-1..5 is not a range");
  EXPECT_ERROR(validate(plan_of(6, {{0, 3}, {4, 3}})), mismatch, "4..3 is not a range");
  EXPECT_ERROR(validate(plan_of(6, {{0, INT64_MAX}})), mismatch, "ends outside");
  EXPECT_ERROR(validate(plan_of(0, {})), mismatch, "expected at least one");
  EXPECT_ERROR(validate(plan_of(2'000'000'000, {{0, 1'999'999'999}})), mismatch, "at most 10000");
}

TEST(Plan, RejectsAnEmptyResult) {
  EXPECT_ERROR(validate(plan_of(3, {{0, 2, drop}})), mismatch, "no layer is left");
  EXPECT_ERROR(drop_layers(2, {0, 1}), mismatch, "no layer is left");
  EXPECT_NO_THROW(validate(cut_window(3, 0, 3, "layer")));
}

TEST(Plan, RejectsReplacementsThatDoNotFitTheirAction) {
  Plan plan = cut_window(6, 2, 2);
  plan.segments[0].replacement = "layer";
  EXPECT_ERROR(validate(plan), mismatch, "segment 0..1 names a replacement but its action is not replace");
  plan = cut_window(6, 2, 2, "ffn");
  plan.segments[1].replacement = "none";
  EXPECT_ERROR(validate(plan), mismatch, "does not say by what");
  plan = cut_window(6, 2, 2, "ffn");
  plan.segments[1].weights_file = "../replacement.safetensors";
  plan.segments[1].weights_sha256 = std::string(64, 'a');
  EXPECT_ERROR(validate(plan), mismatch, "not a plain file name");
  plan.segments[1].weights_file = "replacement.safetensors";
  EXPECT_NO_THROW(validate(plan));
  plan.segments[1].weights_sha256 = std::string(64, 'G');
  EXPECT_ERROR(validate(plan), mismatch, "64 lower-case hexadecimal digits");
}

TEST(Plan, LowersToTheSurvivingLayersInOrder) {
  EXPECT_EQ(sources(keep_all(3)), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(sources(cut_window(6, 2, 3)), (std::vector<std::int64_t>{0, 1, 5}));
  EXPECT_EQ(sources(cut_window(6, 0, 2)), (std::vector<std::int64_t>{2, 3, 4, 5}));
  EXPECT_EQ(sources(cut_window(6, 4, 2)), (std::vector<std::int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(sources(drop_layers(6, {5, 0, 2})), (std::vector<std::int64_t>{1, 3, 4}));
}

TEST(Plan, LowersAReplacedSegmentToOneLayer) {
  const std::vector<OutputLayer> layers = lower(cut_window(6, 1, 3, "layer"));
  ASSERT_EQ(layers.size(), 4u);
  EXPECT_EQ(layers[1].source, 1);
  EXPECT_EQ(layers[1].segment, 1);
  EXPECT_TRUE(layers[1].replaced);
  EXPECT_EQ(layers[2].source, 4);
  EXPECT_FALSE(layers[2].replaced);
}

TEST(Plan, LowersDroppedHalvesToLayersWithoutThem) {
  const std::vector<OutputLayer> layers =
      lower(plan_of(5, {{0, 0}, {1, 2, Action::drop_attention}, {3, 3, drop}, {4, 4, Action::drop_mlp}}));
  ASSERT_EQ(layers.size(), 4u);
  EXPECT_TRUE(layers[0].whole());
  for (const std::size_t i : {1, 2}) {
    EXPECT_FALSE(layers[i].attention);
    EXPECT_TRUE(layers[i].mlp);
    EXPECT_EQ(layers[i].mlp_source, static_cast<std::int64_t>(i));
  }
  EXPECT_EQ(layers[3], (OutputLayer{.source = 4, .segment = 3, .attention = true, .mlp = false, .mlp_source = 4}));
}

TEST(Plan, TreatsReplacementNoneAsDropping) {
  EXPECT_EQ(cut_window(6, 2, 2, "none").segments[1].action, drop);
  EXPECT_EQ(cut_window(6, 2, 2, "").segments[1].action, drop);
}

TEST(Plan, RejectsWindowsOutOfRange) {
  for (const auto& [first, count] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {25, 6}, {-1, 2}, {30, 1}, {0, 0}, {0, 31}, {3, -1}, {1, INT64_MAX}, {INT64_MAX, 1}}) {
    EXPECT_ERROR(cut_window(30, first, count), mismatch, "does not lie in the model's 30 layers");
  }
  EXPECT_ERROR(cut_window(0, 0, 1), mismatch, "does not lie");
}

TEST(Plan, RejectsDroppedLayersThatAreNotThere) {
  EXPECT_ERROR(drop_layers(4, {4}), mismatch, "layer 4 cannot be dropped: the model has layers 0..3");
  EXPECT_ERROR(drop_layers(4, {-1}), mismatch, "layer -1 cannot be dropped");
  EXPECT_ERROR(drop_layers(4, {1, 1}), mismatch, "layer 1 is dropped twice");
}

TEST(Plan, SaysInOneSentenceWhatItDoes) {
  EXPECT_EQ(summary(keep_all(12)), "kept all 12 layers");
  EXPECT_EQ(summary(cut_window(30, 13, 6, "ffn")), "replaced layers 13..18 by one ffn (of 30)");
  EXPECT_EQ(summary(cut_window(30, 13, 1)), "dropped layer 13 (of 30)");
  EXPECT_EQ(summary(drop_layers(12, {2, 5, 6})), "dropped layers 2, 5..6 (of 12)");
  EXPECT_EQ(summary(plan_of(6, {{0, 0, drop}, {1, 2, Action::drop_attention}, {3, 3}, {4, 5, Action::drop_mlp}})),
            "dropped layer 0; dropped the attention of layers 1..2; dropped the MLP of layers 4..5 (of 6)");
}

}  // namespace
}  // namespace streamline

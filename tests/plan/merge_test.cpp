// SPDX-License-Identifier: Apache-2.0
// Merged plans cut what any of them cuts, and contradictions are named.
#include "streamline/plan/merge.h"

#include "streamline/plan/drop_halves.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

std::vector<NamedPlan> named(const std::vector<Plan>& plans) {
  std::vector<NamedPlan> result;
  for (const Plan& plan : plans) result.push_back({std::string(1, static_cast<char>('a' + result.size())), plan});
  return result;
}

std::string merged(const std::vector<Plan>& plans) { return summary(merge_plans(named(plans)).plan); }

TEST(PlanMerge, IsTheUnionOfLayersAndHalves) {
  EXPECT_EQ(merged({drop_layers(12, {1, 5}), drop_layers(12, {5, 6})}), "dropped layers 1, 5..6 (of 12)");
  EXPECT_EQ(merged({drop_halves(12, {2, 3}, {}), drop_halves(12, {}, {3, 4}), drop_layers(12, {2})}),
            "dropped layers 2..3; dropped the MLP of layer 4 (of 12)");
  EXPECT_EQ(merged({keep_all(4), keep_all(4)}), "kept all 4 layers");
}

// Union: the order and repetitions of plans do not matter.
TEST(PlanMerge, DoesNotDependOnTheOrder) {
  const std::vector<Plan> plans = {drop_halves(8, {1, 4}, {4, 6}), drop_layers(8, {6}),
                                   cut_windows(8, {{2, 2}}, "layer")};
  const std::string all = merged(plans);
  EXPECT_EQ(merged({plans[2], plans[0], plans[1]}), all);
  EXPECT_EQ(merged({plans[1], plans[2], plans[0], plans[2]}), all);
  EXPECT_EQ(merge_plans(named(plans)).plan.segments.size(), 7U);  // 0 | 1 | 2..3 | 4 | 5 | 6 | 7
}

TEST(PlanMerge, KeepsReplacementsAndSaysWhereTheyComeFrom) {
  const MergedPlan merged = merge_plans(named({drop_layers(12, {0, 9}), cut_windows(12, {{2, 2}, {4, 3}}, "layer")}));
  EXPECT_EQ(summary(merged.plan),
            "dropped layers 0, 9; replaced layers 2..3 by one layer; replaced layers 4..6 by one layer (of 12)");
  const std::map<std::int64_t, SegmentOrigin> origins = {{2, {1, 1}}, {3, {1, 2}}};
  EXPECT_EQ(merged.replaced, origins);
}

TEST(PlanMerge, RemembersWhoDecided) {
  Plan first = drop_layers(4, {1}), second = drop_layers(4, {2});
  first.method.name = "shortgpt";
  second.base = {.layers = 4, .model = "pico", .digest = "d1"};
  const Plan plan = merge_plans(named({first, second})).plan;
  EXPECT_EQ(plan.base.digest, "d1");
  EXPECT_EQ(plan.method.name, "merge");
  EXPECT_EQ(plan.method.parameters.at("plans").at(0).at("name"), "shortgpt");
  EXPECT_EQ(plan.method.parameters.at("plans").at(1).at("name"), "manual");
}

TEST(PlanMerge, RefusesContradictions) {
  const Plan replaced = cut_windows(12, {{3, 3}}, "layer");
  EXPECT_ERROR(merged({replaced, drop_layers(12, {4})}), mismatch,
               "a replaces layers 3..5 by 'layer', and b cuts layer 4");
  EXPECT_ERROR(merged({drop_halves(12, {5}, {}), replaced}), mismatch,
               "b replaces layers 3..5 by 'layer', and a cuts layer 5");
  EXPECT_ERROR(merged({replaced, cut_windows(12, {{5, 2}}, "ffn")}), mismatch, "b replaces layers 5..6 by 'ffn'");
  EXPECT_ERROR(merged({replaced, cut_windows(12, {{3, 3}}, "ffn")}), mismatch, "cannot be cut again");
  Plan trained = replaced, other = replaced;
  trained.segments[1].weights_file = other.segments[1].weights_file = "w.safetensors";
  trained.segments[1].weights_sha256 = std::string(64, 'a');
  other.segments[1].weights_sha256 = std::string(64, 'b');
  EXPECT_ERROR(merged({trained, other}), mismatch, "cannot be cut again");
  EXPECT_EQ(merged({trained, trained}), "replaced layers 3..5 by one layer (of 12)");
}

TEST(PlanMerge, RefusesPlansOfOtherModelsAndEmptyResults) {
  EXPECT_ERROR(merged({drop_layers(12, {1}), drop_layers(13, {1})}), mismatch, "b is a plan for 13 layers, a for 12");
  Plan one = drop_layers(3, {0}), other = drop_layers(3, {1, 2});
  EXPECT_ERROR(merged({one, other}), mismatch, "no layer is left");
  one.base.digest = "x";
  other.base.digest = "y";
  EXPECT_ERROR(merged({one, other}), mismatch, "b was made for other weights than a");
  EXPECT_ERROR(merge_plans({}), usage, "no plan to merge");
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Rules on tensors of a few numbers worked by hand, and on larger ones against plain float64 loops; L2 … L6 are the
// checks of the specification of LiNeS.
#include "streamline/merge/tensor_merge.h"

#include <algorithm>
#include <cmath>

#include "merge/small_models.h"
#include "streamline/merge/largest_entries.h"
#include "streamline/merge/lines.h"

namespace streamline::test {
namespace {

using merge::Parameters;
using merge::Rescale;
using merge::TensorMerge;
using testing::ElementsAre;
using testing::FloatNear;
using testing::Pointwise;

std::vector<float> normal_values(std::size_t count, std::uint64_t seed, double scale = 1) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * rng.normal());
  return values;
}

std::vector<float> merged(const TensorMerge& merge) { return floats(merge::merged_bytes(merge)); }

TEST(TensorMerge, SumsAndAveragesTaskVectors) {
  const std::vector<std::vector<float>> vectors = {{1, -2}, {3, 2}};
  TensorMerge sum = merging("sum", {8, 8}, vectors);
  EXPECT_THAT(merged(sum), ElementsAre(12, 8));
  sum.parameters.scale = 0.5;
  EXPECT_THAT(merged(sum), ElementsAre(10, 8));
  sum.parameters.weights = {1, 3};
  EXPECT_THAT(merged(sum), ElementsAre(13, 10));
  EXPECT_THAT(merged(merging("mean", {8, 8}, vectors)), ElementsAre(10, 8));
}

// The disjoint mean of the elected signs, and the automatic alpha that it gives.
TEST(TensorMerge, L6ElectsSignsAsTiesDoes) {
  const TensorMerge ties = merging("ties", {0, 0, 0}, {{1, -2, 0}, {3, 2, -1}, {-2, -3, -1}});
  EXPECT_THAT(merged(ties), ElementsAre(2, -2.5, -1));
  const merge::Norms norms = merge::norms(ties);
  EXPECT_EQ(norms.l1, 5.5);
  EXPECT_EQ(norms.summed_l1, 7);
  EXPECT_NEAR(merge::automatic_alpha(3, norms.summed_l1, norms.l1), 0.424242, 1e-6);
}

TEST(TensorMerge, L5FindsTheAutomaticAlphaOfPlainRules) {
  const std::vector<std::vector<float>> vectors = {{1, -2}, {3, 2}};
  const auto alpha = [&](const char* rule, const std::vector<std::vector<float>>& tuned) {
    const merge::Norms norms = merge::norms(merging(rule, {0, 0}, tuned));
    return merge::automatic_alpha(static_cast<std::int64_t>(tuned.size()), norms.summed_l1, norms.l1);
  };
  EXPECT_EQ(alpha("sum", vectors), 0.5);
  EXPECT_EQ(alpha("mean", vectors), 1.0);
  EXPECT_EQ(alpha("sum", std::vector<std::vector<float>>(8, {0.25F, -3})), 0.125);
  EXPECT_ERROR(alpha("sum", {{1, 1}, {-1, -1}}), numeric, "the merged task vector is zero");
}

// The k largest by a sort, over a tensor of many blocks.
TEST(TensorMerge, KeepsTheLargestEntries) {
  const std::size_t count = 100'000;
  const std::vector<float> base(count), vector = normal_values(count, 3);
  TensorMerge ties = merging("ties", base, {vector});
  ties.parameters.densities = {0.2};
  std::vector<float> magnitudes;
  for (const float value : vector) magnitudes.push_back(std::abs(value));
  std::ranges::sort(magnitudes, std::greater());
  const std::vector<float> result = merged(ties);
  std::int64_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool large = std::abs(vector[i]) >= magnitudes[20'000 - 1];
    ASSERT_EQ(result[i], large ? vector[i] : 0) << i;
    kept += large ? 1 : 0;
  }
  EXPECT_EQ(kept, 20'000);
}

TEST(TensorMerge, KeepsTheFirstOfEqualEntries) {
  const std::size_t count = 70'000;  // several blocks
  TensorMerge ties = merging("ties", std::vector<float>(count), {std::vector<float>(count, -1)});
  ties.parameters.densities = {0.5};
  const std::vector<float> result = merged(ties);
  EXPECT_EQ(std::ranges::count(result, -1.0F), 35'000);
  EXPECT_EQ(result[34'999], -1);
  EXPECT_EQ(result[35'000], 0);
}

TEST(TensorMerge, TakesTheThresholdOverAllTensors) {
  TensorMerge small = merging("ties", {0, 0, 0}, {{1, 2, 3}}), large = merging("ties", {0, 0, 0}, {{10, -20, 2}});
  small.parameters.densities = large.parameters.densities = {0.5};
  const TensorMerge* const tensors[] = {&small, &large};
  const float threshold = merge::model_thresholds(tensors).front();
  EXPECT_EQ(threshold, 3);
  small.operands[0].threshold = large.operands[0].threshold = threshold;
  EXPECT_THAT(merged(small), ElementsAre(0, 0, 3));
  EXPECT_THAT(merged(large), ElementsAre(10, -20, 0));
}

TEST(TensorMerge, DropsRandomEntriesAndScalesTheRest) {
  const std::size_t count = 200'000;
  const std::vector<float> vector = normal_values(count, 5);
  TensorMerge dare = merging("dare", std::vector<float>(count), {vector});
  dare.parameters.densities = {0.25};
  dare.parameters.rescale = Rescale::density;
  dare.operands[0].seed = 11;
  const std::vector<float> result = merged(dare);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (result[i] == 0) continue;
    ASSERT_FLOAT_EQ(result[i], 4 * vector[i]);
    ++kept;
  }
  EXPECT_NEAR(static_cast<double>(kept), 50'000, 5 * std::sqrt(50'000 * 0.75));  // five standard deviations
  EXPECT_EQ(merged(dare), result);
  dare.operands[0].seed = 12;
  EXPECT_NE(merged(dare), result);

  dare.parameters.rescale = Rescale::l1;
  double before = 0, after = 0;
  for (const float value : vector) before += std::abs(value);
  for (const float value : merged(dare)) after += std::abs(value);
  EXPECT_NEAR(after / before, 1, 1e-6);
}

TEST(TensorMerge, InterpolatesOnTheSphere) {
  TensorMerge slerp = merging("slerp", {0, 0}, {{2, 0}, {0, 2}});
  slerp.parameters.t = 0.5;
  EXPECT_THAT(merged(slerp), Pointwise(FloatNear(1e-6F), {std::sqrt(2.0F), std::sqrt(2.0F)}));
  slerp.parameters.t = 1.0 / 3;
  EXPECT_THAT(merged(slerp), Pointwise(FloatNear(1e-6F), {std::sqrt(3.0F), 1.0F}));
  slerp.parameters.t = 0;
  EXPECT_THAT(merged(slerp), ElementsAre(2, 0));
  TensorMerge line = merging("slerp", {0, 0}, {{1, 0}, {5, 0}});
  line.parameters.t = 0.25;
  EXPECT_THAT(merged(line), ElementsAre(2, 0));
}

TEST(TensorMerge, AveragesAndScalesModelsThemselves) {
  TensorMerge linear = merging("linear", {0, 0}, {{1, 2}, {4, 8}});
  linear.parameters.weights = {1, 2};
  EXPECT_THAT(merged(linear), ElementsAre(3, 6));
  linear.parameters.normalise = false;
  EXPECT_THAT(merged(linear), ElementsAre(9, 18));
  TensorMerge one = merging("passthrough", {0, 0}, {{1, 2}});
  one.parameters.scale = 3;
  EXPECT_THAT(merged(one), ElementsAre(3, 6));
  one.base = stored_values({10, 10});
  one.parameters.depth = 0.5;  // halfway from the base to what the rule gives
  EXPECT_THAT(merged(one), ElementsAre(6.5, 8));
}

// Both ends of the scale give the stored bytes back, also where base + (tuned - base) in float32 would not.
TEST(TensorMerge, L2IsExactAtBothEnds) {
  const std::vector<float> base = {1e8F, -0.0F, 3, 1e-30F}, tuned = {1e-3F, 2, -0.0F, 1};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    TensorMerge merge = merging("sum", base, {{0, 0, 0, 0}});
    merge.header.dtype = dtype;
    merge.base = stored_values(base, dtype);
    merge.operands[0].stored = stored_values(tuned, dtype);
    const merge::Stored& model = merge.operands[0].stored;
    EXPECT_TRUE(std::ranges::equal(merge::merged_bytes(merge).bytes, model.checkpoint->bytes(*model.tensor)));
    merge.parameters.depth = 0;
    const auto expected = merge.base.checkpoint->bytes(*merge.base.tensor);
    EXPECT_TRUE(std::ranges::equal(merge::merged_bytes(merge).bytes, expected));
  }
}

TEST(TensorMerge, L4ScalesByDepthLinearly) {
  const std::vector<float> base = normal_values(500, 7), one = normal_values(500, 8), two = normal_values(500, 9);
  const auto scaled = [&](const std::vector<std::vector<float>>& vectors, std::vector<double> weights, double depth) {
    TensorMerge merge = merging("sum", base, vectors);
    merge.parameters.weights = std::move(weights);
    merge.parameters.depth = depth;
    std::vector<float> change = merged(merge);
    for (std::size_t i = 0; i < change.size(); ++i) change[i] -= base[i];
    return change;
  };
  const std::vector<float> both = scaled({one, two}, {0.3, -0.7}, 0.6), first = scaled({one}, {1}, 0.6),
                           second = scaled({two}, {1}, 0.6);
  for (std::size_t i = 0; i < both.size(); ++i) ASSERT_NEAR(both[i], 0.3 * first[i] - 0.7 * second[i], 2e-6);
  const std::vector<float> halved = scaled({first}, {1}, 0.5), at_once = scaled({one}, {1}, 0.3);
  for (std::size_t i = 0; i < both.size(); ++i) ASSERT_NEAR(halved[i], at_once[i], 2e-6);
}

TEST(TensorMerge, RoundsOnceToTheTypeOfTheResult) {
  TensorMerge merge = merging("sum", {1, 1}, {{0.00390625F, 0.01171875F}});  // half an ulp of bf16 above 1, and 1.5
  merge.header.dtype = DType::bf16;
  const Blob blob = merge::merged_bytes(merge);
  EXPECT_EQ(load_float(DType::bf16, blob.bytes.data()), 1);
  EXPECT_EQ(load_float(DType::bf16, blob.bytes.data() + 2), 1.015625F);  // ties go to the even
}

// The way that everything can go, which an adapter leads to even if it adds nothing.
std::vector<std::byte> merged_in_general(TensorMerge merge) {
  const auto nothing = [](std::int64_t, std::int64_t, std::span<float>) {};
  for (merge::Operand& operand : merge.operands) operand.stored.update = nothing;
  const Blob blob = merge::merged_bytes(merge);
  return {blob.bytes.begin(), blob.bytes.end()};
}

merge::Stored rounded(const merge::Stored& stored) {
  const Blob blob{stored.checkpoint->bytes(*stored.tensor), stored.checkpoint};
  return stored_values(floats(blob), DType::bf16);
}

void round_to_bf16(TensorMerge& merge) {
  merge.base = rounded(merge.base);
  for (merge::Operand& operand : merge.operands) operand.stored = rounded(operand.stored);
  merge.header.dtype = DType::bf16;
}

// bfloat16 in one pass gives the bits of the general way, for all that it takes; many entries are equal there.
TEST(TensorMerge, IsTheSameInOnePass) {
  const std::size_t count = 19'000;  // several blocks, the last a smaller one
  std::vector<std::vector<float>> vectors;
  for (std::uint64_t seed = 0; seed < 5; ++seed) vectors.push_back(normal_values(count, 20 + seed, 0.1));
  TensorMerge all = merging("sum", normal_values(count, 11), vectors);
  round_to_bf16(all);
  merge::ResultMemory memory;
  for (const char* rule : {"sum", "mean", "linear", "slerp", "dare", "dare-ties", "ties"})
    for (std::size_t operands = 1; operands <= 5; ++operands)
      for (const double depth : {1.0, 0.37}) {
        if (std::string(rule) == "slerp" && operands != 2) continue;
        TensorMerge merge = all;
        merge.rule = &merge::find_rule(rule);
        merge.operands.resize(operands);
        Parameters& parameters = merge.parameters;
        parameters = {.weights = {}, .densities = {}, .normalise = depth != 1, .scale = 1.3, .t = 0.3, .depth = depth};
        if (merge.rule->keep == merge::Keep::random) parameters.rescale = Rescale::density;
        for (std::size_t i = 0; i < operands; ++i) {
          merge.operands[i].seed = i;
          parameters.weights.push_back(0.3 + 0.17 * static_cast<double>(i));
          parameters.densities.push_back(1 - 0.3 * static_cast<double>(i % 4));
        }
        const Blob blob = merge::merged_bytes(merge, &memory);
        const std::vector<std::byte> fused(blob.bytes.begin(), blob.bytes.end());
        EXPECT_TRUE(fused == merged_in_general(merge)) << rule << operands << depth;
      }
}

// Over tensors of which some lie in files as bfloat16 and over some that an adapter changes, the latter by nothing.
TEST(TensorMerge, FindsThresholdsOverBfloat16AsOverOthers) {
  for (const double density : {0.003, 0.2, 0.9}) {
    TensorMerge merges[] = {merging("ties", normal_values(30'000, 1), {normal_values(30'000, 2, 1e-2)}),
                            merging("ties", normal_values(7, 3), {normal_values(7, 4)}),
                            merging("ties", normal_values(20'000, 5), {normal_values(20'000, 6, 1e-3)})};
    std::vector<const TensorMerge*> tensors;
    for (TensorMerge& merge : merges) {
      round_to_bf16(merge);
      merge.parameters.densities = {density};
      tensors.push_back(&merge);
    }
    const float quickly = merge::model_thresholds(tensors).front();
    merges[1].operands[0].stored.update = [](std::int64_t, std::int64_t, std::span<float>) {};
    EXPECT_EQ(quickly, merge::model_thresholds(tensors).front()) << density;
  }
}

// What a sample of lines says of a tensor whose neighbours are alike may be wrong, which changes nothing.
TEST(TensorMerge, KeepsTheLargestEntriesOfTensorsWhoseNeighboursAreAlike) {
  const std::size_t count = 48'000;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    std::vector<float> vector = normal_values(count, seed);
    for (std::size_t i = 0; i < count; ++i) vector[i] = vector[i / 32 * 32];
    TensorMerge merge = merging("ties", std::vector<float>(count), {vector});
    round_to_bf16(merge);
    merge.parameters.densities = {0.3};
    EXPECT_TRUE(std::ranges::equal(merge::merged_bytes(merge).bytes, merged_in_general(merge))) << seed;
  }
}

TEST(TensorMerge, RefusesInfinityInOnePass) {
  TensorMerge merge = merging("sum", {1, 1, 1}, {{1, 2, 3}});
  merge.base = stored_values({1, 1, 1}, DType::bf16);
  merge.operands[0].stored = stored_values({2, 3, 4}, DType::bf16);
  merge.header.dtype = DType::bf16;
  merge.parameters.scale = 1e39;
  EXPECT_ERROR(merge::merged_bytes(merge), numeric, "'w': the merged values hold NaN or infinity as BF16");

  // The largest number is (2 - 2^-7) 2^127; half a step above it begins what is rounded to infinity.
  merge.base = stored_values({0, 0, 0}, DType::bf16);
  merge.operands[0].stored = stored_values({0, std::ldexp(-1.9921875F, 127), 0}, DType::bf16);
  merge.parameters.scale = 1.00195;
  const Blob blob = merge::merged_bytes(merge);
  EXPECT_EQ(load_float(DType::bf16, blob.bytes.data() + 2), std::ldexp(-1.9921875F, 127));
  merge.parameters.scale = 1.00197;
  EXPECT_ERROR(merge::merged_bytes(merge), numeric, "as BF16");
}

TEST(TensorMerge, KeepsAResultThatIsHeldWhileAnotherIsMade) {
  merge::ResultMemory memory;
  const Blob first = merge::merged_bytes(merging("sum", {1, 2}, {{1, 1}, {1, 1}}), &memory);
  const Blob second = merge::merged_bytes(merging("sum", {5, 6}, {{1, 1}, {1, 1}}), &memory);
  EXPECT_THAT(floats(first), ElementsAre(3, 4));
  EXPECT_THAT(floats(second), ElementsAre(7, 8));
}

TEST(TensorMerge, RefusesValuesThatAreNotFinite) {
  TensorMerge merge = merging("sum", {1, 1}, {{1, 2}});
  merge.parameters.scale = 1e39;
  EXPECT_ERROR(merge::merged_bytes(merge), numeric, "'w': the merged values hold NaN or infinity as F32");
  TensorMerge half = merging("sum", {60000, 0}, {{60000, 0}});
  half.header.dtype = DType::f16;
  EXPECT_ERROR(merge::merged_bytes(half), numeric, "as F16");
}

}  // namespace
}  // namespace streamline::test

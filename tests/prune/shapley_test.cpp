// SPDX-License-Identifier: Apache-2.0
// Shapley values against their definition; checks are named by their number in the depth study's specification.
#include "streamline/prune/shapley.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "prune/method_fixture.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/part_games.h"

namespace streamline {
namespace {

using test::dropped;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;
using test::with_identity_layers;

// The game of a table: costs by what is left out, as bits.
UnitGame table_game(std::size_t units, std::vector<double> costs, std::size_t items = 1) {
  const auto value = [costs](std::size_t, std::span<const std::int64_t> left_out) {
    std::size_t bits = 0;
    for (const std::int64_t unit : left_out) bits |= std::size_t{1} << unit;
    return costs[bits];
  };
  const auto walk = [value](std::size_t item, std::span<const std::int64_t> order) {
    std::vector<double> result;
    for (std::size_t k = 0; k <= order.size(); ++k) result.push_back(value(item, order.first(k)));
    return result;
  };
  return {.units = units, .items = items, .walk = walk, .value = value};
}

// All orders, one after the other.
std::vector<double> exact_shapley(const UnitGame& game, std::size_t item) {
  std::vector<std::int64_t> order(game.units);
  std::iota(order.begin(), order.end(), 0);
  std::vector<double> sums(game.units);
  double orders = 0;
  do {
    for (std::size_t k = 0; k < game.units; ++k)
      sums[static_cast<std::size_t>(order[k])] +=
          game.value(item, std::span(order).first(k + 1)) - game.value(item, std::span(order).first(k));
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()));
  for (double& sum : sums) sum /= orders;
  return sums;
}

// Of the costs of all coalitions.
double spread(const UnitGame& game) {
  double least = 1e300, most = -1e300;
  for (std::size_t item = 0; item < game.items; ++item)
    for (std::size_t bits = 0; bits < std::size_t{1} << game.units; ++bits) {
      std::vector<std::int64_t> left_out;
      for (std::size_t unit = 0; unit < game.units; ++unit)
        if (bits >> unit & 1) left_out.push_back(static_cast<std::int64_t>(unit));
      const double cost = game.value(item, left_out);
      least = std::min(least, cost);
      most = std::max(most, cost);
    }
  return most - least;
}

double sum_of(const ShapleyValues& found) {
  double sum = 0;
  for (const Estimate& value : found.values) sum += value.value;
  return sum;
}

TEST(Shapley, OfAGloveGameWorkedOutByHand) {
  // Unit 0 has a left glove, 1 and 2 a right one each; a pair saves 1. Values 2/3, 1/6, 1/6.
  const UnitGame game = table_game(3, {0, 1, 0, 1, 0, 1, 1, 1});
  const std::vector<double> exact = exact_shapley(game, 0);
  EXPECT_NEAR(exact[0], 2.0 / 3, 1e-12);
  const ShapleyValues found = shapley_values(game, {.repetitions = 20000, .seed = 3});
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(found.values[i].value, exact[i], 4 * found.values[i].standard_error.value());
    EXPECT_LT(found.values[i].standard_error.value(), 0.005);
  }
  EXPECT_NEAR(sum_of(found), 1, 1e-9);
}

TEST(Shapley, OfAGameThatAddsUpIsExactAfterOnePermutation) {
  std::vector<double> costs;
  for (int bits = 0; bits < 8; ++bits) costs.push_back((bits & 1 ? 0.5 : 0) + (bits & 2 ? 2 : 0) + (bits & 4 ? -1 : 0));
  const ShapleyValues found = shapley_values(table_game(3, costs), {});
  EXPECT_NEAR(found.values[0].value, 0.5, 1e-12);
  EXPECT_NEAR(found.values[1].value, 2, 1e-12);
  EXPECT_NEAR(found.values[2].value, -1, 1e-12);
}

TEST(Shapley, KeepsToItsBudget) {
  const UnitGame game = table_game(3, {0, 1, 0, 1, 0, 1, 1, 1}, 5);
  const ShapleyValues some = shapley_values(game, {.repetitions = 10, .evaluations = 30});
  EXPECT_EQ(some.runs, 7);
  EXPECT_EQ(some.evaluations, 28);
  EXPECT_EQ(shapley_values(game, {.repetitions = 2}).runs, 10);
  EXPECT_ERROR(shapley_values(game, {.evaluations = 3}), usage, "one permutation takes 4");
}

TEST(Shapley, ASeedDecidesAllAndOnlyTheSeed) {
  const UnitGame game = table_game(3, {0, 1, 0.2, 1.3, 0.1, 1.7, 1, 2});
  const auto values = [&](std::uint64_t seed) {
    std::vector<double> result;
    for (const Estimate& value : shapley_values(game, {.repetitions = 5, .seed = seed}).values)
      result.push_back(value.value);
    return result;
  };
  EXPECT_EQ(values(1), values(1));
  EXPECT_NE(values(1), values(2));
}

// The four layers and all 24 orders of a model, every coalition a view that is read by itself.
TEST(Shapley, OfAModelEqualsAllPermutations) {
  const Model model = pico_model(tiny_llama(4), 1);
  const UnitStack stack = unit_stack(model, units_of({{"units", "layers"}}), "test");
  for (const TextMeasure what : {TextMeasure::loss, TextMeasure::logits, TextMeasure::kl}) {
    PartCounter counter;
    const UnitGame game = text_game(model, stack, what, random_tokens(2, 12, 3), counter);
    const ShapleyValues found = shapley_values(game, {.repetitions = 400, .seed = 1});
    const double most = spread(game);
    for (std::size_t unit = 0; unit < 4; ++unit) {
      const double exact = (exact_shapley(game, 0)[unit] + exact_shapley(game, 1)[unit]) / 2;
      // No marginal is larger than the spread: its mean over 800 permutations is known to well below a tenth of it.
      EXPECT_NEAR(found.values[unit].value, exact, 0.1 * most) << unit;
    }
    EXPECT_NEAR(sum_of(found), found.none - found.whole, 1e-9);
  }
}

TEST(Shapley, WalksEqualSeparateReadings) {
  const Model model = pico_model(tiny_llama(3), 1);
  const UnitStack stack = unit_stack(model, units_of({{"units", "both"}}), "test");
  ASSERT_EQ(stack.units.size(), 6U);
  PartCounter counter;
  const TokenBatches text = random_tokens(1, 12, 3);
  const UnitGame game = text_game(model, stack, TextMeasure::loss, text, counter);
  const std::vector<std::int64_t> order = {3, 0, 5, 1, 4, 2};
  const std::vector<double> costs = game.walk(0, order);
  EXPECT_EQ(counter.evaluations, 7);
  // 6 of the whole model, then those behind the unit that went: A0 M0 A1 M1 A2 M2.
  EXPECT_EQ(counter.parts, 6 + 2 + 4 + 0 + 2 + 0 + 0);
  ASSERT_EQ(costs.size(), 7U);
  const auto ids = torch::tensor(std::vector<std::int64_t>(text.sequences[0].begin(), text.sequences[0].end()));
  for (std::size_t k = 0; k <= 6; ++k) {
    EXPECT_NEAR(costs[k], game.value(0, std::span(order).first(k)), 1e-6);
    if (k == 6) continue;
    std::vector<std::int64_t> attention, mlp;
    for (std::size_t i = 0; i < k; ++i) (order[i] % 2 == 0 ? attention : mlp).push_back(order[i] / 2);
    const Model view = model.view(drop_halves(3, attention, mlp), {});
    const auto logits = forward_logits(view, ids.slice(0, 0, -1).unsqueeze(0)).squeeze(0).to(torch::kDouble);
    const auto losses = -logits.log_softmax(-1).gather(1, ids.slice(0, 1).unsqueeze(1));
    EXPECT_NEAR(costs[k], losses.mean().item<double>(), 1e-6) << k;
  }
}

TEST(Shapley, Check12SubsetsOfTheReleasedCode) {
  std::map<std::size_t, std::size_t> kept;
  std::map<std::int64_t, double> absent;
  for (const std::size_t units : {32U, 10U, 2U}) {
    UnitGame game{.units = units, .items = 1, .walk = {}, .value = {}};
    game.value = [&](std::size_t, std::span<const std::int64_t> left_out) {
      kept[units] = units - left_out.size();
      if (units == 32)
        for (const std::int64_t unit : left_out) absent[unit] += 1.0 / 2000;
      return 0.0;
    };
    subset_values(game, 0.9, {.repetitions = 2000});
  }
  EXPECT_EQ(kept, (std::map<std::size_t, std::size_t>{{32, 28}, {10, 9}, {2, 1}}));
  ASSERT_EQ(absent.size(), 32U);
  for (const auto& [unit, share] : absent) EXPECT_NEAR(share, 0.125, 0.03);
}

TEST(Shapley, SubsetsOfAllButOneGiveTheInfluence) {
  // Costs 2, 3, 7 without one of three units: the specification's check 1.
  std::vector<double> costs(8, 0);
  costs[1] = 2, costs[2] = 3, costs[4] = 7;
  const ShapleyValues found = subset_values(table_game(3, costs), 2.0 / 3, {.repetitions = 30000, .seed = 1});
  EXPECT_NEAR(found.values[0].value, -3, 0.1);
  EXPECT_NEAR(found.values[1].value, -1.5, 0.1);
  EXPECT_NEAR(found.values[2].value, 4.5, 0.1);
  EXPECT_ERROR(subset_values(table_game(3, costs), 1, {}), usage, "ask for more --subsets, or another --share");
}

class ShapleyMethod : public test::MethodTest {
 protected:
  ShapleyMethod() : MethodTest("shapley") { model = with_identity_layers(6, 2, 3); }
};

TEST_F(ShapleyMethod, DropsTheLayersThatAddNothing) {
  const Proposal proposal = propose({{"layers", 2}, {"game", "kl"}, {"permutations", 4}});
  EXPECT_EQ(dropped(proposal.plan), (std::vector<std::int64_t>{2, 3}));
  const Json& estimates = proposal.plan.scores.at("estimates");
  EXPECT_EQ(estimates.at("runs"), 8);
  EXPECT_EQ(estimates.at("evaluations"), 8 * 7);
  EXPECT_EQ(estimates.at("units")[2].at("unit"), "L2");
  EXPECT_NEAR(estimates.at("units")[2].at("value").get<double>(), 0, 1e-6);
  EXPECT_GT(estimates.at("none").get<double>(), 0);
  EXPECT_EQ(plan_from_json(to_json(proposal.plan), "test").scores, proposal.plan.scores);
}

TEST_F(ShapleyMethod, AsksQuestionsThatOneLayerAnswers) {
  std::int64_t asked = 0;
  // Right wherever layer 4 is there.
  const Questionnaire questions{.count = 10, .right = [&](const Model& view, std::int64_t, std::int64_t count) {
                                  asked += count;
                                  bool there = false;
                                  for (std::int64_t i = 0; i < view.layer_count(); ++i)
                                    there |= torch::equal(view.layer(i).at(Role::q).weight,
                                                          model.layer(4).at(Role::q).weight);
                                  return std::vector<bool>(static_cast<std::size_t>(count), there);
                                }};
  const Method& method = find_method("shapley");
  const auto played = [&](const Json& given) {
    PruneContext context{.model = model, .calibration = calibration, .questions = questions};
    return method.propose(context, resolve_params(method.params, given, "test"));
  };
  const Proposal proposal = played({{"layers", 5}, {"game", "accuracy"}});
  EXPECT_EQ(dropped(proposal.plan), (std::vector<std::int64_t>{0, 1, 2, 3, 5}));
  const Json& units = proposal.plan.scores.at("estimates").at("units");
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(units[i].at("value").get<double>(), i == 4 ? 1 : 0, 1e-12);
  EXPECT_EQ(asked, 10 * 7);
  EXPECT_ERROR(propose({{"layers", 1}, {"game", "accuracy"}}), usage, "needs --tasks");
  EXPECT_ERROR(propose({{"layers", 1}, {"estimator", "subsets"}, {"permutations", 2}}), usage,
               "--permutations goes with --estimator permutations");
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Policy gradient by the numeric checks of its specification, G1 to G11.
#include "streamline/prune/policy.h"

#include <numeric>

#include "prune/method_fixture.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/policy_units.h"
#include "streamline/prune/zeroth_order.h"
#include "support/core/file_size_limit.h"
#include "support/core/temporary_directory.h"

namespace streamline::test {
namespace {

void expect_near(const Probabilities& found, const Probabilities& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << i;
}

double sum_of(const Probabilities& s) { return std::reduce(s.begin(), s.end()); }

TEST(PolicyGradient, G1ProjectsOntoTheBudget) {
  expect_near(projected({.9, .8, .5, .2}, 2), {.8, .7, .4, .1}, 1e-9);
  expect_near(projected({1.2, .9, .7, .1}, 2), {.9333333, .6333333, .4333333, 0}, 1e-6);
  EXPECT_EQ(projected({.3, .2}, 1), (Probabilities{.3, .2}));
}

TEST(PolicyGradient, G2ProjectionsAreInsideOrderedAndIdempotent) {
  Rng rng(4);
  for (int trial = 0; trial < 50; ++trial) {
    Probabilities s(20);
    for (double& value : s) value = 2 * rng.uniform() - 0.4;
    const double budget = 3 + 8 * rng.uniform();
    const Probabilities inside = projected(s, budget);
    EXPECT_LE(sum_of(inside), budget + 1e-3);
    Probabilities clamped = s;
    for (double& value : clamped) value = std::clamp(value, 0.0, 1.0);
    EXPECT_NEAR(sum_of(inside), std::min(budget, sum_of(clamped)), 1e-7);
    for (std::size_t i = 0; i < s.size(); ++i) {
      EXPECT_TRUE(inside[i] >= 0 && inside[i] <= 1);
      for (std::size_t j = 0; j < s.size(); ++j) EXPECT_TRUE(s[i] > s[j] || inside[i] <= inside[j]);
    }
    EXPECT_EQ(projected(inside, budget), inside);
  }
}

TEST(PolicyGradient, G3SigmoidMap) {
  const double scores[] = {1, 2, 3, 4}, scaled[] = {10, 17, 24, 31};
  const Probabilities s = sigmoid_map(scores, .7);
  expect_near(s, {.438323, .604368, .795632, .961677}, 1e-6);
  EXPECT_NEAR(sum_of(s) / 4, .7, 1e-12);
  expect_near(sigmoid_map(scaled, .7), s, 1e-6);
}

TEST(PolicyGradient, G4OneStepOfOneUnit) {
  const std::vector<UnitMask> masks = {{true}, {false}};
  const double losses[] = {3.0, 3.4};
  const double released = policy_gradient({.7}, masks, losses, 3.2, ScoreForm::root)[0];
  EXPECT_NEAR(released, -.4364357, 1e-6);
  EXPECT_NEAR(.7 - .002 * released, .7008729, 1e-7);
  EXPECT_NEAR(policy_gradient({.7}, masks, losses, 3.2, ScoreForm::exact)[0], -.9523810, 1e-7);
}

TEST(PolicyGradient, G5SwapsSignsAndNoticesOnlyDifferences) {
  const std::vector<UnitMask> masks = {{true}, {false}};
  const auto gradient = [&](double first, double second, double baseline) {
    const double losses[] = {first, second};
    return policy_gradient({.7}, masks, losses, baseline, ScoreForm::root)[0];
  };
  EXPECT_NEAR(gradient(3.4, 3.0, 3.2), -gradient(3.0, 3.4, 3.2), 1e-12);
  EXPECT_EQ(gradient(3, 3, 3), 0);
  EXPECT_NEAR(gradient(13, 13.4, 13.2), gradient(3, 3.4, 3.2), 1e-12);
}

TEST(PolicyGradient, LeavesOutWhatWasDrawnTogether) {
  const std::vector<UnitMask> masks = {{true}, {false}, {true}, {true}};
  const double losses[] = {3, 5, 4, 8};
  // Of single masks it is the estimator with the mean as its baseline.
  EXPECT_NEAR(leave_one_out_gradient({.6}, masks, losses, 1, ScoreForm::root)[0],
              policy_gradient({.6}, masks, losses, 5, ScoreForm::root)[0], 1e-12);
  const double kept = score_term(true, .6, ScoreForm::exact), gone = score_term(false, .6, ScoreForm::exact);
  EXPECT_NEAR(leave_one_out_gradient({.6}, masks, losses, 2, ScoreForm::exact)[0],
              ((3 - 6) * kept + (5 - 6) * gone + (4 - 4) * kept + (8 - 4) * kept) / 4, 1e-12);
}

TEST(PolicyGradient, G6TheExactFormIsUnbiasedAndTheReleasedOneScaled) {
  const Probabilities s = {.7, .4, .9}, a = {1.5, -2, .5};
  const int draws = 100'000;
  const auto loss = [&](const UnitMask& mask) {
    double value = 1;
    for (std::size_t i = 0; i < a.size(); ++i) value += mask[i] ? a[i] : 0;
    return value;
  };
  Rng rng(9);
  for (const bool antithetic : {false, true}) {
    std::vector<double> sum(3), squares(3);
    for (int draw = 0; draw < draws; ++draw) {
      const auto masks = drawn_masks(s, antithetic ? 4 : 2, antithetic, rng);
      std::vector<double> losses;
      for (const UnitMask& mask : masks) losses.push_back(loss(mask));
      const auto found = leave_one_out_gradient(s, masks, losses, antithetic ? 2 : 1, ScoreForm::exact);
      for (std::size_t i = 0; i < 3; ++i) {
        sum[i] += found[i];
        squares[i] += found[i] * found[i];
      }
    }
    for (std::size_t i = 0; i < 3; ++i) {
      const double mean = sum[i] / draws, sigma = std::sqrt((squares[i] / draws - mean * mean) / draws);
      EXPECT_NEAR(mean, a[i], 3 * sigma) << i << (antithetic ? " antithetic" : "");
    }
  }
  std::vector<double> sum(3), squares(3);
  double baseline = loss({true, true, true});
  for (int draw = -1000; draw < draws; ++draw) {  // the baseline settles first
    const auto masks = drawn_masks(s, 2, false, rng);
    const double losses[] = {loss(masks[0]), loss(masks[1])};
    baseline = moved_baseline(baseline, (losses[0] + losses[1]) / 2, 5);
    const auto found = policy_gradient(s, masks, losses, baseline, ScoreForm::root);
    for (std::size_t i = 0; i < 3 && draw >= 0; ++i) {
      sum[i] += found[i];
      squares[i] += found[i] * found[i];
    }
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const double expected = 1.8 * a[i] * std::sqrt(s[i] * (1 - s[i]));
    const double mean = sum[i] / draws, sigma = std::sqrt((squares[i] / draws - mean * mean) / draws);
    EXPECT_NEAR(mean, expected, 3 * sigma) << i;
  }
}

TEST(PolicyGradient, G7CosineRate) {
  const double expected[] = {.002, .0017071, .001, .00029289, 0};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(cosine_rate(.002, 3750 * i, 15000), expected[i], 5e-8);
}

TEST(PolicyGradient, G8CountsWhatGoes) {
  EXPECT_EQ(removed_by(1024, .7), 307);
  EXPECT_EQ(removed_by(352256, .7), 105676);
  EXPECT_EQ(removed_by(1024, .5), 512);
  EXPECT_EQ(removed_by(352256, .5), 176128);
  EXPECT_EQ(256 - removed_by(256, .7), 180);
  EXPECT_EQ(458752 - removed_by(458752, .7), 321127);
  EXPECT_EQ(likeliest_mask({.5, .9, .5, .5}, 2), (UnitMask{false, true, false, true}));
}

TEST(PolicyGradient, G9LearnsWhatCostsMost) {
  const std::vector<double> cost = {.1, .9, .3, .7, .5, .2};
  Probabilities s(6, .5);
  Rng rng(2);
  double baseline = 0;
  const int steps = 4000;
  for (int step = 0; step < steps; ++step) {
    const auto masks = drawn_masks(s, 2, false, rng);
    double losses[2] = {0, 0};
    for (int k = 0; k < 2; ++k)
      for (std::size_t i = 0; i < 6; ++i) losses[k] += masks[static_cast<std::size_t>(k)][i] ? 0 : cost[i];
    baseline = moved_baseline(step == 0 ? losses[0] : baseline, (losses[0] + losses[1]) / 2, 5);
    const auto gradient = policy_gradient(s, masks, losses, baseline, ScoreForm::root);
    for (std::size_t i = 0; i < 6; ++i) s[i] -= cosine_rate(.02, step, steps) * gradient[i];
    s = projected(s, 3);
  }
  EXPECT_EQ(likeliest_mask(s, 3), (UnitMask{false, true, false, true, true, false}));
}

TEST(PolicyGradient, G10TheMaskedModelIsThePrunedOne) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(3), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  Plan plan = keep_all(3);
  Rng rng(6);
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    const UnitMask mask = drawn_masks(Probabilities(176, .7), 1, false, rng)[0];
    KeptUnits kept{.of = 176};
    for (std::int64_t i = 0; i < 176; ++i)
      if (mask[static_cast<std::size_t>(i)]) kept.kept.push_back(i);
    plan.slices[layer] = {.kv_heads = KeptUnits{2, {layer % 2}}, .channels = {kept}};
  }
  const auto masked = forward_logits(model.masked(plan), ids), pruned = forward_logits(model.view(plan, {}), ids);
  EXPECT_LT((masked - pruned).abs().max().item<double>(), 1e-4);
}

// One pool of heads and one of channels, of which layer 1 has no part.
TEST(PolicyGradient, MasksOfPoolsAreThoseOfTheirLayers) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(3), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  const UnitPools pools = pools_of(model, {.over = "inside", .protect = {1}});
  Rng rng(6);
  PoolMasks masks;
  for (const UnitPool& pool : pools)
    masks.push_back(drawn_masks(Probabilities(pool.units.size(), .7), 1, false, rng)[0]);
  std::map<std::int64_t, Gates> gates;
  for (const std::int64_t layer : {0, 2}) gates[layer] = {.heads = torch::zeros({2}), .channels = torch::zeros({176})};
  for (std::size_t p = 0; p < pools.size(); ++p)
    for (std::size_t u = 0; u < masks[p].size(); ++u) {
      const PolicyUnit& unit = pools[p].units[u];
      Gates& layer = gates.at(unit.layer);
      if (masks[p][u]) (unit.kind == UnitKind::channel ? layer.channels : layer.heads)[unit.index] = 1;
    }
  EXPECT_EQ(masked_loss(model, pools, masks, ids), mean_loss(model.gated(gates), ids));
  EXPECT_NE(masked_loss(model, pools, masks, ids), mean_loss(model, ids));
}

TEST(PolicyGradient, G11MasksOfOnesChangeNoBitAndKeepingAllRemovesNothing) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(3), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  std::map<std::int64_t, Gates> ones;
  for (std::int64_t i = 0; i < 3; ++i)
    ones[i] = unit_gates(model.config().layers[static_cast<std::size_t>(i)], torch::kFloat);
  EXPECT_EQ(mean_loss(model.gated(ones), ids), mean_loss(model, ids));
  Rng rng(1);
  EXPECT_EQ(drawn_masks(Probabilities(9, 1.0), 1, false, rng)[0], UnitMask(9, true));
  EXPECT_EQ(removed_by(1024, 1), 0);
}

class PolicyMethod : public MethodTest {
 protected:
  PolicyMethod() : MethodTest("policy-gradient") { calibration = random_tokens(12, 12, 3); }
};

TEST_F(PolicyMethod, TakesLayersThatDoNothing) {
  model = with_identity_layers(6, 2, 3);
  EXPECT_EQ(dropped(propose({{"ratio", 0.34}, {"over", "layers"}, {"steps", 20}, {"check-every", 10}}).plan),
            (std::vector<std::int64_t>{2, 3}));
  const Plan halves = propose({{"ratio", 0.34}, {"over", "halves"}, {"steps", 10}, {"start-from", "metric"}}).plan;
  EXPECT_EQ(dropped(halves), (std::vector<std::int64_t>{2, 3}));
}

TEST_F(PolicyMethod, LearnsLayersFromProbabilitiesThatSayNothing) {
  const Plan plan = propose({{"ratio", 0.34},
                             {"over", "layers"},
                             {"start-from", "uniform"},
                             {"steps", 150},
                             {"rate", 0.05},
                             {"take", "last"},
                             {"baseline", "leave-one-out"}})
                        .plan;
  const auto ids = to_tensor(calibration, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, torch::kCPU);
  double mean = 0;
  for (std::int64_t a = 0; a < 6; ++a)
    for (std::int64_t b = a + 1; b < 6; ++b) mean += mean_loss(model.view(drop_layers(6, {a, b}), {}), ids) / 15;
  EXPECT_EQ(dropped(plan).size(), 2u);
  EXPECT_LT(mean_loss(model.view(plan, {}), ids), mean);
}

TEST_F(PolicyMethod, KeepsItsBudgetInsideLayers) {
  const Proposal found = propose({{"ratio", 0.25}, {"steps", 4}, {"check-every", 2}});
  std::int64_t heads = 0, channels = 0;
  for (const auto& [layer, slice] : found.plan.slices) {
    if (slice.kv_heads) heads += slice.kv_heads->removed();
    for (const KeptUnits& units : slice.channels) channels += units.removed();
  }
  for (const Segment& segment : found.plan.segments) {  // halves of which nothing was left
    if (segment.action == Action::drop_attention || segment.action == Action::drop) heads += 2 * segment.count();
    if (segment.action == Action::drop_mlp || segment.action == Action::drop) channels += 176 * segment.count();
  }
  EXPECT_EQ(heads, 3);  // floor(12 * 0.25)
  EXPECT_EQ(channels, 6 * 176 / 4);
  EXPECT_EQ(found.plan.scores.at("history").size(), 3u);
}

TEST_F(PolicyMethod, GoesOnFromItsState) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "state.json";
  const Method& method = find_method("policy-gradient");
  const Json params = resolve_params(method.params, {{"ratio", 0.34}, {"over", "layers"}, {"steps", 6}}, "test");
  const auto run = [&] {
    SearchMemory memory(file);
    PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
    return method.propose(context, params).plan;
  };
  const Plan first = run();
  EXPECT_EQ(to_json(run()), to_json(first));  // nothing is left to learn
  Json state = parse_json(read_text(file), "state");
  state["state"]["pools"][0]["s"].erase(0);
  write_text(file, dump_json(state));
  EXPECT_ERROR(run(), format, "its units are not the model's");
}

// Stopped in the middle, here by a disk that is full, it comes to the probabilities and the plan of a run that was not.
TEST_F(PolicyMethod, GoesOnFromTheMiddleAsIfItHadNotStopped) {
  const TemporaryDirectory directory;
  const Method& method = find_method("policy-gradient");
  const auto run = [&](const char* name, int steps) {
    const auto file = directory.path() / name;
    SearchMemory memory(file);
    PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
    const Json given = {{"ratio", 0.34}, {"over", "layers"}, {"steps", steps}, {"check-every", 1}};
    return method.propose(context, resolve_params(method.params, given, "test")).plan;
  };
  const auto size = [&](const char* name) { return std::filesystem::file_size(directory.path() / name); };
  const Plan whole = run("whole", 9);
  run("start", 0);
  {
    const FileSizeLimit limit((size("start") + size("whole")) / 2);  // the state grows by a look a step
    EXPECT_ERROR(run("state", 9), io, "state: cannot write");
  }
  Json kept = parse_json(read_text(directory.path() / "state"), "state");
  ASSERT_GT(kept["state"]["step"], 0);
  ASSERT_LT(kept["state"]["step"], 9);
  const Json first_look = kept["state"]["history"][0]["loss"];
  kept["state"]["history"][0]["loss"] = 1000;  // what a run that began anew would not say
  write_text(directory.path() / "state", dump_json(kept));
  Plan resumed = run("state", 9);
  EXPECT_EQ(resumed.scores["history"][0]["loss"], 1000);
  resumed.scores["history"][0]["loss"] = first_look;
  EXPECT_EQ(to_json(resumed), to_json(whole));
  EXPECT_EQ(resumed.scores["pools"][0]["keep_probabilities"].size(), 6U);
}

TEST_F(PolicyMethod, SaysWhatItNeeds) {
  EXPECT_ERROR(propose({}), usage, "needs --ratio");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"masks", 1}, {"baseline", "leave-one-out"}}), usage, "two --masks or more");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"masks", 1}, {"antithetic", true}}), usage,
               "--antithetic mirrors every second");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"masks", 2}, {"antithetic", true}, {"baseline", "leave-one-out"}}), usage,
               "take four --masks");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"baseline", "leave-one-out"}, {"baseline-window", 3}}), usage,
               "--baseline-window goes with --baseline moving");
  calibration.sequences.resize(1);
  EXPECT_ERROR(propose({{"ratio", 0.5}}), resource, "two sequences of the same length");
}

}  // namespace
}  // namespace streamline::test

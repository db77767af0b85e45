// SPDX-License-Identifier: Apache-2.0
// MINI-LLM by the numeric checks of its reconstruction, M1 to M10.
#include "streamline/plan/slice.h"
#include "streamline/prune/feature_sensitivity.h"
#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/taylor_scores.h"
#include "streamline/prune/width_choice.h"

#include "prune/method_fixture.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline::test {
namespace {

torch::Tensor along(std::uint64_t seed) { return direction(seed, 0, Role::q, -1, {3}).to(torch::kDouble); }

TEST(MiniLlm, M1TheSlopeOfALinearLossIsExactAndItsMeanTheGradient) {
  const auto g = torch::tensor({3.0, 4.0, 0.0}, torch::kDouble);
  const auto loss = [&](std::uint64_t seed, double eps) {
    const double slope = (g * along(seed)).sum().item<double>();
    return EndLosses{.above = slope * eps + 7, .below = slope * -eps + 7};
  };
  for (const double eps : {1e-3, 0.5, 2.0})
    for (const Probe& probe : probe_slopes(loss, 5, eps, 11))
      EXPECT_NEAR(probe.slope, (g * along(probe.seed)).sum().item<double>(), 1e-9);
  const std::int64_t draws = 20000;
  auto sum = torch::zeros({3}, torch::kDouble), squares = torch::zeros({3}, torch::kDouble);
  const std::vector<Probe> probes = probe_slopes(loss, draws, 1e-3, 12);
  for (const Probe& probe : probes) {
    const auto estimate = probe.slope * along(probe.seed);
    sum += estimate;
    squares += (estimate - g).square();
  }
  const auto mean = sum / static_cast<double>(draws), variance = squares / static_cast<double>(draws);
  const double expected[] = {34, 41, 25};  // |g|² + g_i²
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(mean[i].item<double>(), g[i].item<double>(), 4 * std::sqrt(expected[i] / static_cast<double>(draws)));
    EXPECT_NEAR(variance[i].item<double>(), expected[i], 0.08 * expected[i]);
  }
  EXPECT_LT((estimated_gradient(probes, 0, Role::q, -1, {3}).all - mean).abs().max().item<double>(), 1e-9);
}

TEST(MiniLlm, M2TheCentralSlopeOfAQuadraticIsExact) {
  const auto a = torch::tensor({{2.0, 0.5, 0.0}, {0.5, 1.0, -1.0}, {0.0, -1.0, 3.0}}, torch::kDouble);
  const auto theta = torch::tensor({1.0, -2.0, 0.5}, torch::kDouble), z = along(3);
  const auto loss = [&](double step) {
    const auto at = theta + step * z;
    return 0.5 * at.dot(a.mv(at)).item<double>();
  };
  const double exact = z.dot(a.mv(theta)).item<double>();
  for (const double eps : {1e-2, 1.0, 10.0}) {
    EXPECT_NEAR(central_slope({.above = loss(eps), .below = loss(-eps)}, eps), exact, 1e-9);
    EXPECT_NEAR((loss(eps) - loss(0)) / eps - exact, 0.5 * eps * z.dot(a.mv(z)).item<double>(), 1e-9);
  }
}

TEST(MiniLlm, M3WeightsAreTheSameBitsAfterProbing) {
  const Model model = pico_model(tiny_llama(2), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  const LayerWeights before = copy_to(model.layer(1), torch::kCPU, torch::kFloat);
  const double still = mean_loss(model, ids);
  EXPECT_NE(losses_along(model, ids, ProbeSpace::weights, 1, 1e-2).above, still);
  for (const PlacedTensor& tensor : placed_tensors(model.layer(1)))
    EXPECT_TRUE(torch::equal(tensor.value, before.at(tensor.role).weight));
  EXPECT_EQ(mean_loss(model, ids), still);
}

TEST(MiniLlm, M4TheSameSeedGivesTheSameSlopesAndStreamingTheStoredGradient) {
  const Model model = pico_model(tiny_llama(2), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  const auto probed = [&] {
    return probe_slopes(
        [&](std::uint64_t seed, double eps) { return losses_along(model, ids, ProbeSpace::weights, seed, eps); }, 6,
        1e-3, 21);
  };
  const std::vector<Probe> probes = probed();
  EXPECT_EQ(probes, probed());
  const torch::Tensor matrix = model.layer(1).at(Role::down).weight;
  auto stored = torch::zeros(matrix.sizes(), torch::kDouble);
  for (const Probe& probe : probes)
    stored += probe.slope * direction(probe.seed, 1, Role::down, -1, matrix.sizes()).to(torch::kDouble) / 6.0;
  EXPECT_LT(relative_difference(estimated_gradient(probes, 1, Role::down, -1, matrix.sizes()).all, stored), 1e-6);
  EXPECT_FALSE(torch::equal(direction(1, 0, Role::up, -1, {4}), direction(1, 0, Role::gate, -1, {4})));
}

TEST(MiniLlm, TheEndsOfAStepAreTheModelsMovedThere) {
  const Model model = pico_model(tiny_llama(2), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  for (const ProbeSpace space : {ProbeSpace::weights, ProbeSpace::gates}) {
    const EndLosses there = losses_along(model, ids, space, 3, 0.05), back = losses_along(model, ids, space, 3, -0.05);
    EXPECT_EQ(there.above, back.below);
    EXPECT_EQ(there.below, back.above);
    EXPECT_NE(there.above, there.below);
  }
  const auto moved = [&](double step) {
    std::map<std::int64_t, Gates> gates;
    for (std::int64_t i = 0; i < 2; ++i)
      gates[i] = {.heads = torch::ones({2}).add(direction(3, i, Role::o, -1, {2}), step),
                  .channels = torch::ones({176}).add(direction(3, i, Role::down, -1, {176}), step)};
    return mean_loss(model.gated(gates), ids);
  };
  const EndLosses gates = losses_along(model, ids, ProbeSpace::gates, 3, 0.05);
  EXPECT_EQ(gates.above, moved(0.05));
  EXPECT_EQ(gates.below, moved(-0.05));
}

TEST(MiniLlm, HalvesOfTheProbesAreEstimatesOfTheirOwn) {
  const std::vector<Probe> probes = {{1, 0.5}, {2, -1.0}, {3, 2.0}, {4, 0.25}, {5, -0.75}};
  const auto of = [](const std::vector<Probe>& some) { return estimated_gradient(some, 0, Role::up, -1, {4, 3}); };
  const auto both = of(probes);
  EXPECT_TRUE(torch::equal(both.first, of({probes.begin(), probes.begin() + 2}).all));
  EXPECT_TRUE(torch::equal(both.second, of({probes.begin() + 2, probes.end()}).all));
  EXPECT_LT(relative_difference(both.all, (2 * both.first + 3 * both.second) / 5), 1e-12);
  const Model model = pico_model(tiny_llama(2), 5);
  const std::vector<LayerReads> reads(2);
  const auto scored = [&](const std::vector<Probe>& some) {
    return probed_sensitivity(Sensitivity::taylor, model, reads, some);
  };
  EXPECT_EQ(scored(probes).second, scored({probes.begin() + 2, probes.end()}).all);
  EXPECT_EQ(probed_gates(model, probes).first, probed_gates(model, {probes.begin(), probes.begin() + 2}).all);
}

TEST(MiniLlm, M5TheProductOfMagnitudeActivationAndGradient) {
  const auto w = torch::tensor({{1.0, -2.0}, {3.0, 0.0}}), x = torch::tensor({2.0, 1.0}),
             g = torch::tensor({{.5, .25}, {0.0, 1.0}});
  const auto score = weight_sensitivity(Sensitivity::product, w, x, g);
  EXPECT_TRUE(torch::equal(score, torch::tensor({{1.0, 0.5}, {0.0, 0.0}}, torch::kDouble)));
  EXPECT_TRUE(torch::equal(score.sum(1), torch::tensor({1.5, 0.0}, torch::kDouble)));
  EXPECT_TRUE(torch::equal(score.sum(0), torch::tensor({1.0, 0.5}, torch::kDouble)));
}

TEST(MiniLlm, M6ScalesWithItsFactors) {
  const auto w = random_tensor({8, 5}, 1), g = random_tensor({8, 5}, 2);
  const auto x = random_tensor({5}, 3).abs();
  using enum Sensitivity;
  EXPECT_TRUE(torch::allclose(weight_sensitivity(wanda, w, x, {}), w.to(torch::kDouble).abs() * x));
  for (const Sensitivity variant : {product, taylor})
    EXPECT_TRUE(torch::allclose(weight_sensitivity(variant, w, x, 3 * g), 3 * weight_sensitivity(variant, w, x, g)));
  EXPECT_TRUE(torch::allclose(weight_sensitivity(normalised_product, w, x, 3 * g),
                              weight_sensitivity(normalised_product, w, x, g)));
  auto wider = x.clone();
  wider[2] *= 5;
  auto expected = weight_sensitivity(product, w, x, g);
  expected.select(1, 2) *= 5;
  EXPECT_TRUE(torch::allclose(weight_sensitivity(product, w, wider, g), expected));
}

TEST(MiniLlm, M7RemovingAUnitIsClosingItsGate) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(3), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  KeptUnits channels{.of = 176};
  for (std::int64_t i = 0; i < 176; ++i)
    if (i != 41) channels.kept.push_back(i);
  for (const LayerSlice& slice : {LayerSlice{.kv_heads = KeptUnits{2, {1}}}, LayerSlice{.channels = {channels}}}) {
    Plan plan = keep_all(3);
    plan.slices[1] = slice;
    EXPECT_LT(relative_difference(forward_logits(model.view(plan, {}), ids), forward_logits(model.masked(plan), ids)),
              1e-5);
  }
}

TEST(MiniLlm, M8TheSlopeOfAGateIsTheFirstOrderChangeOfItsGroup) {
  const Model model = pico_model(tiny_llama(2), 5, {}, {.dtype = torch::kFloat64});
  const auto ids = to_tensor(random_tokens(2, 9, 4), {0, 1}, torch::kCPU);
  const auto loss_at = [&](std::int64_t channel, double gate) {
    Gates gates = unit_gates(model.config().layers[1], torch::kFloat64);
    gates.channels[channel] = gate;
    return mean_loss(model.gated({{1, gates}}), ids);
  };
  const auto slope_at = [&](std::int64_t channel) {
    return central_slope({.above = loss_at(channel, 1 + 1e-4), .below = loss_at(channel, 1 - 1e-4)}, 1e-4);
  };
  inside_gradients(model, ids, GradientOf::weights, [&](std::int64_t layer, const LayerGradients& gradients) {
    if (layer != 1) return;
    const auto change = (gradients.weights.at(Role::down).weight * gradients.tensors.at(Role::down).weight).sum(0);
    for (const std::int64_t channel : {0, 99}) {
      const double slope = slope_at(channel);
      EXPECT_NEAR(slope, change[channel].item<double>(), 1e-4 * std::abs(slope) + 1e-10);
    }
  });
  inside_gradients(model, ids, GradientOf::gates, [&](std::int64_t layer, const LayerGradients& gradients) {
    if (layer != 1) return;
    const double slope = slope_at(99);
    EXPECT_NEAR(gradients.channels[99].item<double>(), slope, 1e-4 * std::abs(slope) + 1e-10);
  });
}

TEST(MiniLlm, M9CountsTheParametersOfLlama7B) {
  Config config = config_from_json({{"model_type", "llama"},
                                    {"hidden_size", 4096},
                                    {"intermediate_size", 11008},
                                    {"num_hidden_layers", 32},
                                    {"num_attention_heads", 32},
                                    {"vocab_size", 32000},
                                    {"rms_norm_eps", 1e-6},
                                    {"tie_word_embeddings", false}},
                                   "config.json");
  EXPECT_EQ(total_parameters(config), 6738415616);
  UnitScores scores;
  for (const LayerConfig& layer : config.layers) scores.push_back(no_scores(layer));
  const WidthRequest request{.protect = {0, 1, 2, 3, 30, 31}};
  const auto slices = kept_units(config, scores, request, 0.25);
  EXPECT_EQ(slices.size(), 26u);
  EXPECT_EQ(slices.at(4).kv_heads->removed(), 8);
  EXPECT_EQ(slices.at(4).channels.at(0).removed(), 2752);
  for (const auto& [layer, slice] : slices)
    config.layers[static_cast<std::size_t>(layer)] =
        sliced_layer(config.layers[static_cast<std::size_t>(layer)], slice);
  EXPECT_EQ(total_parameters(config), 5422977024);
}

// Channel c has weights of size 2 * 1.15^c in gate and down and of the inverse third power in up: what is large matters
// little.
constexpr std::int64_t kScaled = 20;
Model with_scaled_channels(Placement placement = {}) {
  Json json = tiny_llama(1);
  json["intermediate_size"] = kScaled;
  return pico_model(
      json, 5,
      [](const ExpectedTensor& tensor, std::vector<float>& values) {
        const bool rows = tensor.role == Role::gate || tensor.role == Role::up;
        if (!rows && tensor.role != Role::down) return;
        const auto columns = static_cast<std::size_t>(tensor.shape[1]);
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double a = 2 * std::pow(1.15, static_cast<double>(rows ? i / columns : i % columns));
          values[i] *= static_cast<float>(tensor.role == Role::up ? std::pow(a, -3) : a);
        }
      },
      placement);
}

TEST(MiniLlm, M10OneProbeRanksByMagnitudeAndExactGradientsDoNot) {
  const Model model = with_scaled_channels();
  const auto ids = to_tensor(random_tokens(8, 24, 4), {0, 1, 2, 3, 4, 5, 6, 7}, torch::kCPU);
  const std::vector<LayerReads> reads(1);
  const std::vector<Probe> probes = probe_slopes(
      [&](std::uint64_t seed, double eps) { return losses_along(model, ids, ProbeSpace::weights, seed, eps); }, 1, 1e-3,
      21);
  GroupedValues sums(model.config().layers[0]);
  for (const PlacedTensor& tensor : placed_tensors(model.layer(0)))
    sums.add(tensor.role, tensor.part, tensor.expert, tensor.value.abs());
  const auto magnitude = sums.scores(GroupSum::magnitudes).channels[0];
  const double probed = spearman(probed_sensitivity(Sensitivity::taylor, model, reads, probes).all[0].channels[0],
                                 magnitude),
               exact = spearman(exact_sensitivity(Sensitivity::taylor, model, reads, ids)[0].channels[0], magnitude);
  EXPECT_GT(probed, 0.9);
  EXPECT_LT(exact, 0.5);
}

class MiniLlmMethod : public MethodTest {
 protected:
  MiniLlmMethod() : MethodTest("mini-llm") {}
};

TEST_F(MiniLlmMethod, SaysWhenItsGradientIsNoise) {
  const Proposal noisy = propose({{"ratio", 0.25}, {"probes", 2}, {"zo-space", "weights"}, {"fms", "B"}});
  EXPECT_THAT(noisy.warnings, testing::Contains(testing::HasSubstr("rank the units with a Spearman correlation"))
                                  .Times(noisy.plan.scores.at("rank_agreement").get<double>() < 0.3 ? 1 : 0));
  const Json& scores = noisy.plan.scores;
  EXPECT_EQ(scores.at("probes"), 2);
  EXPECT_NEAR(scores.at("relative_error").get<double>(), std::sqrt((scores.at("probed_values").get<double>() + 1) / 2),
              1e-9);
  EXPECT_FALSE(propose({{"ratio", 0.5}, {"gradient", "exact"}}).plan.scores.contains("relative_error"));
  EXPECT_THAT(propose({{"ratio", 0.25}, {"gradient", "exact"}}).warnings,
              testing::ElementsAre(testing::HasSubstr("no head goes: a share of 0.25")));  // of two groups
  EXPECT_TRUE(propose({{"ratio", 0.5}, {"gradient", "exact"}}).warnings.empty());
}

TEST(MiniLlm, ManyProbesOfGatesAreAsNearTheExactSlopesAsTheirVarianceSays) {
  const Model model = with_scaled_channels({.dtype = torch::kFloat64});  // slopes are small
  const auto ids = to_tensor(random_tokens(4, 16, 4), {0, 1, 2, 3}, torch::kCPU);
  const std::vector<Probe> probes = probe_slopes(
      [&](std::uint64_t seed, double eps) { return losses_along(model, ids, ProbeSpace::gates, seed, eps); }, 3000,
      1e-3, 5);
  const std::vector<double> probed = all_scores(probed_gates(model, probes).all),
                            exact = all_scores(taylor_scores(model, ids, TaylorForm::gate));
  double wrong = 0, whole = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    wrong += (probed[i] - exact[i]) * (probed[i] - exact[i]);
    whole += exact[i] * exact[i];
  }
  EXPECT_EQ(probed_values(model, ProbeSpace::gates), 22);
  EXPECT_NEAR(relative_error(22, 3000), 0.0876, 1e-4);  // sqrt(23 / 3000)
  EXPECT_LT(std::sqrt(wrong / whole), 0.2);
}

// What is remembered of a larger cut, or of an interrupted run, says as much of its noise.
TEST_F(MiniLlmMethod, RemembersHowNoisyItWas) {
  const Method& method = find_method("mini-llm");
  SearchMemory memory;
  const auto remembering = [&](double ratio) {
    PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
    return method.propose(context, resolve_params(method.params, {{"ratio", ratio}, {"probes", 4}}, "test"));
  };
  remembering(0.25);
  const Proposal recalled = remembering(0.5), alone = propose({{"ratio", 0.5}, {"probes", 4}});
  EXPECT_EQ(to_json(recalled.plan), to_json(alone.plan));
  EXPECT_EQ(recalled.warnings, alone.warnings);
  EXPECT_EQ(recalled.plan.scores.at("probed_values"), 6 * (2 + 176));
  EXPECT_TRUE(recalled.plan.scores.contains("rank_agreement"));
}

TEST_F(MiniLlmMethod, TakesStepsThatHalfPrecisionSees) {
  const auto rounding = testing::Contains(testing::HasSubstr("rounded"));
  EXPECT_EQ(propose({{"ratio", 0.5}, {"probes", 2}}).plan.scores.at("zo_eps"), 1e-3);
  model = pico_model(tiny_llama(), 1, {}, {.dtype = torch::kBFloat16});
  const Proposal visible = propose({{"ratio", 0.5}, {"probes", 2}});
  EXPECT_EQ(visible.plan.scores.at("zo_eps"), 0.1);
  EXPECT_THAT(visible.warnings, testing::Not(rounding));
  EXPECT_THAT(propose({{"ratio", 0.5}, {"probes", 1}, {"zo-eps", 1e-3}}).warnings, rounding);
  const Proposal weights = propose({{"ratio", 0.5}, {"probes", 1}, {"zo-space", "weights"}, {"fms", "B"}});
  EXPECT_EQ(weights.plan.scores.at("zo_eps"), 1e-3);
  EXPECT_THAT(weights.warnings, rounding);
}

TEST_F(MiniLlmMethod, TakesInRoundsAsMuchAsAtOnce) {
  const Json given = {{"ratio", 0.5}, {"gradient", "exact"}, {"fms", "B"}};
  Json rounds = given;
  rounds["iterations"] = 4;
  const Plan once = propose(given).plan, slowly = propose(rounds).plan;
  for (std::int64_t layer = 0; layer < 6; ++layer) {
    EXPECT_EQ(slice_of(once, layer).kv_heads->count(), slice_of(slowly, layer).kv_heads->count());
    EXPECT_EQ(slice_of(once, layer).channels[0].count(), slice_of(slowly, layer).channels[0].count());
  }
  EXPECT_NE(once.slices, slowly.slices);
  EXPECT_ERROR(propose({{"keep-channels", 9}, {"iterations", 2}}), usage, "--iterations goes with");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"zo-eps", 0}}), usage, "must be a positive number");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"gradient", "exact"}, {"probes", 4}}), usage,
               "--probes goes with --gradient zo");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"fms", "B"}}), usage,
               "--fms goes with --zo-space weights, or --gradient exact");
}

}  // namespace
}  // namespace streamline::test

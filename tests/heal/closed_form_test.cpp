// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/closed_form.h"

#include "streamline/heal/initial.h"
#include "streamline/heal/pace.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

TEST(LeastSquares, FindsBackTheMatrixThatMadeTheData) {
  torch::manual_seed(1);
  const auto phi = torch::randn({200, 5}, torch::kFloat64), truth = torch::randn({5, 3}, torch::kFloat64);
  LeastSquares sums;
  sums.add(phi.narrow(0, 0, 120), phi.narrow(0, 0, 120).matmul(truth), false);
  sums.add(phi.narrow(0, 120, 80), phi.narrow(0, 120, 80).matmul(truth), false);
  const auto solved = solve_ridge(sums, 0);
  ASSERT_TRUE(solved);
  EXPECT_LT((*solved - truth).abs().max().item<double>(), 1e-10);
  EXPECT_NEAR(sums.error(*solved), 0, 1e-9 * sums.energy);
  EXPECT_EQ(sums.error({}), sums.energy);
}

// (φᵀφ + λ m I) w = φᵀr with φ = (1, 2)ᵀ, r = (2, 2)ᵀ: m = 5, w = 6 / (5 + 5 λ).
TEST(LeastSquares, RidgeShrinksByTheHandValue) {
  LeastSquares sums;
  sums.add(torch::tensor({{1.0}, {2.0}}), torch::tensor({{2.0}, {2.0}}), false);
  EXPECT_NEAR(solve_ridge(sums, 0.2)->item<double>(), 1.0, 1e-12);
  EXPECT_NEAR(sums.error(*solve_ridge(sums, 0.2)), 1.0, 1e-12);  // (2 - 1)² + (2 - 2)²
}

TEST(LeastSquares, OfASingularProblemWithoutRidgeHasNoSolution) {
  LeastSquares sums;
  sums.add(torch::tensor({{1.0, 0.0}, {1.0, 0.0}}), torch::tensor({{1.0}, {1.0}}), false);
  EXPECT_FALSE(solve_ridge(sums, 0));
  EXPECT_TRUE(solve_ridge(sums, 1e-3));
}

struct Solved {
  ClosedFormFit fit;
  double before = 0, after = 0;  // mean squared errors over the validation text, computed anew
};

double error_of(const Model& body, const HealedWindow& window, const LayerWeights& weights, const TokenBatches& text,
                std::int64_t first = 0) {
  double sum = 0;
  const torch::NoGradGuard no_grad;
  for (const Indices& group : micro_batches(text, all_sequences(text), 64)) {
    const WindowStates states = window_states(body, window, text, group);
    const auto positions = rope_positions(body.config(), 0, states.input.size(1), torch::kCPU);
    const auto apart = block_forward(body.config(), weights, states.input, positions) - states.output;
    sum += apart.slice(1, first).square().sum().item<double>();
  }
  const auto tokens = text.positions() - first * std::ssize(text.sequences);
  return sum / static_cast<double>(tokens * body.config().hidden);
}

Solved solve(const Model& model, const char* name, Start start) {
  const Replacement& network = find_replacement(name);
  const HealedWindow window{.first = 2, .count = 2, .before = network.before};
  const Model body = model.truncated(window.end());
  Rng rng(1);
  const LayerWeights initial = initial_weights(network, body, window.begin(), start, rng);
  const TokenBatches training = random_tokens(80, 16, 1), validation = random_tokens(10, 16, 2);
  Solved solved{
      .fit = fit_closed_form(network, body, initial, recomputed_states(body, window), training, validation, 256)};
  // Linear maps of the stream are fitted to all positions but the first.
  const bool linear = network.closed_form == ClosedForm::constant || network.closed_form == ClosedForm::low_rank;
  solved.before = error_of(body, window, initial, validation, linear ? 1 : 0);
  solved.after = error_of(body, window, solved.fit.weights, validation, linear ? 1 : 0);
  return solved;
}

TEST(ClosedForm, ImprovesOnItsStartByWhatItSays) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt()}) {
    const Model model = pico_model(json, 1);
    for (const Replacement* network : replacements()) {
      SCOPED_TRACE(std::string(network->name) + " of " + json["model_type"].get<std::string>());
      const Solved solved = solve(model, std::string(network->name).c_str(), Start::closed_form);
      EXPECT_NEAR(solved.fit.start_error, solved.before, 1e-5 * solved.before);
      EXPECT_NEAR(solved.fit.error, solved.after, 1e-4 * solved.before);
      EXPECT_LT(solved.fit.error, solved.fit.start_error);
    }
  }
}

// Of the depth study's specification, check 9.
TEST(ClosedForm, Check9AConstantLeavesNoMeanErrorAndTheVariance) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const Replacement& network = find_replacement("mean");
  const HealedWindow window{.first = 2, .count = 1};
  const Model body = model.truncated(window.end());
  Rng rng(1);
  const LayerWeights zero = initial_weights(network, body, 2, Start::closed_form, rng);
  const TokenBatches text = random_tokens(20, 16, 1);
  const LayerWeights fitted =
      fit_closed_form(network, body, zero, recomputed_states(body, window), text, text, 256).weights;
  std::vector<torch::Tensor> updates;
  for (const Indices& group : micro_batches(text, all_sequences(text), 64)) {
    const WindowStates states = window_states(body, window, text, group);
    updates.push_back((states.output - states.input).slice(1, 1).flatten(0, 1).to(torch::kFloat64));
  }
  const auto all = torch::cat(updates), bias = fitted.at(Role::down).bias.to(torch::kFloat64);
  EXPECT_LT((bias - all.mean(0)).abs().max().item<double>(), 1e-5);
  const double with = error_of(body, window, fitted, text, 1), without = error_of(body, window, zero, text, 1);
  EXPECT_NEAR(with, all.var(0, /*unbiased=*/false).mean().item<double>(), 1e-5 * with);
  EXPECT_LT(with, without);
}

TEST(ClosedForm, Check9AConstantUpdateIsReproduced) {
  // An MLP that reads nothing and writes its last bias.
  const Model model = pico_model(test::tiny_opt(), 1, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.layer != 2) return;
    const bool adds = tensor.role == Role::o || (tensor.role == Role::down && tensor.part == Part::weight);
    if (adds) values.assign(values.size(), 0);
  });
  const HealedWindow window{.first = 2, .count = 1};
  const Model body = model.truncated(window.end());
  const Replacement& network = find_replacement("mean");
  Rng rng(1);
  const LayerWeights zero = initial_weights(network, body, 2, Start::closed_form, rng);
  const TokenBatches text = random_tokens(20, 16, 1);
  const auto fit = fit_closed_form(network, body, zero, recomputed_states(body, window), text, text, 256);
  EXPECT_NEAR(fit.error, 0, 1e-9 * fit.start_error);
  EXPECT_NEAR(error_of(body, window, fit.weights, text), 0, 1e-6);
  const auto ids = to_tensor(text, {0, 1, 2}, torch::kCPU);
  const auto whole = forward_logits(model, ids);
  const auto replaced = forward_logits(model.view(cut_window(4, 2, 1, "mean"), {{1, fit.weights}}), ids);
  const auto cut = forward_logits(model.view(cut_window(4, 2, 1), {}), ids);
  EXPECT_LT((replaced - whole).abs().max().item<double>(), 1e-5);
  EXPECT_GT((cut - whole).abs().max().item<double>(), 1e-3);
}

// Check 10.
TEST(ReducedRank, Check10OfFullRankIsLeastSquaresAndOfRankZeroTheMean) {
  torch::manual_seed(3);
  const auto x = torch::randn({400, 6}, torch::kFloat64) + 2;
  const auto wanted = x.matmul(torch::randn({6, 6}, torch::kFloat64)) + torch::randn({400, 6}, torch::kFloat64) - 3;
  LeastSquares sums;
  sums.add(torch::cat({x, torch::ones({400, 1}, torch::kFloat64)}, 1), wanted, false);
  const auto exact = *solve_ridge(sums, 0);
  EXPECT_LT((reduced_rank(sums, exact, 6) - exact).abs().max().item<double>(), 1e-8);
  const auto none = reduced_rank(sums, exact, 0);
  EXPECT_EQ(none.narrow(0, 0, 6).abs().max().item<double>(), 0);
  EXPECT_LT((none[6] - wanted.mean(0)).abs().max().item<double>(), 1e-10);
  double last = sums.error(none);
  for (std::int64_t rank = 1; rank <= 6; ++rank) {
    const double error = sums.error(reduced_rank(sums, exact, rank));
    EXPECT_LE(error, last * (1 + 1e-12)) << rank;
    last = error;
  }
  EXPECT_NEAR(last, sums.error(exact), 1e-8 * last);
}

TEST(ClosedForm, OfLowRankBeatsTheConstant) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const Solved constant = solve(model, "mean", Start::closed_form), low = solve(model, "low-rank", Start::closed_form);
  EXPECT_LT(low.fit.error, constant.fit.error);
  EXPECT_EQ(low.fit.weights.at(Role::gate).bias.min().item<float>(), kConstantGate);
  EXPECT_EQ(low.fit.weights.config.mlp->intermediate, 8);
}

// Nothing lies behind the layer that is changed: the window is of identities.
TEST(ClosedForm, OfAWindowThatDoesNothingChangesNothing) {
  const Model model = pico_model(test::tiny_llama(), 1, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if ((tensor.layer == 2 || tensor.layer == 3) && test::writes_to_stream(tensor)) values.assign(values.size(), 0);
  });
  for (const char* name : {"linear", "scale"}) {
    const Solved solved = solve(model, name, Start::closed_form);
    EXPECT_NEAR(solved.fit.start_error, 0, 1e-12) << name;
    EXPECT_TRUE(test::same(solved.fit.weights, model.layer(1))) << name;
  }
}

TEST(ClosedForm, ChangesNothingButTheLastMatrix) {
  const Model model = pico_model(test::tiny_llama(), 1);
  for (const char* name : {"linear", "scale"}) {
    const LayerWeights solved = solve(model, name, Start::closed_form).fit.weights, source = model.layer(1);
    for (const PlacedTensor& tensor : placed_tensors(solved))
      EXPECT_EQ(torch::equal(tensor.value, source.at(tensor.role).weight), tensor.role != Role::down)
          << name << " " << role_name(tensor.role);
  }
}

TEST(ClosedForm, IsRefusedWhereItCannotBeWritten) {
  Json json = test::tiny_llama();
  json["model_type"] = "olmo2";
  const Model model = pico_model(json, 1);
  EXPECT_ERROR(solve(model, "linear", Start::closed_form), unsupported, "a norm stands between the MLP and its sum");
}

}  // namespace
}  // namespace streamline

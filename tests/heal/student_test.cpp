// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/student.h"

#include <gtest/gtest.h>

#include "streamline/heal/objective.h"
#include "streamline/heal/replacement.h"
#include "tests/heal/pico.h"

namespace streamline {
namespace {

using test::pico_model;

struct Case {
  const char* replacement;
  Json model;
};

std::vector<Case> cases() {
  return {{"layer", test::tiny_llama()},  {"ffn", test::tiny_llama()},          {"swiglu-residual", test::tiny_llama()},
          {"layer", test::tiny_qwen3()},  {"layer", test::tiny_opt()},          {"swiglu-residual", test::tiny_opt()},
          {"swiglu", test::tiny_llama()}, {"ffn-residual", test::tiny_llama()}, {"ffn-residual", test::tiny_opt()},
          {"linear", test::tiny_llama()}, {"low-rank", test::tiny_llama()}};
}

// Every tensor away from special values (zero down matrices, unit norms), so that every gradient is tested.
LayerWeights random_start(const Model& model, const char* replacement, torch::ScalarType type) {
  Rng rng(5);
  const LayerWeights initial = find_replacement(replacement).initial(model, 1, rng);
  LayerWeights weights = copy_to(initial, torch::kCPU, type);
  torch::manual_seed(5);
  for (auto& tensor : weights.all()) tensor.add_(torch::randn_like(tensor), 0.05);
  return weights;
}

WindowStates random_states(std::int64_t batch, std::int64_t seq, torch::ScalarType type) {
  torch::manual_seed(6);
  return {torch::randn({batch, seq, 64}, type), torch::randn({batch, seq, 64}, type)};
}

double squared_error(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).square().sum().item<double>(); }

// Adds the gradient of the squared error over `elements`; returns that error.
double add_gradient(Student& student, const WindowStates& states, double elements) {
  double error = 0;
  student.add_gradient(states.input, [&](const torch::Tensor& prediction) {
    error = squared_error(prediction, states.output) / elements;
    return (prediction - states.output) * (2 / elements);
  });
  return error;
}

// What was added to the gradients of the student's parameters is the slope of this loss, at five places of each.
void expect_slopes(const Student& student, const std::function<double()>& loss) {
  constexpr double kStep = 1e-5, kRelative = 1e-5;
  const torch::NoGradGuard no_grad;
  Rng rng(7);
  for (const auto& parameter : student.parameters()) {
    const auto values = parameter.view(-1), gradient = parameter.grad().view(-1);
    const double scale = gradient.abs().max().item<double>();
    for (int probe = 0; probe < 5; ++probe) {
      const auto i = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(values.numel())));
      const double value = values[i].item<double>();
      values[i] = value + kStep;
      const double above = loss();
      values[i] = value - kStep;
      const double below = loss();
      values[i] = value;
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), kRelative * scale + 1e-11);
    }
  }
}

// LLM-Streamline check 21, as is the next.
TEST(Student, GradientEqualsCentralDifferences) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(std::string(c.replacement) + " of " + c.model["model_type"].get<std::string>());
    const Model model = pico_model(c.model, 1);
    Student student(model.config(), {torch::kCPU, torch::kFloat64},
                    {random_start(model, c.replacement, torch::kFloat64)});
    const WindowStates states = random_states(2, 6, torch::kFloat64);
    const double elements = 2 * 6 * 64;
    add_gradient(student, states, elements);
    expect_slopes(student, [&] { return squared_error(student.forward(states.input), states.output) / elements; });
  }
}

// Through the frozen layers behind the window and the head; what learns is what training trains.
TEST(Student, GradientOfALossOnLogitsEqualsCentralDifferences) {
  const Placement wide{torch::kCPU, torch::kFloat64};
  const Model model = pico_model(test::tiny_llama(4), 1, {}, wide);
  const HealedWindow window{.first = 1, .count = 2};
  const TokenBatches tokens = test::random_tokens(2, 6, 8);
  const Indices both = {0, 1};
  const WindowStates states = window_states(model.truncated(window.end()), window, tokens, both);
  for (const char* name : {"layer", "ffn", "swiglu", "ffn-residual", "swiglu-residual", "low-rank"})
    for (const Loss loss : {Loss::next_token, Loss::divergence}) {
      SCOPED_TRACE(std::string(name) + " with " + std::string(loss_name(loss)));
      Student student(model.config(), wide, {random_start(model, name, torch::kFloat64)},
                      find_replacement(name).learns);
      const Objective judge(loss, model, window, {});
      const double terms = judge.terms(tokens, both);
      student.add_gradient(states.input, [&](const torch::Tensor& prediction) {
        return judge.judge(prediction, states, tokens, both, /*gradient=*/true).gradient / terms;
      });
      expect_slopes(student, [&] {
        return judge.judge(student.forward(states.input), states, tokens, both, /*gradient=*/false).sum / terms;
      });
    }
}

// k micro-batches against one batch: 1e-6 of the largest gradient, the rounding of fp32 sums.
TEST(Student, GradientsOfMicroBatchesAddUpToThatOfTheBatch) {
  constexpr double kRelative = 1e-6;
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.replacement);
    const Model model = pico_model(c.model, 1);
    const LayerWeights start = random_start(model, c.replacement, torch::kFloat32);
    const WindowStates states = random_states(6, 8, torch::kFloat32);
    const double elements = 6 * 8 * 64;
    Student whole(model.config(), {}, {start}), parts(model.config(), {}, {start});
    const double loss = add_gradient(whole, states, elements);
    double sum = 0;
    for (int k = 0; k < 3; ++k)
      sum += add_gradient(parts, {states.input.narrow(0, 2 * k, 2), states.output.narrow(0, 2 * k, 2)}, elements);
    EXPECT_NEAR(sum, loss, kRelative * loss);
    for (std::size_t i = 0; i < whole.parameters().size(); ++i) {
      const auto& a = whole.parameters()[i].grad();
      const auto& b = parts.parameters()[i].grad();
      EXPECT_LE((a - b).abs().max().item<double>(), 2 * kRelative * a.abs().max().item<double>());
    }
  }
}

TEST(Student, SeesNoLaterToken) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.replacement);
    const Model model = pico_model(c.model, 1);
    const Student student(model.config(), {}, {random_start(model, c.replacement, torch::kFloat32)});
    const torch::Tensor x = random_states(1, 12, torch::kFloat32).input;
    auto changed = x.clone();
    changed.narrow(1, 7, 1).add_(1);
    const auto before = student.forward(x), after = student.forward(changed);  // with gradients, as in training
    EXPECT_TRUE(before.requires_grad());
    EXPECT_TRUE(torch::equal(before.narrow(1, 0, 7), after.narrow(1, 0, 7)));
    EXPECT_FALSE(torch::equal(before.narrow(1, 7, 1), after.narrow(1, 7, 1)));
  }
}

TEST(Student, ComputesWhatTheFoldedModelComputes) {
  constexpr double kFloat32 = 1e-5;
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.replacement);
    const Model model = pico_model(c.model, 1);
    const LayerWeights weights = random_start(model, c.replacement, torch::kFloat32);
    const Student student(model.config(), {}, {weights});
    const Model folded = model.view(cut_window(model.layer_count(), 1, 2, c.replacement), {{1, weights}});
    const auto ids = to_tensor(test::random_tokens(2, 10, 8), {0, 1}, torch::kCPU);
    const auto states = hidden_states(folded, ids);
    const torch::NoGradGuard no_grad;
    const auto expected = student.forward(states[1]);
    EXPECT_LE((expected - states[2]).abs().max().item<double>(), kFloat32 * expected.abs().max().item<double>());
  }
}

TEST(Student, ReadsAndAimsAtTheStatesAroundItsWindow) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const TokenBatches tokens = test::random_tokens(3, 9, 8);
  const WindowStates states = window_states(model.truncated(5), {.first = 2, .count = 3}, tokens, {2, 0});
  const auto expected = hidden_states(model, to_tensor(tokens, {2, 0}, torch::kCPU));
  EXPECT_EQ(states.tokens(), 18);
  EXPECT_TRUE(torch::allclose(states.input, expected[2], 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(states.output, expected[5], 1e-5, 1e-5));
}

}  // namespace
}  // namespace streamline

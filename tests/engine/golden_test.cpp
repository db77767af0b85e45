// SPDX-License-Identifier: Apache-2.0
// Logits and hidden states of every family against another program's float64.
#include "support/torch/golden.h"
#include "support/core/expect.h"
#include "support/core/golden_families.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

// Seen in other programs: up to 2e-2; Gemma 2, whose caps leave a small range, 5e-2, GLM-4 4e-2.
constexpr double kBfloat16 = 3e-2, kBfloat16Capped = 7e-2;
// Rounding turns the choice of an expert now and then: single tokens differ by 2e-1, the root of the mean square by
// 4e-2.
constexpr double kBfloat16Experts = 6e-2;

double root_mean_square(const torch::Tensor& a, const torch::Tensor& b) {
  return ((a.to(torch::kDouble) - b.to(torch::kDouble)).norm() / b.to(torch::kDouble).norm()).item<double>();
}

class GoldenFamily : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Engine, GoldenFamily, testing::ValuesIn(kGoldenFamilies),
                         [](const auto& info) { return std::string(info.param); });

using Difference = double (*)(const torch::Tensor&, const torch::Tensor&);

void expect_golden(const Golden& golden, torch::ScalarType type, double tolerance,
                   Difference difference = relative_difference) {
  const torch::NoGradGuard no_grad;
  const Model model = Model::open(golden.checkpoint, {.dtype = type});
  const auto states = hidden_states(model, golden.ids);
  ASSERT_EQ(static_cast<std::int64_t>(states.size()), golden.hidden.size(0));
  for (std::size_t i = 0; i < states.size(); ++i)
    EXPECT_LT(difference(states[i], golden.hidden[static_cast<std::int64_t>(i)]), tolerance) << "h_" << i;
  EXPECT_LT(difference(model.logits(states.back()), golden.logits), tolerance);
  EXPECT_TRUE(torch::equal(forward_logits(model, golden.ids), model.logits(states.back())));
}

TEST_P(GoldenFamily, IsReproducedInFloat32) {
  REQUIRE_SHARED("golden");
  expect_golden(load_golden(GetParam()), torch::kFloat, kFloat32);
}

TEST_P(GoldenFamily, IsReproducedFromTheOtherSpellingOfItsConfiguration) {
  REQUIRE_SHARED("golden");
  if (std::string(GetParam()) == "baichuan2") GTEST_SKIP() << "transformers has no such family";
  expect_golden(load_golden(GetParam(), /*transformers5=*/true), torch::kFloat, kFloat32);
}

TEST_P(GoldenFamily, IsReproducedInBfloat16) {
  REQUIRE_SHARED("golden");
  const std::string family = GetParam();
  const bool sparse = family == "mixtral" || family.ends_with("_moe");
  const bool coarse = family == "gemma2" || family == "glm4";
  if (sparse) return expect_golden(load_golden(family), torch::kBFloat16, kBfloat16Experts, root_mean_square);
  expect_golden(load_golden(family), torch::kBFloat16, coarse ? kBfloat16Capped : kBfloat16);
}

TEST_P(GoldenFamily, IsReproducedWithGradientsEnabled) {
  REQUIRE_SHARED("golden");
  const Golden golden = load_golden(GetParam());
  const Model model = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  auto x = model.embed(golden.ids).requires_grad_();  // every operation takes the differentiable path
  const Positions positions = rope_positions(model.config(), 0, golden.ids.size(1), torch::kCPU);
  for (std::int64_t i = 0; i < model.layer_count(); ++i)
    x = block_forward(model.config(), model.layer(i), x, positions);
  EXPECT_TRUE(x.requires_grad());
  EXPECT_LT(relative_difference(model.logits(x), golden.logits), kFloat32);
}

TEST_P(GoldenFamily, AgreesWithTheReferenceOfTheTests) {
  REQUIRE_SHARED("golden");
  const Golden golden = load_golden(GetParam());
  const Config config = resolve_config(*golden.checkpoint);
  const auto ids = golden.ids[0];
  const std::vector<std::int64_t> tokens(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + ids.numel());
  const auto states = reference_hidden_states(*golden.checkpoint, config, tokens);
  EXPECT_LT(relative_difference(to_torch({reference_logits(*golden.checkpoint, config, states.back())}),
                                golden.logits.narrow(0, 0, 1)),
            1e-6);  // the golden values are float64 rounded to float32
}

}  // namespace
}  // namespace streamline

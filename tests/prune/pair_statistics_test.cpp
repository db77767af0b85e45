// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/pair_statistics.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

// fp32 products of a few thousand elements, against float64.
constexpr double kFloatSum = 2e-6;

std::vector<torch::Tensor> random_states(std::int64_t states, std::int64_t tokens, std::int64_t width,
                                         torch::ScalarType type) {
  torch::manual_seed(static_cast<std::uint64_t>(states * 1000 + width));
  std::vector<torch::Tensor> result = {torch::randn({tokens, width})};
  // A residual stream: each state is the one before plus a change, so that neighbours are close.
  while (std::ssize(result) < states) result.push_back(result.back() + 0.3 * torch::randn({tokens, width}));
  for (torch::Tensor& state : result) state = state.to(type);
  return result;
}

PairStatistics statistics(std::initializer_list<torch::Tensor> states) {
  return pair_statistics(std::vector<torch::Tensor>(states));
}

double cosine(const PairStatistics& s, std::int64_t i, std::int64_t j) {
  return s.cosine[static_cast<std::size_t>(i * s.states + j)];
}
double relative_l2(const PairStatistics& s, std::int64_t i, std::int64_t j) {
  return s.relative_l2[static_cast<std::size_t>(i * s.states + j)];
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t k = 0; k < a.size(); ++k) {
    EXPECT_NEAR(a[k], b[k], tolerance * std::max(1.0, std::abs(b[k]))) << "element " << k;
  }
}

class PairKernels : public testing::TestWithParam<std::tuple<int, int, torch::ScalarType>> {};

TEST_P(PairKernels, AgreeWithTensorExpressionsInFloat64) {
  const auto [states, width, type] = GetParam();
  const auto x = random_states(states, 37, width, type);
  const PairStatistics fast = pair_statistics(x), exact = pair_statistics_by_tensors(x);
  expect_close(fast.cosine, exact.cosine, kFloatSum);
  expect_close(fast.relative_l2, exact.relative_l2, 1e-5);
  expect_close(fast.norms, exact.norms, kFloatSum);
  // On a line every angle is 0 or pi, where an arc cosine keeps half the digits of its argument.
  expect_close(fast.angular, exact.angular, width == 1 ? 1e-4 : kFloatSum);
  expect_close(fast.angular_last, exact.angular_last, 1e-12);
}

// Widths beside multiples of a register and beyond one slice of the cache; states beside multiples of a tile.
INSTANTIATE_TEST_SUITE_P(Shapes, PairKernels,
                         testing::Combine(testing::Values(1, 2, 5, 8, 31), testing::Values(1, 15, 64, 70, 3001),
                                          testing::Values(torch::kFloat32, torch::kBFloat16, torch::kFloat16)));

TEST(PairStatistics, OfIdenticalStatesAreExactlyOneAndZero) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = random_states(1, 50, 777, type)[0];
    const PairStatistics s = statistics({x, x.clone(), x.clone(), x.clone(), x.clone(), x.clone()});
    for (std::int64_t i = 0; i < 6; ++i) {
      for (std::int64_t j = 0; j < 6; ++j) {
        EXPECT_EQ(cosine(s, i, j), 1.0);
        EXPECT_EQ(relative_l2(s, i, j), 0.0);
        EXPECT_EQ(s.angular[static_cast<std::size_t>(i * 6 + j)], 0.0);
      }
    }
  }
}

TEST(PairStatistics, KeepTheDistanceOfStatesThatHardlyDiffer) {
  const auto x = random_states(1, 20, 512, torch::kFloat32)[0];
  const PairStatistics s = statistics({x, x * (1 + 0x1p-10)});
  EXPECT_NEAR(relative_l2(s, 0, 1), 0x1p-10, 1e-3 * 0x1p-10);
}

// Specification check 3.
TEST(PairStatistics, IgnoreAPositiveFactorAndTurnWithANegativeOne) {
  const auto x = random_states(1, 20, 96, torch::kFloat32)[0];
  const PairStatistics s = statistics({x, 4 * x, -0.5 * x});
  EXPECT_DOUBLE_EQ(cosine(s, 0, 1), 1.0);
  EXPECT_DOUBLE_EQ(cosine(s, 0, 2), -1.0);
  EXPECT_NEAR(relative_l2(s, 0, 1), 3.0, 1e-6);
  EXPECT_NEAR(relative_l2(s, 0, 2), 1.5, 1e-6);
}

// Specification check 4: cos((1,0), (1,1)) = 0.70711 and cos((0,1), (0,2)) = 1.
TEST(PairStatistics, AreMeansOfTheTokensValues) {
  const auto in = torch::tensor({{1.0F, 0.0F}, {0.0F, 1.0F}}), out = torch::tensor({{1.0F, 1.0F}, {0.0F, 2.0F}});
  const PairStatistics s = statistics({in, out});
  EXPECT_NEAR(cosine(s, 0, 1), 0.853553, 1e-6);
  EXPECT_NEAR(0.5 + 0.5 * cosine(s, 0, 1), 0.926777, 1e-6);
  EXPECT_NEAR(relative_l2(s, 0, 1), 1.0, 1e-6);  // |(0,1)| / 1, twice
}

// Specification check 7.
TEST(PairStatistics, TakeAZeroVectorsCosineAsZero) {
  auto in = torch::ones({2, 4}), out = torch::ones({2, 4});
  in[0].zero_();
  const std::vector<torch::Tensor> states = {in, out};
  for (const PairStatistics& s : {pair_statistics(states), statistics({out, in}), pair_statistics_by_tensors(states)}) {
    EXPECT_DOUBLE_EQ(cosine(s, 0, 1), 0.5);
    for (const double value : s.cosine) EXPECT_TRUE(std::isfinite(value));
    for (const double value : s.relative_l2) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(PairStatistics, DoNotDependOnTheNumberOfThreads) {
  const auto x = random_states(7, 301, 130, torch::kBFloat16);
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const PairStatistics one = pair_statistics(x);
  torch::set_num_threads(3);
  const PairStatistics three = pair_statistics(x);
  torch::set_num_threads(threads);
  EXPECT_EQ(one.cosine, three.cosine);
  EXPECT_EQ(one.relative_l2, three.relative_l2);
  EXPECT_EQ(one.norms, three.norms);
  EXPECT_EQ(one.angular, three.angular);
}

TEST(PairStatistics, ReadStatesThatAreNotContiguous) {
  const auto wide = torch::randn({10, 2, 33});
  const auto a = wide.select(1, 0), b = wide.select(1, 1);
  EXPECT_EQ(statistics({a, b}).cosine, statistics({a.contiguous(), b.contiguous()}).cosine);
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/criterion.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline::sparse {
namespace {

using test::random_tensor;

std::int64_t zeros(const torch::Tensor& matrix) { return matrix.numel() - matrix.count_nonzero().item<std::int64_t>(); }

TEST(Magnitude, TakesOneMoreThanItsShareAsReleased) {
  auto matrix = torch::tensor({{4.F, -1.F, 3.F}, {-2.F, 6.F, -5.F}});
  zero_smallest(matrix, 0.5);  // the threshold is the fourth smallest
  EXPECT_TRUE(torch::equal(matrix, torch::tensor({{0.F, 0.F, 0.F}, {0.F, 6.F, -5.F}})));
  auto whole = random_tensor({5, 7}, 1);
  const auto before = whole.clone();
  zero_smallest(whole, 0);
  EXPECT_TRUE(torch::equal(whole, before));
  zero_smallest(whole, 1);
  EXPECT_EQ(zeros(whole), 35);
}

// Ties at the limit all go, wherever they lie; of several shares of threads, odd sizes, both types.
TEST(Magnitude, TakesWhatSortingWould) {
  const int threads = torch::get_num_threads();
  for (const auto& [rows, columns] : {std::pair{1, 1}, {3, 5}, {129, 67}, {401, 1031}})
    for (const double step : {0.0, 1.0 / 64}) {  // of the grid that makes numbers equal
      const auto plain = random_tensor({rows, columns}, 8);
      const auto matrix = step > 0 ? (plain / step).round() * step : plain;
      for (const auto type : {torch::kFloat, torch::kBFloat16}) {
        const auto weights = matrix.to(type);
        const auto sizes = weights.abs().to(torch::kFloat), sorted = std::get<0>(sizes.flatten().sort());
        for (const double ratio : {0.0004, 0.37, 0.5, 0.9999}) {
          const auto place = static_cast<std::int64_t>(static_cast<double>(rows * columns) * ratio);
          const auto expected = place == 0 ? weights : weights.masked_fill(sizes.le(sorted[place]), 0);
          for (const int count : {1, 2}) {
            torch::set_num_threads(count);
            auto pruned = weights.clone();
            zero_smallest(pruned, ratio);
            EXPECT_TRUE(torch::equal(pruned, expected)) << rows << " " << step << " " << type << " " << ratio;
          }
        }
      }
    }
  torch::set_num_threads(threads);
  auto none = torch::empty({0, 4});
  zero_smallest(none, 0.5);
  EXPECT_EQ(none.numel(), 0);
}

TEST(Magnitude, WhatIsNoNumberStays) {
  for (const double ratio : {0.5, 0.9}) {  // places of a number and of what is none
    auto matrix = torch::tensor({{NAN, 3.F, -INFINITY, 2.F, -NAN, -0.F}});
    zero_smallest(matrix, ratio);
    EXPECT_EQ(matrix.isnan().sum().item<std::int64_t>(), 2);
    EXPECT_EQ(count_zeros(matrix), 4);
  }
}

// C12: floor(4096 * 0.5704) = 2336 weights of every row.
TEST(Wanda, C12TakesTheSameShareOfEveryRow) {
  auto matrix = random_tensor({3, 4096}, 2);
  zero_smallest_of_rows(matrix, torch::ones({4096}), 0.5704);
  for (int row = 0; row < 3; ++row) EXPECT_EQ(zeros(matrix[row]), 2336);
}

TEST(Wanda, LooksAtMagnitudeTimesTheSizeOfTheInput) {
  auto matrix = torch::tensor({{1.F, 2.F, 3.F, 4.F}, {-4.F, 3.F, 2.F, 1.F}});
  zero_smallest_of_rows(matrix, torch::tensor({8.F, 1.F, 1.F, 1.F}), 0.5);
  EXPECT_TRUE(torch::equal(matrix, torch::tensor({{1.F, 0.F, 0.F, 4.F}, {-4.F, 3.F, 0.F, 0.F}})));
  auto equal = torch::ones({1, 5});  // of equal ones the first go
  zero_smallest_of_rows(equal, torch::ones({5}), 0.4);
  EXPECT_TRUE(torch::equal(equal, torch::tensor({{0.F, 0.F, 1.F, 1.F, 1.F}})));
}

// Of long rows too, whose scores have five orders of magnitude and are often equal.
TEST(Wanda, TakesTheLowestOfLongRowsAsSortingWould) {
  auto matrix = (random_tensor({6, 3001}, 3) * 8).round() * random_tensor({6, 1}, 4).exp();
  const auto scale = random_tensor({3001}, 5, 3).exp().to(torch::kFloat);
  const auto scores = matrix.abs() * scale;
  for (const double ratio : {0.0004, 0.3, 0.77, 0.9999}) {
    auto pruned = matrix.clone();
    zero_smallest_of_rows(pruned, scale, ratio);
    const auto order = scores.argsort(/*stable=*/true, /*dim=*/1);
    const auto lowest = order.narrow(1, 0, static_cast<std::int64_t>(3001 * ratio));
    EXPECT_TRUE(torch::equal(pruned, matrix.scatter(1, lowest, 0))) << ratio;
  }
}

// bfloat16 is pruned where it lies, and by the same scores as the numbers that it stands for.
TEST(Wanda, TakesTheSameOfNarrowWeights) {
  const auto narrow = random_tensor({5, 1000}, 6).to(torch::kBFloat16);
  const auto scale = random_tensor({1000}, 7).exp();
  for (const std::int64_t group : {0, 2, 4, 8, 40, 1000}) {
    auto pruned = narrow.clone(), expected = narrow.to(torch::kFloat);
    for (torch::Tensor* matrix : {&pruned, &expected}) {
      if (group > 0)
        zero_smallest_of_groups(*matrix, scale, {group / 2, group});
      else
        zero_smallest_of_rows(*matrix, scale, 0.37);
    }
    EXPECT_TRUE(torch::equal(pruned.to(torch::kFloat), expected)) << group;
    EXPECT_EQ(count_zeros(pruned), zeros(expected)) << group;
  }
  EXPECT_FALSE(prunes_in_place(torch::kHalf));
}

TEST(Wanda, WhatIsNoNumberStaysTheLongest) {
  auto matrix = torch::tensor({{NAN, 3.F, -INFINITY, 2.F, -NAN}});
  zero_smallest_of_rows(matrix, torch::ones({5}), 0.6);
  EXPECT_TRUE(matrix.isnan().eq(torch::tensor({{true, false, false, false, true}})).all().item<bool>());
  EXPECT_EQ(count_zeros(matrix), 3);
}

TEST(Zeros, OfEitherSignAreCounted) {
  const auto matrix = torch::tensor({{0.F, -0.F, 1e-30F}, {-2.F, 0.F, 5.F}});
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kDouble}) EXPECT_EQ(count_zeros(matrix.to(type)), 3);
  EXPECT_EQ(count_zeros(matrix.t()), 3);
  EXPECT_EQ(count_zeros(torch::zeros({1100, 1024})), 1100 * 1024);
}

TEST(Patterns, KeepTheLargestOfEveryGroup) {
  auto matrix = torch::tensor({{1.F, -5.F, 2.F, 4.F, 9.F, 8.F, 7.F, 6.F}});
  zero_smallest_of_groups(matrix, torch::ones({8}), parse_pattern("2:4"));
  EXPECT_TRUE(torch::equal(matrix, torch::tensor({{0.F, -5.F, 0.F, 4.F, 9.F, 8.F, 0.F, 0.F}})));
  auto narrow = torch::ones({1, 6});
  EXPECT_ERROR(zero_smallest_of_groups(narrow, torch::ones({6}), {2, 4}), mismatch, "no whole groups of 4");
  EXPECT_EQ(parse_pattern(""), Pattern{});
  for (const char* text : {"2", "4:4", "0:4", "2:x", "2:4:8", "-1:4"})
    EXPECT_ERROR(parse_pattern(text), usage, "of every M weights N stay");
}

}  // namespace
}  // namespace streamline::sparse

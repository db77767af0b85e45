// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/column_sums.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

constexpr double kSameSum = 1e-13;  // relative to the sum of magnitudes: fp64 in another order

struct Sums {
  torch::Tensor sums = {}, squares = {};

  void add(const torch::Tensor& x) { add_column_sums(x, sums, squares); }
};

Sums sums_of(const torch::Tensor& x) {
  Sums result;
  result.add(x);
  return result;
}

// By the expression, of what the elements are as fp32.
void expect_sums(const Sums& found, const torch::Tensor& x) {
  const auto rows = x.to(torch::kFloat).reshape({-1, x.size(-1)}).to(torch::kDouble);
  const auto squares = rows.square().sum(0);
  EXPECT_TRUE((found.sums - rows.sum(0)).abs().le(kSameSum * rows.abs().sum(0)).all().item<bool>()) << x.sizes();
  EXPECT_TRUE((found.squares - squares).abs().le(kSameSum * squares).all().item<bool>()) << x.sizes();
}

// Of components of very different sizes, whose sums cancel.
TEST(ColumnSums, AreThoseOfTheExpressionInFloat64) {
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{1, 1}, {1, 63}, {7, 65}, {67, 601}, {3, 41, 129}}) {
    const auto x = random_tensor(shape, 1) * random_tensor({shape.back()}, 2, 2).exp();
    for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf, torch::kDouble}) {
      SCOPED_TRACE(type);
      const auto read = x.to(type);
      const Sums found = sums_of(read);
      EXPECT_EQ(found.sums.scalar_type(), torch::kDouble);
      expect_sums(found, read);
    }
  }
}

// What is large and varies little, as the channels do that carry most of a stream: float32 would say nothing of it.
TEST(ColumnSums, LeaveTheVarianceOfWhatHardlyVaries) {
  const auto x = random_tensor({501, 70}, 3) + 1e3;
  const Sums found = sums_of(x);
  const auto variance = found.squares / 501 - (found.sums / 501).square();
  EXPECT_TRUE(torch::allclose(variance, x.to(torch::kDouble).var(0, /*unbiased=*/false), 1e-6, 0));
}

TEST(ColumnSums, AddToThoseThatAreThere) {
  const auto x = random_tensor({2, 19, 37}, 4);
  Sums parts;
  parts.add(x.narrow(1, 0, 12));
  parts.add(x.narrow(1, 12, 7).reshape({14, 37}));
  expect_sums(parts, x);
}

TEST(ColumnSums, OfNoRowsAreZeros) {
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    Sums none = sums_of(torch::empty({2, 0, 5}, type));
    none.add(torch::empty({0, 5}, type));
    EXPECT_TRUE(torch::equal(none.sums, torch::zeros({5}, torch::kDouble)));
    EXPECT_TRUE(torch::equal(none.squares, torch::zeros({5}, torch::kDouble)));
  }
}

// Leading positions left out, columns of a wider matrix, a matrix that lies turned: none of them is copied wrongly.
TEST(ColumnSums, OfViewsAreThoseOfCopies) {
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const auto x = random_tensor({3, 11, 200}, 5).to(type);
    for (const auto& view :
         {x.narrow(1, 1, 10), x.narrow(2, 3, 90), x.transpose(1, 2), x.transpose(0, 1), x[1].t(), x.select(1, 4)}) {
      const Sums found = sums_of(view), expected = sums_of(view.clone(at::MemoryFormat::Contiguous));
      EXPECT_TRUE(torch::equal(found.sums, expected.sums)) << view.sizes();
      EXPECT_TRUE(torch::equal(found.squares, expected.squares)) << view.sizes();
    }
  }
}

TEST(ColumnSums, DoNotDependOnTheNumberOfThreads) {
  const int threads = torch::get_num_threads();
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const auto x = random_tensor({3, 700, 333}, 6).to(type);
    torch::set_num_threads(1);
    const Sums one = sums_of(x);
    for (const int more : {2, 3}) {
      torch::set_num_threads(more);
      const Sums found = sums_of(x);
      EXPECT_TRUE(torch::equal(found.sums, one.sums)) << more;
      EXPECT_TRUE(torch::equal(found.squares, one.squares)) << more;
    }
  }
  torch::set_num_threads(threads);
}

}  // namespace
}  // namespace streamline

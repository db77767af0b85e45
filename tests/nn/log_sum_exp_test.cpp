// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/log_sum_exp.h"

#include <algorithm>
#include <vector>

#include "streamline/base/random.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

std::vector<float> random_logits(std::size_t count, double spread, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(spread * rng.normal());
  return values;
}

// The definition, in long double.
double reference(const std::vector<float>& values) {
  long double largest = *std::max_element(values.begin(), values.end()), sum = 0;
  for (const float value : values) sum += std::exp(static_cast<long double>(value) - largest);
  return static_cast<double>(largest + std::log(sum));
}

TEST(LogSumExp, AgreesWithTheDefinition) {
  for (const std::size_t count : {1U, 2U, 15U, 16U, 17U, 1000U, 262144U}) {
    for (const double spread : {0.1, 3.0, 40.0}) {
      const auto values = random_logits(count, spread, count);
      LogSumExp total;
      add(total, values);
      EXPECT_NEAR(total.value(), reference(values), 2e-7) << count << " values of spread " << spread;
    }
  }
}

TEST(LogSumExp, IsTheSameInPieces) {
  const auto values = random_logits(5000, 8, 1);
  LogSumExp whole, pieces;
  add(whole, values);
  for (std::size_t first = 0; first < values.size(); first += 777) {
    add(pieces, std::span(values).subspan(first, std::min<std::size_t>(777, values.size() - first)));
  }
  EXPECT_NEAR(whole.value(), pieces.value(), 1e-7);
}

TEST(LogSumExp, OfEqualValuesIsTheLogOfTheirNumber) {
  LogSumExp total;
  add(total, std::vector<float>(49152, -3.25F));
  EXPECT_NEAR(total.value(), std::log(49152.0) - 3.25, 1e-12);
}

TEST(LogSumExp, StaysFiniteFarFromZero) {
  LogSumExp total;
  add(total, std::vector<float>{-30000.0F, -30001.0F});
  add(total, std::vector<float>{30000.0F, -30000.0F});
  EXPECT_DOUBLE_EQ(total.value(), 30000.0);
}

TEST(LogSumExp, ShowsNaNAndInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity}) {
    for (const std::size_t at : {0U, 5U, 33U}) {
      std::vector<float> values(34, 1.0F);
      values[at] = bad;
      LogSumExp total;
      add(total, values);
      add(total, std::vector<float>{1.0F});
      EXPECT_TRUE(std::isnan(total.value())) << bad << " at " << at;
    }
  }
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/kept_bits.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

TEST(KeptBits, GiveBackWhatWasKept) {
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf, torch::kDouble})
    for (const std::int64_t width : {1, 3, 8, 17, 700}) {
      const auto stored = random_tensor({width, 5}, 1).to(type).t();  // in no order of its own
      const auto pruned = stored.contiguous().masked_fill(random_tensor({5, width}, 2).lt(0.3), 0);
      const auto bits = kept_bits(pruned);
      EXPECT_EQ(bits.numel(), (5 * width + 7) / 8);
      EXPECT_TRUE(torch::equal(with_kept(stored, bits), pruned)) << type << width;
    }
}

TEST(KeptBits, AreOrderedFromTheLowest) {
  const auto bits = kept_bits(torch::tensor({{1.F, 0.F, 2.F, 0.F, 0.F}, {0.F, 0.F, 3.F, 4.F, 0.F}}));
  EXPECT_TRUE(torch::equal(bits, torch::tensor({0b10000101, 0b1}, torch::kByte)));
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The counts that the paper's "about 25 %" leads to, from the parameter table of LLM-Streamline's models.
#include "streamline/prune/cut_size.h"

#include <limits>

#include "support/core/expect.h"

namespace streamline {
namespace {

struct Parameters {
  std::int64_t layers;
  double layer, total, hidden, intermediate;

  double ffn() const { return 8 * hidden * hidden + 5 * hidden; }
  double swiglu() const { return 3 * hidden * intermediate; }
};

constexpr Parameters kLlama2_7b = {32, 202383360, 6738415616, 4096, 11008};
constexpr Parameters kLlama2_13b = {40, 317204480, 13015864320, 5120, 13824};
constexpr Parameters kLlama31_8b = {32, 218112000, 8030261248, 4096, 14336};

CutSize closest(const Parameters& model, double wanted, double added) {
  return closest_cut(wanted, model.layers - 1, [&](std::int64_t count) -> std::optional<double> {
    return (static_cast<double>(count) * model.layer - added) / model.total;
  });
}

TEST(ClosestCut, TakesTheCountWhoseShareIsNearest) {
  EXPECT_EQ(closest(kLlama2_7b, 0.25, 0).count, 8);
  EXPECT_NEAR(closest(kLlama2_7b, 0.25, 0).sparsity, 0.2403, 5e-5);
  EXPECT_EQ(closest(kLlama2_7b, 0.25, kLlama2_7b.ffn()).count, 9);
  EXPECT_NEAR(closest(kLlama2_7b, 0.25, kLlama2_7b.ffn()).sparsity, 0.2504, 5e-5);
  EXPECT_EQ(closest(kLlama2_7b, 0.25, kLlama2_7b.swiglu()).count, 9);
  EXPECT_EQ(closest(kLlama2_7b, 0.25, kLlama2_7b.layer).count, 9);
  EXPECT_NEAR(closest(kLlama2_7b, 0.25, kLlama2_7b.layer).sparsity, 0.2403, 5e-5);

  EXPECT_EQ(closest(kLlama2_13b, 0.25, 0).count, 10);
  EXPECT_EQ(closest(kLlama2_13b, 0.25, kLlama2_13b.ffn()).count, 11);
  EXPECT_EQ(closest(kLlama2_13b, 0.25, kLlama2_13b.layer).count, 11);

  EXPECT_EQ(closest(kLlama31_8b, 0.25, 0).count, 9);
  EXPECT_EQ(closest(kLlama31_8b, 0.25, kLlama31_8b.ffn()).count, 10);
  EXPECT_EQ(closest(kLlama31_8b, 0.25, kLlama31_8b.swiglu()).count, 10);
}

TEST(ClosestCut, TakesTheSmallerOfTwoThatAreAsClose) {
  const auto tenths = [](std::int64_t count) -> std::optional<double> { return static_cast<double>(count) / 8; };
  EXPECT_EQ(closest_cut(0.1875, 7, tenths).count, 1);
  EXPECT_EQ(closest_cut(0.19, 7, tenths).count, 2);
}

TEST(ClosestCut, PassesOverCountsThatCannotBeCut) {
  const auto even_only = [](std::int64_t count) {
    return count % 2 == 0 ? std::optional(static_cast<double>(count) / 10) : std::nullopt;
  };
  EXPECT_EQ(closest_cut(0.31, 9, even_only).count, 4);
  EXPECT_ERROR(closest_cut(0.3, 9, [](std::int64_t) -> std::optional<double> { return std::nullopt; }), usage,
               "protect fewer layers");
}

}  // namespace
}  // namespace streamline

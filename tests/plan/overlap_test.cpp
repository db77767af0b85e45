// SPDX-License-Identifier: Apache-2.0
// The overlap of two cuts, by hand.
#include "streamline/plan/overlap.h"

#include "streamline/plan/drop_halves.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(CutOverlap, CountsHalves) {
  EXPECT_EQ(cut_overlap(drop_layers(6, {1, 2}), drop_layers(6, {1, 2})), 1);
  EXPECT_EQ(cut_overlap(drop_layers(6, {1, 2}), drop_layers(6, {2, 3})), 1.0 / 3);
  EXPECT_EQ(cut_overlap(drop_layers(6, {1}), drop_layers(6, {2})), 0);
  // A1 and M1 against A1 and A2: one of three.
  EXPECT_EQ(cut_overlap(drop_layers(6, {1}), drop_halves(6, {1, 2}, {})), 1.0 / 3);
  EXPECT_EQ(cut_overlap(cut_window(6, 1, 2, "layer"), drop_layers(6, {1, 2})), 1);
  EXPECT_EQ(cut_overlap(keep_all(6), keep_all(6)), 1);
  EXPECT_ERROR(cut_overlap(keep_all(6), keep_all(5)), mismatch, "6 and 5 layers");
}

}  // namespace
}  // namespace streamline

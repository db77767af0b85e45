// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/nearest.h"

#include <gtest/gtest.h>

namespace streamline {
namespace {

TEST(Nearest, NamesWhatWasMeant) {
  const std::vector<std::string> known = {"layers", "cut", "train"};
  EXPECT_EQ(nearest_text("cutt", known, "--"), "; the nearest is '--cut'");
  EXPECT_EQ(nearest_text("trian", known), "; the nearest is 'train'");
  EXPECT_EQ(nearest_text("layer", known), "; the nearest is 'layers'");
}

TEST(Nearest, IsSilentWhereNothingIsLikeIt) {
  EXPECT_EQ(nearest_text("cut", {"layers", "sparsity"}), "");
  EXPECT_EQ(nearest_text("cut", {}), "");
}

}  // namespace
}  // namespace streamline

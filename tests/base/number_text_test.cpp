// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them: digits behind the point, digits that count, and exponents where they help.
#include "streamline/base/number_text.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(NumberText, FixedHasAsManyDigitsBehindThePoint) {
  EXPECT_EQ(fixed(0.25, 3), "0.250");
  EXPECT_EQ(fixed(-12.345, 1), "-12.3");
  EXPECT_EQ(fixed(1e300, 0).size(), 301u);
  EXPECT_EQ(fixed(INFINITY, 2), "inf");
}

TEST(NumberText, SignificantHasNoExponent) {
  EXPECT_EQ(significant(0.0012345, 3), "0.00123");
  EXPECT_EQ(significant(12.345, 3), "12.3");
  EXPECT_EQ(significant(1234.5, 2), "1234");
  EXPECT_EQ(significant(0, 3), "0");
}

TEST(NumberText, GeneralHasAnExponentForWhatIsLarge) {
  EXPECT_EQ(general(12.345, 3), "12.3");
  EXPECT_EQ(general(2, 3), "2");
  EXPECT_EQ(general(1234, 3), "1.23e+03");
}

TEST(NumberText, OneIsSingular) {
  EXPECT_EQ(counted(1, "thread"), "1 thread");
  EXPECT_EQ(counted(0, "thread"), "0 threads");
  EXPECT_EQ(counted(12, "thread"), "12 threads");
}

}  // namespace
}  // namespace streamline

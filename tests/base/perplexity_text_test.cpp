// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/perplexity_text.h"

#include "tests/support/core/expect.h"

namespace streamline {
namespace {

TEST(PerplexityText, HasTwoDecimalsOrThreeDigits) {
  EXPECT_EQ(perplexity_text(66.966), "66.97");
  EXPECT_EQ(perplexity_text(9999.9), "9999.90");
  EXPECT_EQ(perplexity_text(251408676.114), "2.51e+08");
  EXPECT_EQ(perplexity_text(20.5, 0.25), "20.50 ± 0.25");
}

TEST(PerplexityText, ReadsWhatIsThere) {
  EXPECT_EQ(perplexity_text(Json{{"value", 20.5}, {"standard_error", 0.25}}), "20.50 ± 0.25");
  EXPECT_EQ(perplexity_text(Json{{"value", 20.5}, {"standard_error", nullptr}}), "20.50");
  EXPECT_EQ(perplexity_text(Json{{"value", nullptr}}), std::nullopt);
  EXPECT_EQ(perplexity_text(Json()), std::nullopt);
  EXPECT_EQ(windows_text({{"tokens", 93}, {"window", 32}, {"stride", 16}, {"bos", true}}),
            "93 tokens scored in windows of 32, stride 16, with BOS");
  EXPECT_EQ(windows_text(Json()), "");
}

}  // namespace
}  // namespace streamline

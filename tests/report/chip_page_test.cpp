// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/chip_page.h"

#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using testing::HasSubstr;

TEST(ChipPage, HasTheColumnsOfTheTerminal) {
  const Json score = {{"accuracy", 0.75}, {"low", 0.5}, {"high", 0.9}, {"loss", 0.25}, {"margin", 0.375}};
  const Json chip = {{"layer", 3}, {"kind", "linear"}, {"train", score}, {"validation", score}};
  const Json task = {{"task", "sst2"}, {"classes", {"no", "yes"}}, {"chips", {chip}}};
  const std::string page = chips_html({{"trunk", {{"layers", 6}}}, {"tasks", {task}}});
  EXPECT_THAT(page, HasSubstr("<th scope=\"col\">Margin</th>"));
  EXPECT_THAT(page, HasSubstr("<td>0.250</td><td>0.375</td></tr>"));
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Keys that must be there are read, or the message says which is missing and where.
#include "streamline/base/json_fields.h"

#include "support/core/expect.h"

namespace streamline {
namespace {

const Json kObject = {{"n", 3}, {"texts", {"a", "b"}}, {"mixed", {"a", 1}}, {"none", Json::array()}};

TEST(JsonFields, ReadsWhatIsThere) {
  EXPECT_EQ(required(json_integer(kObject, "n", "f"), "n", "f"), 3);
  EXPECT_EQ(json_member(kObject, "n", "f"), 3);
  EXPECT_EQ(json_array(kObject, "mixed", "f").size(), 2u);
  EXPECT_EQ(json_list<std::string>(kObject, "texts", &Json::is_string, "f"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(json_list<double>(kObject, "none", &Json::is_number, "f").empty());
}

TEST(JsonFields, NamesWhatIsMissingOrOfAnotherKind) {
  EXPECT_ERROR(required(json_integer(kObject, "m", "f"), "m", "f"), format, "f: 'm' is missing");
  EXPECT_ERROR(json_member(kObject, "m", "f"), format, "f: 'm' is missing");
  EXPECT_ERROR(json_member(Json(3), "m", "f"), format, "f: 'm' is missing");
  EXPECT_ERROR(json_array(kObject, "n", "f"), format, "f: 'n' is not a list");
  EXPECT_ERROR(json_list<std::string>(kObject, "mixed", &Json::is_string, "f"), format, "f: 'mixed' is not a list of");
}

}  // namespace
}  // namespace streamline

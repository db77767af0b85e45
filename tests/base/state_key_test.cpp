// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/state_key.h"

#include <gtest/gtest.h>

namespace streamline {
namespace {

TEST(StateKey, SaysWhatDiffers) {
  const Json mine = {
      {"form", "search 2"}, {"model", "a"}, {"parameters", {{"width", 2}, {"protect", {1}}}}, {"seed", 0}};
  EXPECT_EQ(difference(mine, mine, "run"), "");
  Json other = {{"seed", 0}, {"parameters", {{"protect", {1}}, {"width", 2}}}, {"model", "a"}, {"form", "search 2"}};
  EXPECT_EQ(difference(other, mine, "run"), "") << "the order says nothing";
  other["parameters"]["width"] = 3;
  other["model"] = "b";
  other["text"] = "c";
  EXPECT_EQ(difference(other, mine, "search"),
            "is the state of another search (what differs: model, parameters.width, text)");
}

TEST(StateKey, TellsAnotherFormBeforeAllElse) {
  const Json mine = {{"form", "healing 2"}, {"model", "a"}};
  const std::string old = "was saved by other work than this, or by another version of this program";
  EXPECT_EQ(difference({{"form", "healing 1"}, {"model", "b"}}, mine, "run"), old);
  EXPECT_EQ(difference({{"model", "a"}}, mine, "run"), old) << "a form without a version";
  EXPECT_EQ(difference("3f78", mine, "run"), old) << "a digest, as keys were once";
  EXPECT_EQ(difference("one", "other", "run"), "is the state of another run");
}

TEST(StateKey, IsComparedAsFarAsItIsKnown) {
  const Json kept = {{"form", "healing 1"}, {"model", "a"}, {"text", "b"}};
  const Json known = {{"form", "healing 1"}, {"model", "a"}};
  EXPECT_EQ(difference(parts_named_in(known, kept), known, "run"), "");
  const Json another = {{"form", "healing 1"}, {"model", "c"}};
  EXPECT_EQ(difference(parts_named_in(another, kept), another, "run"),
            "is the state of another run (what differs: model)");
}

}  // namespace
}  // namespace streamline

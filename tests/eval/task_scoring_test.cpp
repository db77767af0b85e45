// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/task_scoring.h"

#include <gmock/gmock.h>

#include "streamline/base/error.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

// A token a byte; " x" is one token of its own where a space comes before a letter, as with byte-level BPE. BOS is 1.
class Letters : public Tokenizer {
 public:
  explicit Letters(bool has_bos = true) : has_bos_(has_bos) {}
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == ' ' && i + 1 < text.size() && text[i + 1] != ' ')
        ids.push_back(30 + (text[++i] - 'a'));
      else
        ids.push_back(text[i] == ' ' ? 2 : 4 + (text[i] - 'a'));
    }
    return ids;
  }
  std::string decode(std::span<const TokenId>, bool) const override { return ""; }
  std::int64_t vocab_size() const override { return 64; }
  std::optional<TokenId> bos() const override { return has_bos_ ? std::optional<TokenId>(1) : std::nullopt; }
  std::optional<TokenId> eos() const override { return 3; }
  bool adds_bos() const override { return false; }

 private:
  bool has_bos_;
};

TaskSet one_item(const std::string& context, std::vector<std::string> continuations, Style style = Style::lm_eval) {
  TaskSet set;
  set.name = set.group = "test";
  set.style = style;
  set.metrics = {"acc"};
  TaskItem item{.id = "q1",
                .contexts = std::vector<std::string>(continuations.size(), context),
                .continuations = continuations,
                .characters = {},
                .gold = 0};
  for (const std::string& text : continuations) item.characters.push_back(std::ssize(text) - 1);
  set.items = {std::move(item)};
  return set;
}

const LikelihoodRequest::Sequence& only(const TokenizedSet& set) { return set.requests.at(0).sequences.at(0); }

TEST(TaskTokens, OfAnAnswerAreThoseBeyondTheContexts) {
  const TokenizedSet set = tokenize(one_item("ab", {" cd"}), Letters(), 64, false);
  EXPECT_THAT(only(set).tokens, ElementsAre(4, 5, 32, 7));
  EXPECT_EQ(only(set).scored_from, 2U);
}

TEST(TaskTokens, SpacesAtTheContextsEndGoWithTheAnswer) {
  const TokenizedSet set = tokenize(one_item("ab ", {"cd"}), Letters(), 64, false);
  EXPECT_THAT(only(set).tokens, ElementsAre(4, 5, 32, 7));
  EXPECT_EQ(only(set).scored_from, 2U);
}

TEST(TaskTokens, AnEmptyContextIsBosOrEos) {
  EXPECT_THAT(only(tokenize(one_item("", {"ab"}), Letters(), 64, false)).tokens, ElementsAre(1, 4, 5));
  EXPECT_THAT(only(tokenize(one_item("", {"ab"}), Letters(false), 64, false)).tokens, ElementsAre(3, 4, 5));
}

TEST(TaskTokens, BosStandsInFrontOnce) {
  const TokenizedSet set = tokenize(one_item("ab", {" c"}), Letters(), 64, true);
  EXPECT_THAT(only(set).tokens, ElementsAre(1, 4, 5, 32));
  EXPECT_EQ(only(set).scored_from, 3U);
}

TEST(TaskTokens, WhatIsTooLongLosesItsBeginning) {
  const TokenizedSet set = tokenize(one_item("abcdef", {" gh"}), Letters(), 4, false);
  EXPECT_EQ(set.truncated, 1);
  EXPECT_THAT(only(set).tokens, ElementsAre(7, 8, 9, 36, 11));  // four are read, the fifth is predicted
  EXPECT_EQ(only(set).scored_from, 3U);
}

TEST(TaskTokens, AnAnswerThatDoesNotFitIsAnError) {
  EXPECT_ERROR(tokenize(one_item("ab", {" cdefgh"}), Letters(), 3, false), mismatch, "question q1");
}

TEST(TaskTokens, WholeTextsAreScoredFromTheSecondToken) {
  const TaskSet texts = one_item("", {"abcdef"}, Style::opencompass);
  EXPECT_THAT(only(tokenize(texts, Letters(), 64, false)).tokens, SizeIs(6));
  const TokenizedSet cut = tokenize(texts, Letters(), 4, false);
  EXPECT_THAT(only(cut).tokens, ElementsAre(6, 7, 8, 9));
  EXPECT_EQ(only(cut).scored_from, 1U);
  EXPECT_EQ(cut.truncated, 1);
}

TEST(TaskScoring, CountsTheTokensThatItsStyleDividesBy) {
  const Model model = test::pico_model(test::family_named("llama"), {});
  const auto behind = answer(model, Letters(), one_item("ab", {" cd", " e"}), {}).answers.at(0);
  EXPECT_THAT(behind.tokens, ElementsAre(2, 1));
  EXPECT_THAT(behind.characters, ElementsAre(2, 1));
  const auto whole = answer(model, Letters(), one_item("", {"ab cd", "ab e"}, Style::opencompass), {}).answers.at(0);
  EXPECT_THAT(whole.tokens, ElementsAre(4, 3));
}

TEST(TaskScoring, AnswersBearTheirSetsNames) {
  const Model model = test::pico_model(test::family_named("llama"), {});
  TaskSet set = one_item("ab", {" c", " d"});
  set.shots = 2;
  set.digest = "abc";
  const TaskAnswers found = answer(model, Letters(), set, {});
  EXPECT_EQ(found.name, "test");
  EXPECT_EQ(found.shots, 2);
  EXPECT_EQ(found.digest, "abc");
  EXPECT_EQ(found.answers.at(0).id, "q1");
}

}  // namespace
}  // namespace streamline

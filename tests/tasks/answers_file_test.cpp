// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/answers_file.h"

#include <cmath>
#include <limits>

#include "streamline/base/file.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

TaskAnswers pico_set() {
  TaskAnswers set{.name = "mmlu_anatomy",
                  .group = "mmlu",
                  .style = Style::opencompass,
                  .metrics = {"acc", "acc_norm"},
                  .labels = {"A", "B"},
                  .shots = 5,
                  .items_in_data = 135,
                  .source = "mmlu_test.jsonl",
                  .digest = "00ff"};
  set.answers = {{"anatomy/0", 1, {-1.0 / 3, -1e-17}, {7, 9}, {1, 2}, {false, true}},
                 {"\xE8\x82\x89 \"q\"\n", 0, {-1234.5678901234567, 0}, {3, 4}, {1, 1}, {true, false}}};
  return set;
}

const Json kKey = {{"model", "abc"}, {"limit", 200}, {"dtype", "float32"}};

void expect_equal(const TaskAnswers& a, const TaskAnswers& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.group, b.group);
  EXPECT_EQ(a.style, b.style);
  EXPECT_EQ(a.rule, b.rule);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.shots, b.shots);
  EXPECT_EQ(a.items_in_data, b.items_in_data);
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.digest, b.digest);
  ASSERT_EQ(a.answers.size(), b.answers.size());
  for (std::size_t i = 0; i < a.answers.size(); ++i) {
    EXPECT_EQ(a.answers[i].id, b.answers[i].id);
    EXPECT_EQ(a.answers[i].gold, b.answers[i].gold);
    EXPECT_EQ(a.answers[i].log_likelihoods, b.answers[i].log_likelihoods);
    EXPECT_EQ(a.answers[i].tokens, b.answers[i].tokens);
    EXPECT_EQ(a.answers[i].characters, b.answers[i].characters);
    EXPECT_EQ(a.answers[i].greedy, b.answers[i].greedy);
  }
}

TEST(AnswersFile, ComesBackAsItWasToTheLastBit) {
  const test::TemporaryDirectory folder;
  write_answers(folder.path(), pico_set(), kKey);
  const auto path = answers_path(folder.path(), Style::opencompass, "mmlu_anatomy");
  EXPECT_EQ(path, folder.path() / "answers" / "opencompass" / "mmlu_anatomy.jsonl");
  const AnswersFile read = read_answers(path);
  expect_equal(read.set, pico_set());
  EXPECT_EQ(read.key, kKey);
}

TEST(AnswersFile, AllSetsOfAStyleAreReadInTheOrderOfTheirNames) {
  const test::TemporaryDirectory folder;
  EXPECT_TRUE(read_all_answers(folder.path(), Style::lm_eval).empty());
  TaskAnswers set = pico_set();
  for (const char* name : {"piqa", "arc_easy"}) {
    set.name = name;
    write_answers(folder.path(), set, kKey);
  }
  const auto files = read_all_answers(folder.path(), Style::opencompass);
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].set.name, "arc_easy");
  EXPECT_EQ(files[1].set.name, "piqa");
}

TEST(AnswersFile, WhatCannotBeReadBackIsNotWritten) {
  const test::TemporaryDirectory folder;
  TaskAnswers set = pico_set();
  set.answers[1].log_likelihoods[0] = -std::numeric_limits<double>::infinity();
  EXPECT_ERROR(write_answers(folder.path(), set, kKey), numeric, "mmlu_anatomy");
  set.answers[1].log_likelihoods = {-1};
  EXPECT_ERROR(write_answers(folder.path(), set, kKey), format, "expected one of each a choice");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "answers"));
  for (const char* name : {"", "../x", ".hidden", "a/b"})
    EXPECT_ERROR(answers_path(folder.path(), Style::lm_eval, name), format, "cannot be the name of a file");
}

// A whole file with one text in place of another.
void expect_refused(std::string_view from, std::string_view to, std::string_view message) {
  const test::TemporaryDirectory folder;
  write_answers(folder.path(), pico_set(), kKey);
  const auto path = answers_path(folder.path(), Style::opencompass, "mmlu_anatomy");
  std::string contents = read_text(path);
  const std::size_t at = contents.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_text(path, contents.replace(at, from.size(), to));
  EXPECT_ERROR(read_answers(path), format, std::string(message));
}

TEST(AnswersFile, BrokenFilesAreRefusedWithFileAndLine) {
  expect_refused("streamline-answers", "something-else", ".jsonl:1: not a file of answers");
  expect_refused("\"opencompass\"", "\"other\"", ".jsonl:1: unknown style 'other'");
  expect_refused("\"choices\"", "\"other\"", ".jsonl:1: unknown rule 'other'");
  expect_refused("\"acc_norm\"", "\"f1\"", ".jsonl:1: unknown metric 'f1'");
  expect_refused("\"shots\":5", "\"shots\":-5", ".jsonl:1: 'shots' is -5");
  expect_refused("\"labels\":[\"A\",", "\"labels\":[1,", ".jsonl:1: 'labels' is not a list");
  expect_refused("\"items\":2", "\"items\":3", "2 answers; its first line says 3");
  expect_refused("\"gold\":1", "\"gold\":2", ".jsonl:2: 'gold' is 2, and there are 2 choices");
  expect_refused("\"gold\":1", "\"gold\":\"1\"", ".jsonl:2: 'gold'");
  expect_refused("[7,9]", "[7]", ".jsonl:2: 2 log_likelihoods, 1 tokens");
  expect_refused("[7,9]", "[7,-9]", ".jsonl:2: 'tokens' holds -9");
  expect_refused("[7,9]", "[7,1.5]", ".jsonl:2: 'tokens'");
  expect_refused("[1,2]", "[]", ".jsonl:2: 'characters' is empty");
  expect_refused("[true,false]", "[true,0]", ".jsonl:3: 'greedy'");
  expect_refused("-1234.5678901234567", "\"-1234\"", ".jsonl:3: 'log_likelihoods'");
  expect_refused("{\"id\":\"anatomy", "{\"id:\"anatomy", ".jsonl:2: not valid JSON");
  expect_refused("\"id\":\"anatomy/0\",", "", ".jsonl:2: 'id' is missing");
}

TEST(AnswersFile, ANewerVersionAndAnEmptyFileAreNamed) {
  const test::TemporaryDirectory folder;
  write_text(folder.path() / "x.jsonl", R"({"format": "streamline-answers", "version": 2})");
  EXPECT_ERROR(read_answers(folder.path() / "x.jsonl"), unsupported, "x.jsonl:1: version 2");
  write_text(folder.path() / "x.jsonl", "");
  EXPECT_ERROR(read_answers(folder.path() / "x.jsonl"), format, "x.jsonl: empty");
}

}  // namespace
}  // namespace streamline

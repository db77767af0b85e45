// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/results_files.h"

#include "streamline/base/file.h"
#include "streamline/tasks/answers_file.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {
namespace fs = std::filesystem;

fs::path data() { return test::source_folder() / "tests" / "tasks" / "data"; }

TEST(ResultsFiles, EachFormatIsKnownByItsContents) {
  EXPECT_EQ(read_results(data() / "lm_eval").format, ResultsFormat::lm_eval);
  EXPECT_EQ(read_results(data() / "lm_eval" / "books-5m").sets.size(), 4U);
  EXPECT_EQ(read_results(data() / "opencompass").format, ResultsFormat::opencompass);
  EXPECT_EQ(read_results(data() / "opencompass" / "some-model").sets.size(), 3U);

  const Results predictions = read_results(data() / "opencompass" / "some-model" / "C3.json");
  EXPECT_EQ(predictions.format, ResultsFormat::opencompass);
  EXPECT_EQ(predictions.sets[0].name, "C3");
  const Results samples =
      read_results(data() / "lm_eval" / "books-5m" / "samples_pronouns_2026-11-29T10-11-02.697098.jsonl");
  EXPECT_EQ(samples.format, ResultsFormat::lm_eval);
  EXPECT_EQ(samples.sets[0].name, "pronouns");
}

TEST(ResultsFiles, OurOwnResultsMayHoldBothStyles) {
  const test::TemporaryDirectory folder;
  TaskAnswers set{.name = "copa"};
  set.answers = {{"0", 0, {-1, -2}, {1, 1}, {1, 1}, {true, false}}};
  write_answers(folder.path(), set, "key");
  set.style = Style::opencompass;
  write_answers(folder.path(), set, "key");
  // What other programs read lies beside it, and is not asked.
  write_text(folder.path() / "lm-eval" / "m" / "samples_copa_t.jsonl", "broken");
  const Results results = read_results(folder.path());
  EXPECT_EQ(results.format, ResultsFormat::streamline);
  ASSERT_EQ(results.sets.size(), 2U);
  EXPECT_EQ(results.sets[1].style, Style::opencompass);
  EXPECT_EQ(read_results(answers_path(folder.path(), Style::lm_eval, "copa")).sets.size(), 1U);
}

TEST(ResultsFiles, WhatIsNoneOfThemIsRefused) {
  const test::TemporaryDirectory folder;
  EXPECT_ERROR(read_results(folder.path() / "missing"), io, "missing: no such file or folder");
  EXPECT_ERROR(read_results(folder.path()), io, "no results there; expected answers/");
  for (const char* contents : {"", "text", "{}", "[1, 2]", "{\"results\": {}}"}) {
    write_text(folder.path() / "x.json", contents);
    EXPECT_ERROR(read_results(folder.path() / "x.json"), format, "x.json: neither answers");
    EXPECT_ERROR(read_results(folder.path()), io, "no results there");
  }
}

}  // namespace
}  // namespace streamline

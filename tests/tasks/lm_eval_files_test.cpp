// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/lm_eval_files.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "streamline/base/digest.h"
#include "streamline/base/file.h"
#include "streamline/text/text_lines.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {
namespace fs = std::filesystem;

fs::path harness_folder() { return test::source_folder() / "tests" / "tasks" / "data" / "lm_eval" / "books-5m"; }
const std::string kTime = "2026-11-29T10-11-02.697098";

std::map<std::string, TaskAnswers> harness_sets() {
  std::map<std::string, TaskAnswers> sets;
  for (TaskAnswers& set : read_lm_eval_folder(harness_folder())) sets.emplace(set.name, std::move(set));
  return sets;
}

std::vector<Json> lines_of(const fs::path& file) {
  std::vector<Json> lines;
  read_lines(file, [&](std::string_view line, std::int64_t, std::int64_t) {
    lines.push_back(parse_json(line, file.string()));
    return true;
  });
  return lines;
}

Json harness_results() { return parse_json(read_text(harness_folder() / ("results_" + kTime + ".json")), "results"); }

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [key, value] : object.items()) names.push_back(key);
  return names;
}

TEST(LmEvalFiles, SamplesOfTheHarnessAreRead) {
  const auto sets = harness_sets();
  ASSERT_EQ(sets.size(), 4U);
  const TaskAnswers& school = sets.at("school");
  ASSERT_EQ(school.answers.size(), 3U);
  EXPECT_EQ(school.style, Style::lm_eval);
  EXPECT_EQ(school.rule, Rule::choices);
  EXPECT_EQ(school.answers[0].log_likelihoods.size(), 3U);
  EXPECT_EQ(school.answers[1].log_likelihoods.size(), 2U);
  EXPECT_EQ(school.answers[2].gold, 1U);
  EXPECT_EQ(sets.at("last_word").rule, Rule::greedy);
  EXPECT_EQ(sets.at("last_word").answers[0].log_likelihoods[0], -5.795554161071777);
  EXPECT_TRUE(sets.at("last_word").answers[1].greedy[0]);
  // The harness does not say which choice is right there, only whether the most likely one is.
  const TaskAnswers& pronouns = sets.at("pronouns");
  EXPECT_EQ(pronouns.answers[0].gold, 0U);
  EXPECT_EQ(pronouns.answers[1].gold, 1U);
  EXPECT_EQ(pronouns.answers[2].gold, 0U);
}

TEST(LmEvalFiles, FiguresAreThoseOfTheHarness) {
  const Json results = harness_results()["results"];
  auto sets = harness_sets();
  for (const auto& [name, set] : sets) {
    const Estimate acc = metric(set, "acc");
    EXPECT_NEAR(acc.value, results[name]["acc,none"].get<double>(), 1e-12) << name;
    EXPECT_NEAR(acc.standard_error.value(), results[name]["acc_stderr,none"].get<double>(), 1e-12) << name;
  }
  EXPECT_NEAR(metric(sets.at("last_word"), "perplexity").value, results["last_word"]["perplexity,none"].get<double>(),
              1e-9);
  const std::vector<TaskAnswers> both = {sets.at("school"), sets.at("letters")};
  const Estimate group = group_metric(both, "acc", true);
  EXPECT_NEAR(group.value, results["both"]["acc,none"].get<double>(), 1e-12);
  EXPECT_NEAR(group.standard_error.value(), results["both"]["acc_stderr,none"].get<double>(), 1e-12);
}

struct Evaluation {
  std::vector<TaskAnswers> answers;
  std::vector<TaskSet> questions;
};

// What this program would know if it had put the harness's questions and got the same numbers.
Evaluation evaluation() {
  Evaluation all;
  for (auto& [name, read] : harness_sets()) {
    TaskAnswers set = read;
    TaskSet questions;
    // The harness has another name for one of them.
    questions.name = set.name = name == "letters" ? "abc" : name;
    questions.also = name;
    set.group = name == "school" || name == "letters" ? "both" : name;
    if (name == "school") set.metrics = {"acc", "acc_norm"};
    if (name == "last_word") set.metrics = {"perplexity", "acc"};
    const auto lines = lines_of(read.source);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      TaskItem& item = questions.items.emplace_back();
      item.gold = set.answers[i].gold;
      for (const auto& [call, texts] : lines[i]["arguments"].items()) {
        item.contexts.push_back(texts["arg_0"]);
        item.continuations.push_back(texts["arg_1"]);
      }
      if (name == "school")
        for (const Json& choice : lines[i]["doc"]["choices"]) {
          const auto text = choice.get<std::string>();
          set.answers[i].characters.push_back(
              std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
        }
    }
    all.answers.push_back(std::move(set));
    all.questions.push_back(std::move(questions));
  }
  return all;
}

// Writes it at the harness's time; returns the model's folder.
fs::path write_evaluation(const fs::path& folder) {
  const Evaluation all = evaluation();
  write_lm_eval(folder, all.answers, all.questions,
                {.model = "models/books-5m", .config = {{"limit", 3}}, .started = 1795947062.6970982, .seconds = 2.5});
  return folder / "lm-eval" / "models__books-5m";
}

TEST(LmEvalFiles, SamplesAreWrittenAsTheHarnessWritesThem) {
  const test::TemporaryDirectory folder;
  const fs::path written = write_evaluation(folder.path());
  for (const char* name : {"school", "letters", "last_word", "pronouns"}) {
    const std::string file = std::string("samples_") + name + "_" + kTime + ".jsonl";
    const auto ours = lines_of(written / file), harness = lines_of(harness_folder() / file);
    ASSERT_EQ(ours.size(), harness.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(keys_of(ours[i]), keys_of(harness[i])) << file;
      for (const auto& [key, value] : harness[i].items()) {
        // The row of the data is not ours; nor does our target repeat a text instead of the choice's index.
        if (key == "doc" || key == "doc_hash") continue;
        if (std::string_view(name) == "pronouns" && key.starts_with("target")) continue;
        EXPECT_EQ(ours[i][key], value) << file << ", line " << i + 1 << ", " << key;
      }
    }
  }
}

TEST(LmEvalFiles, ResultsAreWrittenAsTheHarnessWritesThem) {
  const test::TemporaryDirectory folder;
  const fs::path written = write_evaluation(folder.path()) / ("results_" + kTime + ".json");
  const Json ours = parse_json(read_text(written), written.string()), harness = harness_results();
  for (const std::string& key : keys_of(harness)) {
    // What its Python tokenizer says of itself.
    if (key.starts_with("tokenizer_") || key == "eot_token_id" || key == "max_length") continue;
    EXPECT_TRUE(ours.contains(key)) << key;
  }
  for (const auto& [key, value] : harness["config"].items()) EXPECT_TRUE(ours["config"].contains(key)) << key;
  EXPECT_EQ(ours["config"]["limit"], 3);
  EXPECT_EQ(keys_of(ours["results"]).size(), keys_of(harness["results"]).size());
  for (const auto& [task, row] : harness["results"].items())
    for (const auto& [key, value] : row.items()) {
      if (key == "perplexity_stderr,none") continue;  // theirs is a bootstrap of random numbers
      const std::string where = task + ", " + key;
      if (value.is_number_float()) {
        EXPECT_NEAR(ours["results"][task][key].get<double>(), value.get<double>(), 1e-9) << where;
      } else {
        EXPECT_TRUE(key == "sample_count" || ours["results"][task][key] == value) << where;
      }
    }
  EXPECT_EQ(ours["groups"]["both"]["sample_count"]["acc,none"], 5);
  EXPECT_THAT(ours["group_subtasks"]["both"], testing::UnorderedElementsAre("school", "letters"));
  for (const char* table : {"higher_is_better", "n-samples", "n-shot"})
    for (const auto& [task, value] : harness[table].items())
      if (task != "both") {
        EXPECT_EQ(ours[table][task], value) << table << ", " << task;
      }
  EXPECT_EQ(ours["model_name"], "models/books-5m");
  EXPECT_EQ(ours["model_name_sanitized"], "models__books-5m");
  EXPECT_EQ(ours["total_evaluation_time_seconds"], "2.5");
  std::string digests;
  for (const Json& line : lines_of(written.parent_path() / ("samples_school_" + kTime + ".jsonl")))
    for (const char* part : {"doc_hash", "prompt_hash", "target_hash"}) digests += line[part].get<std::string>();
  EXPECT_EQ(ours["task_hashes"]["school"], sha256(digests));
}

TEST(LmEvalFiles, WhatWasWrittenIsReadBack) {
  const test::TemporaryDirectory folder;
  write_evaluation(folder.path());
  const auto harness = harness_sets();
  const auto read = read_lm_eval_folder(folder.path() / "lm-eval");
  ASSERT_EQ(read.size(), harness.size());
  for (const TaskAnswers& set : read) {
    const TaskAnswers& expected = harness.at(set.name);
    ASSERT_EQ(set.answers.size(), expected.answers.size());
    for (std::size_t i = 0; i < set.answers.size(); ++i) {
      EXPECT_EQ(set.answers[i].id, expected.answers[i].id);
      EXPECT_EQ(set.answers[i].gold, expected.answers[i].gold);
      EXPECT_EQ(set.answers[i].log_likelihoods, expected.answers[i].log_likelihoods);
      EXPECT_EQ(set.answers[i].greedy, expected.answers[i].greedy);
    }
  }
}

std::string sample(int id, std::string_view target, std::string_view responses, std::string_view more = {}) {
  return R"({"doc_id": )" + std::to_string(id) + R"(, "target": )" + std::string(target) + R"(, "filtered_resps": )" +
         std::string(responses) + std::string(more) + "}\n";
}
constexpr std::string_view kTwo = R"([["-1.5", "False"], ["-2.5", "True"]])";

TEST(LmEvalFiles, TheNewestSamplesOfATaskCount) {
  const test::TemporaryDirectory folder;
  write_text(folder.path() / "samples_copa_2025-01-01T00-00-00.000001.jsonl", sample(0, "0", kTwo));
  write_text(folder.path() / "samples_copa_2025-01-02T00-00-00.000001.jsonl",
             sample(0, "0", kTwo) + sample(1, "1", kTwo));
  write_text(folder.path() / "samples_mmlu_anatomy_2025-01-01T00-00-00.000001.jsonl", sample(0, "\"1\"", kTwo));
  const auto sets = read_lm_eval_folder(folder.path());
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0].answers.size(), 2U);
  EXPECT_EQ(sets[1].name, "mmlu_anatomy");
  EXPECT_EQ(sets[1].group, "mmlu");
}

TEST(LmEvalFiles, ARightAnswerMayBeATextAndOneFilterIsEnough) {
  const test::TemporaryDirectory folder;
  const fs::path file = folder.path() / "samples_x_t.jsonl";
  const std::string texts = R"(, "arguments": {"gen_args_0": {"arg_0": "c", "arg_1": " 1"},)"
                            R"( "gen_args_1": {"arg_0": "c", "arg_1": " 7"}}, "acc": )";
  // "1" is the index of the second choice and the text of the first: acc decides.
  write_text(file, sample(0, "\"1\"", kTwo, texts + "1") + sample(1, "\"1\"", kTwo, texts + "0") +
                       sample(2, "\"7\"", kTwo, texts + "0, \"filter\": \"none\"") +
                       sample(2, "\"7\"", kTwo, texts + "0, \"filter\": \"other\""));
  const auto answers = read_lm_eval_samples(file).answers;
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_EQ(answers[0].gold, 0U);
  EXPECT_EQ(answers[1].gold, 1U);
  EXPECT_EQ(answers[2].gold, 1U);
}

TEST(LmEvalFiles, BadSamplesAreRefusedWithFileAndLine) {
  const test::TemporaryDirectory folder;
  const fs::path file = folder.path() / "samples_x_t.jsonl";
  const std::string good = sample(0, "0", kTwo);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{}\n", ".jsonl:2: not a sample"},
      {"[1]\n", ".jsonl:2: not a sample"},
      {"{\"doc_id\": 1,\n", ".jsonl:2: not valid JSON"},
      {sample(1, "0", "[]"), ".jsonl:2: 'filtered_resps' is missing or empty"},
      {sample(1, "0", "[\"text\"]"), ".jsonl:2: 'filtered_resps' holds"},
      {sample(1, "0", R"([["-1x", "True"], ["-2", "True"]])"), ".jsonl:2: \"-1x\" is no log likelihood"},
      {sample(1, "0", R"([["-inf", "True"], ["-2", "True"]])"), ".jsonl:2: \"-inf\" is no log likelihood"},
      {sample(1, "0", R"([["-1", "yes"], ["-2", "True"]])"), ".jsonl:2: \"yes\" is neither"},
      {sample(1, "0", R"([["-1", "True"]])"), ".jsonl:2: 1 responses"},
      {sample(1, "2", kTwo), ".jsonl:2: the target '2' is no choice"},
      {sample(1, "0", kTwo, R"(, "acc": 0.0)"), ".jsonl:2: the target '0' is no choice that goes with 'acc' 0"},
      {sample(1, "0", kTwo, R"(, "acc": 0.3)"), ".jsonl:2: 'acc' is 0.3"},
      {R"({"doc_id": 1, "filtered_resps": [["-1", "True"], ["-2", "True"]]})", ".jsonl:2: 'target' is missing"}};
  for (const auto& [line, message] : cases) {
    write_text(file, good + line);
    EXPECT_ERROR(read_lm_eval_samples(file), format, message);
  }
  write_text(file, "");
  EXPECT_ERROR(read_lm_eval_samples(file), format, "no samples");
}

TEST(LmEvalFiles, FoldersOfNoneOrSeveralModelsAreNamed) {
  const test::TemporaryDirectory folder;
  EXPECT_ERROR(read_lm_eval_folder(folder.path()), io, "--log_samples");
  for (const char* model : {"one", "two"})
    write_text(folder.path() / model / "samples_x_t.jsonl", sample(0, "0", kTwo));
  EXPECT_ERROR(read_lm_eval_folder(folder.path()), io, "one, two");
  EXPECT_EQ(read_lm_eval_folder(folder.path() / "one").size(), 1U);
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// A task and a folder of data: which questions come of it, and what is said of what is wrong in it.
#include <gmock/gmock.h>

#include "streamline/base/digest.h"
#include "streamline/base/file.h"
#include "streamline/tasks/task_set.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

using testing::ElementsAre;

std::string line(int i, const std::string& more = "") {
  return R"({"id": "q)" + std::to_string(i) + R"(", "context": "Is )" + std::to_string(i) +
         R"( even?", "choices": ["yes", "no"], "label": )" + std::to_string(i % 2) + more + "}\n";
}

std::string lines(int count, int from = 0) {
  std::string text;
  for (int i = from; i < from + count; ++i) text += line(i);
  return text;
}

class Load : public testing::Test {
 protected:
  void file(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((data_.path() / name).parent_path());
    write_text(data_.path() / name, text);
  }
  std::vector<TaskSet> load(const std::string& task, TaskData data = {}) {
    write_text(tasks_.path() / "t.yaml", task);
    data.folder = data_.path();
    return load_task(*read_task(tasks_.path() / "t.yaml"), data);
  }
  test::TemporaryDirectory data_, tasks_;
};

constexpr const char* kPlain = R"(name: even
sources: [{file: even.jsonl, examples: train.jsonl}]
lm-eval: {context: "Q: {{context}}\nA:", metrics: [acc, acc_norm]}
opencompass: {text: "{{context}} {{letter}}: {{choice}}", choices: [No, Yes], order: [1, 0], labels: [A, B], shots: 1, separator: "; "}
)";

TEST_F(Load, PutsAnUsersOwnQuestions) {
  file("even.jsonl", lines(3));
  const auto sets = load(kPlain, {.shots = 0});
  ASSERT_EQ(sets.size(), 1U);
  const TaskSet& set = sets[0];
  EXPECT_EQ(set.name, "even");
  EXPECT_EQ(set.group, "even");
  EXPECT_EQ(set.also, "even");
  EXPECT_EQ(set.items_in_data, 3);
  EXPECT_EQ(set.left_out, 0);
  EXPECT_EQ(set.digest, sha256(lines(3)));
  EXPECT_THAT(set.metrics, ElementsAre("acc", "acc_norm"));
  EXPECT_THAT(set.labels, ElementsAre("0", "1"));
  ASSERT_EQ(set.items.size(), 3U);
  EXPECT_EQ(set.items[1].id, "q1");
  EXPECT_THAT(set.items[1].contexts, ElementsAre("Q: Is 1 even?\nA:", "Q: Is 1 even?\nA:"));
  EXPECT_THAT(set.items[1].continuations, ElementsAre(" yes", " no"));
  EXPECT_THAT(set.items[1].characters, ElementsAre(3, 2));
  EXPECT_EQ(set.items[1].gold, 1U);
}

TEST_F(Load, AsksWholeTextsInAnotherOrder) {
  file("even.jsonl", lines(2));
  const auto sets = load(kPlain, {.style = Style::opencompass, .shots = 0});
  EXPECT_THAT(sets[0].labels, ElementsAre("A", "B"));
  EXPECT_THAT(sets[0].items[0].contexts, ElementsAre("", ""));
  EXPECT_THAT(sets[0].items[0].continuations, ElementsAre("Is 0 even? A: No", "Is 0 even? B: Yes"));
  EXPECT_EQ(sets[0].items[0].gold, 1U);
  EXPECT_EQ(sets[0].items[1].gold, 0U);
}

TEST_F(Load, TakesTheFirstOnesUpToALimit) {
  file("even.jsonl", lines(9));
  const auto sets = load(kPlain, {.limit = 4});
  EXPECT_EQ(sets[0].items.size(), 4U);
  EXPECT_EQ(sets[0].items_in_data, 9);
  EXPECT_EQ(load(kPlain, {.limit = 40})[0].items.size(), 9U);
}

TEST_F(Load, PutsExamplesWithTheirAnswersInFront) {
  file("even.jsonl", lines(2));
  file("train.jsonl", lines(3, 0));
  const auto sets = load(kPlain, {.shots = 2});
  EXPECT_EQ(sets[0].shots, 2);
  // The question itself is no example.
  EXPECT_EQ(sets[0].items[0].contexts[0], "Q: Is 1 even?\nA: no\n\nQ: Is 2 even?\nA: yes\n\nQ: Is 0 even?\nA:");
  EXPECT_EQ(sets[0].items[1].contexts[0], "Q: Is 0 even?\nA: yes\n\nQ: Is 2 even?\nA: yes\n\nQ: Is 1 even?\nA:");
  const auto whole = load(kPlain, {.style = Style::opencompass});
  EXPECT_EQ(whole[0].shots, 1);
  EXPECT_EQ(whole[0].items[1].continuations[0], "Is 0 even? B: Yes; Is 1 even? A: No");
  EXPECT_ERROR(load(kPlain, {.shots = 3}), usage, "3 examples are wanted in front of it; there are 2");
}

TEST_F(Load, DrawsExamplesByTheSeedAlone) {
  file("even.jsonl", lines(5, 100));
  file("train.jsonl", lines(50));
  const std::string drawn = R"(name: even
sources: [{file: even.jsonl, examples: train.jsonl}]
lm-eval: {context: "{{context}}", shots: 3, examples: drawn, separator: "|"}
)";
  const auto contexts = [&](std::int64_t limit, std::uint64_t seed) {
    std::vector<std::string> result;
    const auto sets = load(drawn, {.limit = limit, .seed = seed});
    for (const TaskItem& item : sets[0].items) result.push_back(item.contexts[0]);
    return result;
  };
  const auto all = contexts(0, 7);
  EXPECT_EQ(all, contexts(0, 7));
  EXPECT_EQ(all[1], contexts(2, 7)[1]);
  EXPECT_NE(all, contexts(0, 8));
  EXPECT_NE(all[0].substr(0, all[0].rfind('|')), all[1].substr(0, all[1].rfind('|')));
  EXPECT_EQ(std::count(all[0].begin(), all[0].end(), '|'), 3);
}

TEST_F(Load, NeedsAFileWithExamples) {
  file("even.jsonl", lines(2));
  EXPECT_ERROR(load(kPlain, {.shots = 1}), io, "train.jsonl: no such file; it has the task's examples");
  const std::string none = "name: a\nsources: [{file: even.jsonl}]\nlm-eval: {context: x}\n";
  EXPECT_ERROR(load(none, {.shots = 1}), usage, "the task a has no examples");
  EXPECT_ERROR(load(none, {.style = Style::opencompass}), usage, "the task a has no prompts in the style opencompass");
}

TEST_F(Load, SplitsBySubjectInTheOrderOfTheData) {
  std::string text;
  for (int i = 0; i < 6; ++i) text += line(i, i % 3 == 0 ? R"(, "subject": "zoo")" : R"(, "subject": "art")");
  file("a.jsonl", text);
  file("dev.jsonl", line(8, R"(, "subject": "art")") + line(9, R"(, "subject": "zoo")"));
  const auto sets = load(R"(name: a
split: subject
sources: [{file: a.jsonl, examples: dev.jsonl}]
lm-eval: {context: "{{subject}}: {{context}}", name: "harness_{{subject}}", shots: 1, separator: " "}
)");
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0].name, "a_zoo");
  EXPECT_EQ(sets[0].also, "harness_zoo");
  EXPECT_EQ(sets[1].name, "a_art");
  EXPECT_EQ(sets[1].group, "a");
  EXPECT_EQ(sets[0].items_in_data, 2);
  EXPECT_EQ(sets[1].items_in_data, 4);
  EXPECT_EQ(sets[0].items[0].contexts[0], "zoo: Is 9 even? no zoo: Is 0 even?");
}

TEST_F(Load, TakesOneSetAlone) {
  file("a.jsonl", line(0, R"(, "subject": "zoo")") + line(1, R"(, "subject": "art")"));
  const std::string task =
      R"({name: a, split: subject, sources: [{file: a.jsonl}], lm-eval: {context: "{{context}}"}})";
  const auto sets = load(task, {.set = "a_art"});
  ASSERT_EQ(sets.size(), 1U);
  EXPECT_EQ(sets[0].name, "a_art");
  EXPECT_EQ(sets[0].items[0].id, "q1");
  EXPECT_ERROR(load(task, {.set = "a_law"}), usage, "there is no set 'a_law' (a_zoo, a_art)");
}

TEST_F(Load, TakesTheFirstSourceThatIsThere) {
  const std::string task = R"(name: a
sources:
  - {file: one.jsonl}
  - {file: [b/two.tsv, b/three.tsv], fields: {choices: [bad, good], label: "{{label}}", context: "{{sentence}}"}}
  - {files: [x.jsonl, y.jsonl]}
lm-eval: {context: "{{context}}"}
)";
  EXPECT_ERROR(load(task), io,
               "no data for the task a; looked for one.jsonl, b/two.tsv, b/three.tsv, x.jsonl with y.jsonl");
  file("x.jsonl", lines(1));
  EXPECT_ERROR(load(task), io, "no data for the task a");
  file("y.jsonl", lines(2, 1));
  EXPECT_EQ(load(task)[0].items.size(), 3U);
  file("b/three.tsv", "sentence\tlabel\nfine .\t1\n");
  EXPECT_EQ(load(task)[0].items[0].contexts[0], "fine .");
  EXPECT_EQ(load(task)[0].items[0].gold, 1U);
  EXPECT_EQ(load(task)[0].items[0].id, "0");
  file("one.jsonl", lines(2));
  EXPECT_EQ(load(task)[0].items.size(), 2U);
}

TEST_F(Load, ReadsLabelsFromAFileBeside) {
  file("d/dev.jsonl", R"({"goal": "g", "sol1": "a", "sol2": "b"})"
                      "\n"
                      R"({"goal": "h", "sol1": "c", "sol2": "d"})"
                      "\n");
  const std::string task = R"(name: a
sources: [{file: d/dev.jsonl, labels: dev.lst, fields: {choices: ["{{sol1}}", "{{sol2}}"], label: "{{label_line}}"}}]
lm-eval: {context: "{{goal}}"}
)";
  EXPECT_ERROR(load(task), io, "dev.lst: no such file of labels");
  file("d/dev.lst", "1\n");
  EXPECT_ERROR(load(task), format, "dev.jsonl: has 2 rows; dev.lst has 1");
  file("d/dev.lst", "1\n0 \n");
  const auto sets = load(task);
  EXPECT_EQ(sets[0].items[0].gold, 1U);
  EXPECT_EQ(sets[0].items[1].gold, 0U);
}

TEST_F(Load, UnrollsGathersAndSkips) {
  file("t/a.txt",
       R"({"article": "A", "questions": ["q1", "q2"], "answers": ["A", "B"], "options": [["u", "v"], ["w", "x"]]})");
  file("t/b.txt", R"({"article": "B", "questions": ["q3"], "answers": ["B"], "options": [["y", "z"]]})");
  const std::string source = R"(name: a
sources:
  - file: t/*.txt
    format: json
    each: "{{questions}}"
)";
  const auto each =
      load(source + R"(    fields: {choices: "{{options[at]}}", label: "{{answers[at] | position_in(['A', 'B'])}}"}
lm-eval: {context: "{{file}}{{article}} {{it}}"}
)");
  ASSERT_EQ(each[0].items.size(), 3U);
  EXPECT_EQ(each[0].items[1].contexts[0], "aA q2");
  EXPECT_EQ(each[0].items[1].continuations[0], " w");
  EXPECT_EQ(each[0].items[2].contexts[0], "bB q3");
  const auto gathered = load(source + R"(    gather:
      by: article
      as: all
      fields: {q: "{{it}}", o: "{{options[at]}}", a: "{{answers[at] | position_in(['A', 'B'])}}", s: "{{q}}={{o[a]}}"}
    fields: {choices: "{{all[-1].o}}", label: "{{all[-1].a}}"}
lm-eval: {context: "{{all[:-1].s | join('')}};{{all[-1].q}}"}
)");
  ASSERT_EQ(gathered[0].items.size(), 2U);
  EXPECT_EQ(gathered[0].items[0].contexts[0], "q1=u;q2");
  EXPECT_EQ(gathered[0].items[1].contexts[0], ";q3");
  const auto skipped = load(source + R"(    skip: {article: A}
    fields: {choices: "{{options[at]}}", label: 0}
lm-eval: {context: "{{it}}"}
)");
  EXPECT_EQ(skipped[0].items.size(), 1U);
  EXPECT_EQ(skipped[0].left_out, 0);
}

TEST_F(Load, CountsLinesThatAreNoQuestions) {
  file("even.jsonl", lines(30) + "{\"id\": \n" + line(31) +
                         R"({"context": "x", "choices": ["a", "b"], "label": 2})"
                         "\n");
  testing::internal::CaptureStderr();
  const auto sets = load(kPlain);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, testing::HasSubstr("even.jsonl:31: not valid JSON"));
  EXPECT_THAT(said, testing::HasSubstr("even.jsonl:33: the label '2' is no position among its 2 choices"));
  EXPECT_THAT(said, testing::HasSubstr("even.jsonl: left out 2 of 33 rows"));
  EXPECT_EQ(sets[0].left_out, 2);
  EXPECT_EQ(sets[0].items.size(), 31U);
}

TEST_F(Load, GivesUpOnAFileThatIsMostlyWrong) {
  const std::string good = lines(8);
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"context": "x", "choices": ["a", "b"]})", "even.jsonl:9: there is no 'label'"},
      {R"({"context": "x", "choices": "a", "label": 0})", "there is no list 'choices'"},
      {R"({"context": "x", "choices": ["a", null], "label": 0})", "null is no text"},
      {R"({"context": "x", "choices": ["a", "b"], "label": -1})", "the label '-1' is no position"},
      {R"({"context": "x", "choices": ["a", "b"], "label": 0.5})", "0.5 is no text"},
      {R"({"context": "x", "choices": ["a", "b"], "label": "B"})", "the label 'B' is no position"},
      {R"({"context": "x", "choices": ["a"], "label": 0})", "has one choice only"},
      {R"({"choices": ["a", "b"], "label": 0})", "there is no field 'context'"},
      {R"({"context": ["x"], "choices": ["a", "b"], "label": 0})", "[\"x\"] is no text"},
      {R"("x")", "not a JSON object"},
  };
  for (const auto& [text, message] : wrong) {
    file("even.jsonl", good + text + "\n");
    EXPECT_ERROR(load(kPlain), format, message);
  }
  file("even.jsonl", "");
  EXPECT_ERROR(load(kPlain), format, "even.jsonl: there is no question in it");
}

TEST_F(Load, SaysWhenTheDataIsNotThePublishedSet) {
  file("even.jsonl", lines(2));
  testing::internal::CaptureStderr();
  load("items: 4\n" + std::string(kPlain));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("2 questions; the published even has 4"));
}

TEST_F(Load, NeedsTheFolder) {
  write_text(tasks_.path() / "t.yaml", kPlain);
  const auto task = read_task(tasks_.path() / "t.yaml");
  EXPECT_ERROR(load_task(*task, {.folder = "/nowhere"}), io, "/nowhere: no such directory of data");
}

TEST_F(Load, PutsTheQuestionsOfTheExampleInTheDocumentation) {
  const std::string page = read_text(test::source_folder() / "docs" / "evaluation.md");
  const std::size_t begin = page.find("```yaml\nname: trivia\n") + 8;
  const std::string task = page.substr(begin, page.find("```", begin) - begin);
  file("trivia/test.csv", "Question,A,B,C,Answer\n Who? ,me,you,\"she, too\",C\n");
  file("trivia/train.csv", "Question,A,B,C,Answer\nWhen?,now,then,never,A\n");
  testing::internal::CaptureStderr();
  const auto sets = load(task, {.shots = 1});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("the published trivia has 120"));
  ASSERT_EQ(sets[0].items.size(), 1U);
  EXPECT_EQ(sets[0].items[0].contexts[2], "Question: When?\nAnswer: now\n\nQuestion: Who?\nAnswer:");
  EXPECT_EQ(sets[0].items[0].continuations[2], " she, too");
  EXPECT_EQ(sets[0].items[0].gold, 2U);
}

TEST_F(Load, AsksForOneAnswerUnderTheGreedyRule) {
  file("words.jsonl", R"({"text": "to be or not"})"
                      "\n");
  const auto sets = load(R"(name: w
sources: [{file: words.jsonl, fields: {words: "{{text | split(' ')}}", choices: ["{{words[-1]}}"], label: 0}}]
lm-eval: {context: "{{words[:-1] | join(' ')}}", rule: greedy, metrics: [perplexity, acc]}
)");
  EXPECT_EQ(sets[0].rule, Rule::greedy);
  EXPECT_EQ(sets[0].items[0].contexts[0], "to be or");
  EXPECT_THAT(sets[0].items[0].continuations, ElementsAre(" not"));
}

}  // namespace
}  // namespace streamline

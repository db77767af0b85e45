// SPDX-License-Identifier: Apache-2.0
// Task files: what is read from them, and what is refused.
#include "streamline/base/file.h"
#include "streamline/tasks/task_spec.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

constexpr const char* kTask = R"(name: mine
about: Mine.
items: 3
sources:
  - file: mine.jsonl
lm-eval:
  context: "{{context}}"
)";

Task parsed(const std::string& text) { return parse_task(text, "mine.yaml"); }
Task with(const std::string& more) { return parsed(kTask + more); }

TEST(TaskFile, NeedsLittle) {
  const Task task = parsed(kTask);
  EXPECT_EQ(task.name, "mine");
  EXPECT_EQ(task.items, 3);
  ASSERT_TRUE(task.lm_eval);
  EXPECT_EQ(task.lm_eval->delimiter, " ");
  EXPECT_EQ(task.lm_eval->metrics, std::vector<std::string>{"acc"});
  EXPECT_FALSE(task.opencompass);
}

TEST(TaskFile, MayBeJson) {
  const Task task = parsed(R"({"name": "j", "sources": [{"file": "a.csv"}], "opencompass": {"text": "{{choice}}"}})");
  EXPECT_EQ(task.name, "j");
  EXPECT_TRUE(task.opencompass);
}

TEST(TaskFile, IsRefusedWithTheKeyThatIsWrong) {
  EXPECT_ERROR(parsed("name: [\n"), format, "mine.yaml:");
  EXPECT_ERROR(parsed("- 1\n"), format, "mine.yaml: expected a mapping");
  EXPECT_ERROR(parsed("name: a\nname: b\n"), format, "mine.yaml:2: the key 'name' occurs twice");
  EXPECT_ERROR(parsed("name: a/b\n"), format, "'name' is made of letters");
  EXPECT_ERROR(parsed("name: a\n"), format, "mine.yaml: there is no 'sources'");
  EXPECT_ERROR(parsed("name: a\nsources: []\n"), format, "mine.yaml: sources: expected a list");
  EXPECT_ERROR(parsed("name: a\nsources: [{file: a.jsonl}]\n"), format, "neither 'lm-eval' nor 'opencompass'");
  EXPECT_ERROR(with("extra: 1\n"), format, "mine.yaml: 'extra' is no key here (name, about,");
  EXPECT_ERROR(with("  metrics: [f1]\n"), format, "mine.yaml: lm-eval: metrics: no metric 'f1'");
  EXPECT_ERROR(with("  rule: best\n"), format, "rule: expected choices or greedy");
  EXPECT_ERROR(with("  order: [0, 0]\n"), format, "order: names each choice once");
  EXPECT_ERROR(with("  examples: all\n"), format, "examples: expected first or drawn");
  EXPECT_ERROR(with("  shots: -1\n"), format, "shots: expected a count");
  EXPECT_ERROR(with("  choice: \"{{a\"\n"), format, "mine.yaml: lm-eval: choice: '{{a' has no closing }}");
  EXPECT_ERROR(with("opencompass: {labels: [a]}\n"), format, "mine.yaml: opencompass: there is no 'text'");
  const std::string source = "name: a\nlm-eval: {context: a}\nsources: [";
  EXPECT_ERROR(parsed(source + "{}]"), format, "sources[0]: give either 'file'");
  EXPECT_ERROR(parsed(source + "{file: a, files: [b]}]"), format, "sources[0]: give either 'file'");
  EXPECT_ERROR(parsed(source + "{file: a, format: xml}]"), format, "sources[0]: format: no format 'xml'");
  EXPECT_ERROR(parsed(source + "{file: a, fields: {x: {y: 1}}}]"), format, "fields: x: expected a text");
  EXPECT_ERROR(parsed(source + "{file: a, gather: {by: x}}]"), format, "gather: 'by' and 'as' are names");
}

TEST(TaskFile, IsFoundByNameOrPath) {
  const test::TemporaryDirectory folder;
  write_text(folder.path() / "mine.yaml", kTask);
  write_text(folder.path() / "piqa.yaml", kTask);
  write_text(folder.path() / "notes.txt", "");
  EXPECT_EQ(find_task((folder.path() / "mine.yaml").string())->name, "mine");
  EXPECT_EQ(find_task("mine", folder.path())->name, "mine");
  EXPECT_EQ(find_task("piqa", folder.path())->name, "mine");
  EXPECT_EQ(find_task("piqa")->name, "piqa");
  const auto names = task_names(folder.path());
  ASSERT_GT(names.size(), 2U);
  EXPECT_EQ(names[0], "mine");
  EXPECT_EQ(names[1], "piqa");
  EXPECT_EQ(std::count(names.begin(), names.end(), "piqa"), 1);
  EXPECT_EQ(choose_task("mmlu_anatomy").task->name, "mmlu");
  EXPECT_EQ(choose_task("mmlu_anatomy").set, "mmlu_anatomy");
  EXPECT_EQ(choose_task("race_high").task->name, "race_high");
  EXPECT_TRUE(choose_task("race_high").set.empty());
  EXPECT_ERROR(choose_task("piqa_x"), usage, "no task 'piqa_x' (");
  EXPECT_ERROR(find_task("pica"), usage, "no task 'pica' (");
  EXPECT_ERROR(find_task("nowhere.yaml"), io, "nowhere.yaml");
  EXPECT_ERROR(find_task("a", "/nowhere"), io, "/nowhere: cannot be listed");
}

TEST(TaskFile, OfEveryShippedTaskCanBeReadAndIsDocumented) {
  const std::string page = read_text(test::source_folder() / "docs" / "evaluation.md");
  for (const ShippedTask& shipped : shipped_tasks()) {
    const Task task = parse_task(shipped.text, std::string(shipped.name));
    EXPECT_EQ(task.name, shipped.name);
    EXPECT_GT(task.items, 0) << task.name;
    EXPECT_THAT(page, testing::HasSubstr("`" + task.name + "`"));
    EXPECT_THAT(task.about, testing::HasSubstr("20")) << task.name << " names no paper";
  }
}

}  // namespace
}  // namespace streamline

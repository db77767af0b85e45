// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/labelled.h"

#include "streamline/base/file.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

class LabelledData : public testing::Test {
 protected:
  std::filesystem::path file(const std::string& name, const std::string& text) {
    write_text(folder_.path() / name, text);
    return folder_.path() / name;
  }
  LabelledTexts task(const std::string& yaml, const std::string& data) {
    file("q.jsonl", data);
    return labelled_task(choose_task(file("t.yaml", yaml).string()), {.folder = folder_.path()});
  }
  test::TemporaryDirectory folder_;
};

constexpr const char* kRows = "{\"text\": \"good\", \"label\": \"yes\"}\n{\"text\": \"bad\", \"label\": \"no\"}\n";

TEST_F(LabelledData, IsReadFromJsonLinesAndTables) {
  const std::vector<std::filesystem::path> files = {file("a.jsonl", kRows),
                                                    file("b.csv", "text,label\n\"so, so\",no\nfine,yes\n")};
  const LabelledTexts found = labelled_files(files, {});
  EXPECT_EQ(found.name, "a");
  EXPECT_EQ(found.classes, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(found.texts, (std::vector<std::string>{"good", "bad", "so, so", "fine"}));
  EXPECT_EQ(found.labels, (std::vector<std::int64_t>{1, 0, 0, 1}));
}

TEST_F(LabelledData, SortsNumbersByValue) {
  const std::vector<std::filesystem::path> files = {file("a.tsv", "text\tlabel\na\t10\nb\t9\nc\t-1\n")};
  EXPECT_EQ(labelled_files(files, {}).classes, (std::vector<std::string>{"-1", "9", "10"}));
}

TEST_F(LabelledData, GoesThroughAPrompt) {
  const std::vector<std::filesystem::path> files = {
      file("a.jsonl", "{\"t\": \"A\", \"b\": 1, \"y\": true}\n{\"t\": \"B\", \"b\": 2, \"y\": false}\n")};
  const LabelledTexts found =
      labelled_files(files, {.label_field = "y", .prompt = "{{t}}{{b}}:", .classes = {"true", "false"}});
  EXPECT_EQ(found.texts, (std::vector<std::string>{"A1:", "B2:"}));
  EXPECT_EQ(found.labels, (std::vector<std::int64_t>{0, 1}));
}

TEST_F(LabelledData, OfFilesWithOtherLabelsIsRefused) {
  const auto a = file("a.jsonl", kRows);
  const std::vector<std::filesystem::path> more = {a, file("b.jsonl", "{\"text\": \"x\", \"label\": \"maybe\"}\n")},
                                           fewer = {a, file("c.jsonl", "{\"text\": \"x\", \"label\": \"no\"}\n")};
  EXPECT_ERROR(labelled_files(more, {}), mismatch, "b.jsonl: has the label 'maybe', which");
  EXPECT_ERROR(labelled_files(fewer, {}), mismatch, "c.jsonl: has no row with the label 'yes'");
}

TEST_F(LabelledData, ThatIsBrokenIsRefused) {
  const auto read = [&](const std::string& text) {
    const std::vector<std::filesystem::path> files = {file("a.jsonl", text)};
    return labelled_files(files, {});
  };
  EXPECT_ERROR(read("{\"text\": \"x\"}\n"), format, "a.jsonl:1: there is no field 'label'");
  EXPECT_ERROR(read("[1]\n"), format, "not an object");
  EXPECT_ERROR(read(""), format, "there is no row");
  EXPECT_ERROR(read("{\"text\": \"x\", \"label\": 1}\n"), format, "all rows have the label '1'");
  EXPECT_ERROR(read("{\"text\": \"\", \"label\": 1}\n"), format, "the text is empty");
}

constexpr const char* kTask = "name: t\nabout: x\nsources:\n  - file: q.jsonl\nlm-eval:\n  context: \"{{context}}?\"\n";

TEST_F(LabelledData, OfATaskHasTheNamesOfItsAnswers) {
  const LabelledTexts found = task(kTask,
                                   "{\"context\": \"a\", \"choices\": [\"no\", \"yes\"], \"label\": 1}\n"
                                   "{\"context\": \"b\", \"choices\": [\"no\", \"yes\"], \"label\": 0}\n");
  EXPECT_EQ(found.classes, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(found.texts, (std::vector<std::string>{"a?", "b?"}));
  EXPECT_EQ(found.labels, (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(prompted("c", found.prompt, "line 1"), "c?");
}

TEST_F(LabelledData, OfATaskWithOtherAnswersEachTimeHasLetters) {
  const LabelledTexts found = task(kTask,
                                   "{\"context\": \"a\", \"choices\": [\"x\", \"y\"], \"label\": 1}\n"
                                   "{\"context\": \"b\", \"choices\": [\"u\", \"v\", \"w\"], \"label\": 2}\n");
  EXPECT_EQ(found.classes, (std::vector<std::string>{"A", "B", "C"}));
}

TEST(PromptedLine, TakesFieldsFromJson) {
  EXPECT_EQ(prompted("{\"a\": 1, \"b\": \"x\"}", "{{a}}-{{b}}", "line 1"), "1-x");
  EXPECT_EQ(prompted("as it is", "", "line 1"), "as it is");
  EXPECT_ERROR(prompted("plain", "{{a}}-{{b}}", "line 3"), format,
               "line 3: the prompt is made of several fields (a, b)");
  EXPECT_ERROR(prompted("{\"a\": 1}", "{{a}}-{{b}}", "line 3"), format, "line 3: ");
  EXPECT_ERROR(prompted("{\"a\": ", "{{a}}", "line 3"), format, "line 3: not valid JSON");
}

}  // namespace
}  // namespace streamline

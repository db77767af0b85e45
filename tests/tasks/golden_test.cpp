// SPDX-License-Identifier: Apache-2.0
// Every shipped task rendered from data in the layouts in which it is published, against prompts that
// lm-evaluation-harness and OpenCompass's configurations give (tests/oracle/golden_prompts.py writes golden/).
#include "streamline/base/digest.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/tasks/task_set.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

fs::path golden_folder() { return test::source_folder() / "tests" / "tasks" / "golden"; }
Json golden(const std::string& name) { return parse_json(read_text(golden_folder() / (name + ".json")), name); }

void write_files(const fs::path& folder, const Json& files) {
  for (const auto& [name, text] : files.items()) {
    fs::create_directories((folder / name).parent_path());
    write_text(folder / name, text.get<std::string>());
  }
}

std::vector<TaskItem> items_of(const std::vector<TaskSet>& sets) {
  std::vector<TaskItem> items;
  for (const TaskSet& set : sets) items.insert(items.end(), set.items.begin(), set.items.end());
  return items;
}

void expect_item(const TaskItem& item, const Json& expected) {
  EXPECT_EQ(Json(item.contexts), expected["contexts"]);
  EXPECT_EQ(Json(item.continuations), expected["continuations"]);
  EXPECT_EQ(item.gold, expected["gold"].get<std::size_t>());
  const Json& characters = expected["characters"];
  EXPECT_TRUE(characters.is_null() || Json(item.characters) == characters) << characters.dump();
}

// Nothing when this layout has no examples to put in front.
std::vector<TaskItem> load(const std::string& task, const Json& files, const Json& golden_case, bool published) {
  const test::TemporaryDirectory folder;
  write_files(folder.path(), files);
  const auto shots = golden_case["shots"].get<std::int64_t>();
  const TaskData data{
      .folder = folder.path(), .style = style_named(golden_case["style"].get<std::string>()), .shots = shots};
  testing::internal::CaptureStderr();  // that these are fewer than the published ones
  std::vector<TaskItem> items;
  std::string error;
  try {
    items = items_of(load_task(*find_task(task), data));
  } catch (const Error& caught) {
    error = caught.what();
  }
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(!items.empty() || (!published && shots > 0)) << error;
  return items;
}

class GoldenPrompts : public testing::TestWithParam<std::string> {};

TEST_P(GoldenPrompts, AreTheHarnesses) {
  const Json expected = golden(GetParam());
  std::size_t compared = 0;
  for (const Json& one_case : expected["cases"]) {
    bool published = true;
    for (const Json& files : expected["layouts"]) {
      SCOPED_TRACE(one_case["style"].get<std::string>() + ", " + one_case["shots"].dump() + " examples, " +
                   files.begin().key());
      const std::vector<TaskItem> items = load(GetParam(), files, one_case, published);
      published = false;
      if (items.empty()) continue;
      expect_item(items.front(), one_case["prompts"][0]);
      expect_item(items.back(), one_case["prompts"][1]);
      ++compared;
    }
  }
  EXPECT_GT(compared, 0U);
}

std::string name_of(const testing::TestParamInfo<std::string>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(EveryShippedTask, GoldenPrompts, testing::ValuesIn(task_names()), name_of);

TEST(WscPrompts, InOneFormMarkNoPronoun) {
  const Json item = {{"id", "0"},
                     {"context",
                      "Passage: Tom saw Sam when he ran.\nQuestion: In the passage above, does the pronoun "
                      "\"he\" refer to \"Sam\"?\nAnswer:"},
                     {"choices", {"no", "yes"}},
                     {"label", 1}};
  const Json files = {{"wsc_val.jsonl", item.dump() + "\n"}};
  const auto behind = load("wsc", files, {{"style", "lm-eval"}, {"shots", 0}}, true);
  EXPECT_EQ(behind.at(0).contexts[0], item["context"]);
  EXPECT_EQ(behind.at(0).gold, 1U);
  const auto whole = load("wsc", files, {{"style", "opencompass"}, {"shots", 0}}, true);
  EXPECT_EQ(whole.at(0).continuations[0],
            "Passage: Tom saw Sam when he ran.\nDoes the pronoun # he # refer to * Sam *?\nA. Yes\nB. No\nAnswer: \nA");
  EXPECT_EQ(whole.at(0).gold, 0U);
}

// As golden_prompts.py computes it.
std::string digest_of(const std::vector<TaskItem>& items) {
  Sha256 digest;
  for (const TaskItem& item : items) {
    for (std::size_t i = 0; i < item.contexts.size(); ++i)
      digest.update(item.contexts[i] + "\x1f" + item.continuations[i] + "\x1e");
    digest.update(std::to_string(item.gold) + "\n");
  }
  return digest.hex();
}

TEST(RealQuestions, HaveThePublishedSizeAndTheHarnessesPrompts) {
  REQUIRE_SHARED("data/tasks");
  const Json expected = golden("digests");
  for (const auto& [task, entry] : expected.items()) {
    const auto items = items_of(load_task(*find_task(task), {.folder = test::shared_folder() / "data" / "tasks"}));
    EXPECT_EQ(items.size(), entry["questions"].get<std::size_t>()) << task;
    EXPECT_EQ(digest_of(items), entry["sha256"].get<std::string>()) << task;
  }
}

TEST(RealQuestions, OfChineseSetsHaveThePublishedSize) {
  REQUIRE_SHARED("data/tasks");
  const std::pair<const char*, std::size_t> sizes[] = {{"c3", 3816}, {"chid", 2002}, {"ocnli", 2520}};
  for (const auto& [task, size] : sizes)
    for (const Style style : {Style::lm_eval, Style::opencompass}) {
      const TaskData data{.folder = test::shared_folder() / "data" / "tasks", .style = style};
      const auto sets = load_task(*find_task(task), data);
      EXPECT_EQ(sets[0].items.size(), size) << task;
      EXPECT_EQ(sets[0].left_out, 0) << task;
    }
}

TEST(RealQuestions, OfMmluHaveSubjectsAndFiveExamples) {
  REQUIRE_SHARED("data/tasks");
  const auto sets =
      load_task(*find_task("mmlu"),
                {.folder = test::shared_folder() / "data" / "tasks", .style = Style::opencompass, .limit = 1});
  EXPECT_EQ(sets.size(), 57U);
  std::int64_t items = 0;
  for (const TaskSet& set : sets) items += set.items_in_data;
  EXPECT_EQ(items, 14042);
  EXPECT_EQ(sets[0].also, "lukaemon_mmlu_abstract_algebra");
  EXPECT_THAT(sets[0].items[0].continuations[0], testing::HasSubstr("Answer: B\n\nStatement 1 | If aH is"));
}

}  // namespace
}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/opencompass_files.h"

#include <map>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {
namespace fs = std::filesystem;

fs::path example_folder() { return test::source_folder() / "tests" / "tasks" / "data" / "opencompass"; }
fs::path model_folder() { return example_folder() / "some-model"; }

std::map<std::string, TaskAnswers> example_sets() {
  std::map<std::string, TaskAnswers> sets;
  for (TaskAnswers& set : read_opencompass_folder(example_folder())) sets.emplace(set.name, std::move(set));
  return sets;
}

TEST(OpenCompassFiles, PredictionsAreRead) {
  const auto sets = example_sets();
  ASSERT_EQ(sets.size(), 3U);
  const TaskAnswers& piqa = sets.at("piqa");
  EXPECT_EQ(piqa.style, Style::opencompass);
  EXPECT_EQ(piqa.labels, (std::vector<std::string>{"0", "1"}));
  ASSERT_EQ(piqa.answers.size(), 3U);
  EXPECT_EQ(piqa.answers[1].id, "1");
  // PPL 3.0 of 8 tokens and 2.5 of 10.
  EXPECT_EQ(piqa.answers[1].tokens, (std::vector<std::int64_t>{8, 10}));
  EXPECT_EQ(piqa.answers[1].log_likelihoods, (std::vector<double>{-24, -25}));
  EXPECT_EQ(sets.at("C3").answers[0].log_likelihoods.size(), 3U);
  EXPECT_EQ(sets.at("C3").answers[0].gold, 2U);
  EXPECT_EQ(sets.at("lukaemon_mmlu_anatomy").group, "mmlu");
}

// Check 17: gold "1" and 1 are the same, and the first of equal choices wins.
TEST(OpenCompassFiles, GoldMayBeAStringOrANumber) {
  const TaskAnswers piqa = example_sets().at("piqa");
  EXPECT_EQ(piqa.answers[0].gold, 0U);
  EXPECT_EQ(piqa.answers[1].gold, 1U);
  EXPECT_EQ(lowest_mean_nll(piqa.answers[2]), 0U);
  EXPECT_NEAR(metric(piqa, "acc").value, 2.0 / 3, 1e-12);
}

TEST(OpenCompassFiles, PredictionsAreWrittenAsTheyWereRead) {
  const test::TemporaryDirectory folder;
  std::vector<TaskAnswers> answers;
  std::vector<TaskSet> questions;
  for (auto& [name, set] : example_sets()) {
    TaskSet& asked = questions.emplace_back();
    asked.name = "ours_" + name;
    asked.also = name;
    const Json file = parse_json(read_text(model_folder() / (name + ".json")), name);
    for (const auto& [key, entry] : file.items()) {
      TaskItem& item = asked.items.emplace_back();
      for (const std::string& label : set.labels) {
        item.contexts.emplace_back();
        item.continuations.push_back(entry["label: " + label]["prompt"]);
      }
    }
    answers.push_back(set);
  }
  write_opencompass(folder.path(), "org/some-model", answers, questions);
  const fs::path written = folder.path() / "opencompass" / "predictions" / "org__some-model";
  for (const TaskSet& set : questions) {
    const std::string file = set.also + ".json";
    Json expected = parse_json(read_text(model_folder() / file), file);
    // Written as a number, like the labels of this set.
    if (set.also == "piqa") expected["1"]["gold"] = 1;
    const Json found = parse_json(read_text(written / file), file);
    // The same keys in the same order, and the same values.
    EXPECT_EQ(found.dump(), expected.dump());
  }
}

TEST(OpenCompassFiles, WithoutBitsTheTokensAreNotKnown) {
  const test::TemporaryDirectory folder;
  Json file = parse_json(read_text(model_folder() / "piqa.json"), "piqa");
  for (const Json& wrong : {Json(), Json(1.234567)}) {
    file["1"]["label: 0"]["BPB"] = wrong;
    write_text(folder.path() / "piqa.json", file.dump());
    const TaskAnswers set = read_opencompass(folder.path() / "piqa.json");
    EXPECT_TRUE(set.answers[0].tokens.empty());
    EXPECT_EQ(set.answers[0].log_likelihoods, (std::vector<double>{-2.25, -3.5}));
    EXPECT_EQ(lowest_mean_nll(set.answers[1]), 1U);
  }
}

TEST(OpenCompassFiles, PartsOfASplitRunAreOneSet) {
  const test::TemporaryDirectory folder;
  const Json file = parse_json(read_text(model_folder() / "piqa.json"), "piqa");
  const fs::path run = folder.path() / "predictions" / "m";
  write_text(run / "piqa_0.json", Json{{"0", file["0"]}, {"1", file["1"]}}.dump());
  write_text(run / "piqa_1.json", Json{{"0", file["2"]}}.dump());
  write_text(run / "part_3.json", Json{{"0", file["2"]}}.dump());
  const auto sets = read_opencompass_folder(folder.path());
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0].name, "part_3");
  EXPECT_EQ(sets[1].name, "piqa");
  ASSERT_EQ(sets[1].answers.size(), 3U);
  EXPECT_EQ(sets[1].answers[2].id, "2");
  write_text(run / "piqa_3.json", Json{{"0", file["2"]}}.dump());
  EXPECT_ERROR(read_opencompass_folder(folder.path()), format, "piqa_2.json is missing");
}

TEST(OpenCompassFiles, BadPredictionsAreRefusedWithFileAndItem) {
  const test::TemporaryDirectory folder;
  const fs::path file = folder.path() / "piqa.json";
  const Json good = parse_json(read_text(model_folder() / "piqa.json"), "piqa");
  const auto refused = [&](const auto& change, const std::string& message) {
    Json bad = good;
    change(bad);
    write_text(file, bad.dump());
    EXPECT_ERROR(read_opencompass(file), format, message);
  };
  refused([](Json& bad) { bad = Json::array(); }, "not a file of predictions");
  refused([](Json& bad) { bad.erase("1"); }, "item '1' is missing; expected \"0\" to \"1\"");
  refused([](Json& bad) { bad["1"] = 7; }, "item '1': not a JSON object");
  refused([](Json& bad) { bad["1"].erase("gold"); }, "item '1': 'gold' is missing");
  refused([](Json& bad) { bad["1"]["gold"] = 0.5; }, "item '1': 'gold' is missing, or neither");
  refused([](Json& bad) { bad["1"]["gold"] = "2"; }, "item '1': 'gold' is '2', which is no label there");
  refused([](Json& bad) { bad["1"]["prediction"] = 0; }, "'prediction' is '0', but '1' has the lowest PPL");
  refused([](Json& bad) { bad["1"]["label: 1"].erase("PPL"); }, "item '1': 'label: 1' has no 'PPL'");
  refused([](Json& bad) { bad["1"]["label: 1"]["PPL"] = "2"; }, "item '1': 'label: 1': 'PPL'");
  refused([](Json& bad) { bad["2"]["label: 2"] = bad["2"]["label: 1"], bad["2"].erase("label: 1"); },
          "item '2': 'gold' is '1', which is no label there");
  refused(
      [](Json& bad) {
        bad["2"]["gold"] = 2;
        bad["2"]["label: 2"] = bad["2"]["label: 1"], bad["2"].erase("label: 1");
      },
      "item '2': its labels are not those of the other items");
  refused([](Json& bad) { bad["0"].erase("label: 0"), bad["0"].erase("label: 1"); }, "item '0': no 'label: X'");
  write_text(file, "{\"0\": NaN}");
  EXPECT_ERROR(read_opencompass(file), format, "piqa.json: not valid JSON");
}

TEST(OpenCompassFiles, FoldersOfNoneOrSeveralModelsAreNamed) {
  const test::TemporaryDirectory folder;
  EXPECT_ERROR(read_opencompass_folder(folder.path()), io, "no predictions of OpenCompass");
  for (const char* model : {"one", "two"})
    fs::create_directories(folder.path() / model),
        fs::copy_file(model_folder() / "C3.json", folder.path() / model / "C3.json");
  EXPECT_ERROR(read_opencompass_folder(folder.path()), io, "one, two");
  EXPECT_EQ(read_opencompass_folder(folder.path() / "two").size(), 1U);
}

}  // namespace
}  // namespace streamline

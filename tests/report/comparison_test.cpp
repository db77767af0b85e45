// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison.h"

#include <algorithm>
#include <cmath>

#include "streamline/report/comparison_charts.h"
#include "streamline/report/comparison_differences.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/comparison_names.h"
#include "streamline/report/comparison_repeats.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Json estimate(double value, double error) { return {{"value", value}, {"standard_error", error}}; }

Json model(const std::string& name, double parameters, double accuracy, double speed) {
  return {{"name", name},
          {"layers", 12},
          {"parameters", parameters},
          {"bytes", 2 * parameters},
          {"perplexity", {{"value", 12.3 / accuracy}, {"standard_error", 0.25}, {"text", {{"source", "valid.txt"}}}}},
          {"tasks", {{"piqa", {{"group", "piqa"}, {"acc", estimate(accuracy, 0.05)}}}}},
          {"figures", {{"acc", accuracy}}},
          {"speed", {{"prefill_tokens_per_second", speed}}}};
}

Json against(double lost, double gained, double p) {
  const Json row = {{"name", "piqa"},
                    {"questions", 100},
                    {"right_to_wrong", lost},
                    {"wrong_to_right", gained},
                    {"mcnemar_p", p},
                    {"relative_performance", 0.9},
                    {"stability", 0.8},
                    {"agreement", 0.81},
                    {"stability_interval", {0.7, 0.9}},
                    {"difference_interval", {-0.135, -0.02}}};
  return {{"score", "answer NLL"}, {"benchmarks", Json::array({row})}, {"average", row}};
}

Json record() {
  Json result = {{"run", {{"date", "2026-01-02T03:04:05Z"}, {"command", {"streamline", "compare"}}}}};
  result["models"] = {model("whole", 100e6, 0.60, 1000), model("half", 50e6, 0.50, 2000),
                      model("bad|half", 60e6, 0.45, 1500)};
  result["models"][1]["against_source"] = against(12, 2, 0.013);
  result["models"][2]["against_source"] = against(20, 5, 0.004);
  mark_pareto(result);
  return result;
}

TEST(Pareto, IsWhatNothingBeatsInBoth) {
  const Json models = record()["models"];
  EXPECT_EQ(models[0]["pareto"], (Json{{"parameters", true}, {"speed", true}}));
  EXPECT_EQ(models[1]["pareto"], (Json{{"parameters", true}, {"speed", true}}));
  EXPECT_EQ(models[2]["pareto"], (Json{{"parameters", false}, {"speed", false}}));
}

TEST(Pareto, GoesByPerplexityWhereThereIsOne) {
  Json json = record();
  json["models"][1]["perplexity"]["value"] = 30.0;
  json["models"][2]["perplexity"]["value"] = 25.0;
  mark_pareto(json);
  EXPECT_EQ(json["models"][2]["pareto"]["parameters"], true);  // better than "half", smaller than "whole"
  EXPECT_EQ(report::quality_name(json), "perplexity");
  EXPECT_THAT(comparison_table(json), HasSubstr("Pareto, by perplexity"));
}

TEST(Pareto, GoesByTasksAlone) {
  Json json = record();
  for (Json& entry : json["models"]) entry.erase("perplexity");
  json["models"][2]["figures"]["acc"] = 0.55;
  mark_pareto(json);
  EXPECT_EQ(json["models"][2]["pareto"]["parameters"], true);
  EXPECT_THAT(comparison_table(json), HasSubstr("Pareto, by mean accuracy"));
  EXPECT_EQ(report::comparison_charts(json)["quality-parameters"]["signals"]["y_title"], "mean accuracy, %");
}

TEST(Pareto, LeavesOutWhatWasNotMeasured) {
  Json json = record();
  json["models"][1].erase("perplexity");
  json["models"][0].erase("speed");
  mark_pareto(json);
  EXPECT_EQ(json["models"][1]["pareto"]["parameters"], false);
  EXPECT_EQ(json["models"][2]["pareto"]["parameters"], true);
}

TEST(Pareto, SaysWhatOnlyNoiseKeepsOffIt) {
  Json json = record();
  json["models"][0]["alike"] = {"half"};
  json["models"][1]["alike"] = {"whole", "bad|half"};
  json["models"][2]["alike"] = {"half"};
  mark_pareto(json);
  EXPECT_EQ(json["models"][2]["pareto"]["parameters"], false);
  EXPECT_EQ(json["models"][2]["pareto"]["parameters_within_error"], true);
  EXPECT_THAT(comparison_table(json),
              HasSubstr("Of those with *, within the error of each other:\n  whole and half\n"));
  json["models"][0]["parameters"] = 60e6;  // better and as small, and not alike
  mark_pareto(json);
  EXPECT_FALSE(json["models"][2]["pareto"].contains("parameters_within_error") &&
               json["models"][2]["pareto"]["parameters_within_error"] == true);
}

TEST(Comparison, TableHasARowAModelAndNoEmptyColumn) {
  const std::string table = comparison_table(record());
  EXPECT_THAT(table, HasSubstr("60.00 ± 5.00"));
  EXPECT_THAT(table, HasSubstr("20.50 ± 0.25"));
  EXPECT_THAT(table, Not(HasSubstr("KL divergence")));
  EXPECT_EQ(std::ranges::count(table, '\n'), 6);
}

TEST(Comparison, OneWindowHasNoError) {
  Json json = record();
  for (Json& entry : json["models"]) {
    entry["perplexity"].update({{"standard_error", nullptr}, {"tokens", 127}, {"window", 128}, {"bos", false}});
    entry["perplexity"]["divergence"]["log_perplexity_ratio"] = {{"value", 0.5}, {"standard_error", nullptr}};
    entry.erase("tasks");
  }
  mark_pareto(json);
  const std::string table = comparison_table(json);
  EXPECT_THAT(table, Not(HasSubstr("±")));
  EXPECT_THAT(table, HasSubstr("Perplexity on valid.txt: 127 tokens scored in windows of 128, without BOS.\n"));
  EXPECT_THAT(comparison_html(json), Not(HasSubstr("Higher perplexity than the source by more than noise")));
  const Json source = report::comparison_charts(json)["quality-parameters"]["data"]["models"][0];
  EXPECT_TRUE(source["low"] == source["y"] && source["high"] == source["y"]);
}

TEST(Comparison, OfFewWindowsGivesNoVerdict) {
  Json json = record();
  for (Json& entry : json["models"]) {
    entry["perplexity"]["windows"] = 7;
    entry["perplexity"]["divergence"]["log_perplexity_ratio"] = {{"value", 0.5}, {"standard_error", 0.01}};
  }
  const char* few = "7 windows of text are too few to tell whether perplexities differ by more than chance";
  EXPECT_THAT(comparison_table(json), HasSubstr(few));
  EXPECT_THAT(comparison_html(json), HasSubstr(few));
  EXPECT_THAT(comparison_html(json), Not(HasSubstr("Higher perplexity than the source by more than noise")));
  for (Json& entry : json["models"]) entry["perplexity"]["windows"] = 8;
  EXPECT_THAT(comparison_table(json), Not(HasSubstr("too few")));
  EXPECT_THAT(comparison_html(json), HasSubstr("Higher perplexity than the source by more than noise"));
}

TEST(Comparison, NamesThoseWithinTheErrorLineByLine) {
  Json json = {{"models", Json::array()}};
  for (const char* name : {"a", "b", "c"})
    json["models"].push_back({{"name", name}, {"pareto", {{"parameters", true}}}, {"alike", {"a", "b", "c"}}});
  const auto together = [&] { return report::told_together(json, "parameters", report::quoted_name); };
  EXPECT_THAT(together(), ElementsAre("a, b, c"));
  json["models"][1]["alike"] = json["models"][2]["alike"] = {"a"};
  EXPECT_THAT(together(), ElementsAre("a and b, c"));
  json["models"][0]["alike"] = Json::array();
  EXPECT_TRUE(together().empty());
}

TEST(Comparison, SetsNamesWithCommasApart) {
  EXPECT_EQ(report::quoted_name("a, healed"), "\"a, healed\"");
  EXPECT_EQ(report::code_names({"a, healed", "<b>"}), "<code>a, healed</code>, <code>&lt;b&gt;</code>");
}

TEST(Comparison, CountsManyNamesAndTellsTheExceptions) {
  const report::Names all = {"a", "b", "c", "d"};
  EXPECT_EQ(report::which_of({"a", "b"}, all, 2), "<code>a</code>, <code>b</code>");
  EXPECT_EQ(report::which_of({"a", "b", "c"}, all, 2), "3 of 4, all but <code>d</code>");
  EXPECT_EQ(report::which_of(all, all, 2), "all 4");
  EXPECT_EQ(report::which_of({"a", "b", "c"}, {"a", "b", "c", "d", "e", "f"}, 2), "3 of 6");
}

// "whole", and four cuts, of which three are the same.
Json repeating_record() {
  Json json = record();
  json["models"][1].update({{"name", "angular -2 layers, healed"}, {"method", "angular"}});
  Json same = json["models"][1];
  same.update(
      {{"name", "shortgpt -2 layers, healed"}, {"method", "shortgpt"}, {"same_as", "angular -2 layers, healed"}});
  json["models"].push_back(same);
  same.update({{"name", "mlp-drop -4 MLPs"}, {"method", "mlp-drop"}});
  json["models"].push_back(same);
  json["models"][0]["alike"] = {"shortgpt -2 layers, healed", "mlp-drop -4 MLPs"};
  json["models"][1]["alike"] = {"whole", "mlp-drop -4 MLPs"};
  mark_pareto(json);
  return json;
}

TEST(Comparison, ModelsThatAreTheSameShareARow) {
  const Json shown = report::without_repeats(repeating_record());
  const std::string name = "angular, shortgpt · -2 layers, healed = mlp-drop -4 MLPs";
  ASSERT_EQ(shown["models"].size(), 3U);
  EXPECT_EQ(shown["models"][1]["name"], name);
  EXPECT_EQ(shown["models"][0]["alike"], Json({name}));
  EXPECT_EQ(shown["models"][1]["alike"], Json({"whole"}));
  EXPECT_EQ(report::short_name(shown["models"][1]), "angular -2 layers, healed and 2 more");
  const std::string table = comparison_table(repeating_record()), csv = comparison_csv(repeating_record());
  EXPECT_THAT(table, HasSubstr("\n" + name));
  EXPECT_THAT(table, HasSubstr("\n  whole and \"" + name + "\"\n"));
  EXPECT_THAT(table, Not(HasSubstr("\nshortgpt")));
  EXPECT_THAT(comparison_markdown(repeating_record()), HasSubstr("\n| " + name + " |"));
  EXPECT_THAT(csv, HasSubstr("\n\"shortgpt -2 layers, healed\","));
  EXPECT_EQ(report::without_repeats(record()), record());
}

TEST(ComparisonPage, ModelsThatAreTheSameShareARowAndAPoint) {
  const std::string page = comparison_html(repeating_record());
  EXPECT_THAT(page, HasSubstr("4 models held against"));
  EXPECT_THAT(page, HasSubstr("2 of them differ"));
  EXPECT_THAT(page, HasSubstr("<code>angular, shortgpt · -2 layers, healed = mlp-drop -4 MLPs</code>"));
  EXPECT_THAT(page, HasSubstr("\"label\":\"angular -2 layers, healed and 2 more\""));
  EXPECT_THAT(page, Not(HasSubstr("<th scope=\"row\">shortgpt")));
}

// Two texts a model, a cut and a limit.
Json fuller_record() {
  Json json = record();
  for (Json& entry : json["models"]) {
    Json second = entry["perplexity"];
    entry["perplexity"]["text"]["source"] = "texts/valid.txt";
    second["value"] = 33.25;
    second["text"]["source"] = "texts/other.txt";
    entry["perplexities"] = {entry["perplexity"], second};
    entry["tasks"]["piqa"]["items"] = 200;
    entry["tasks"]["piqa"]["items_in_data"] = 1838;
  }
  json["models"][1]["cut"] = "dropped layers 5..6 (of 12)";
  json["models"][1]["warnings"] = {"layer 5 makes <massive> activations"};
  json["models"][2]["warnings"] = {"layer 5 makes <massive> activations"};
  return json;
}

TEST(Comparison, TellsEveryTextWhatWentAndHowManyQuestions) {
  const std::string table = comparison_table(fuller_record()), csv = comparison_csv(fuller_record());
  EXPECT_THAT(table, HasSubstr("perplexity (valid.txt)"));
  EXPECT_THAT(table, HasSubstr("perplexity (other.txt)"));
  EXPECT_THAT(table, HasSubstr("33.25 ± 0.25"));
  EXPECT_THAT(table, HasSubstr("dropped layers 5..6\n"));
  EXPECT_THAT(table, HasSubstr("Questions: piqa 200 of 1838.\n"));
  EXPECT_THAT(csv, HasSubstr(",perplexity[other.txt].value"));
  EXPECT_THAT(csv, HasSubstr(",33.25"));
  EXPECT_THAT(csv, HasSubstr("dropped layers 5..6 (of 12)"));
  EXPECT_THAT(comparison_markdown(fuller_record()), HasSubstr("\nQuestions: piqa 200 of 1838."));
}

TEST(ComparisonPage, TellsWhatWentHowManyQuestionsAndTheWarningsOnce) {
  const std::string page = comparison_html(fuller_record());
  EXPECT_THAT(page, HasSubstr("half<small>dropped layers 5..6</small>"));
  EXPECT_THAT(page, HasSubstr("piqa<small>200 of 1,838 questions</small>"));
  EXPECT_THAT(page,
              HasSubstr("<b><code>half</code>, <code>bad|half</code>:</b> layer 5 makes &lt;massive&gt; activations"));
  EXPECT_THAT(page, HasSubstr("Perplexity<small>valid.txt</small>"));
}

TEST(Comparison, MarkdownEscapesItsOwnSigns) {
  const std::string markdown = comparison_markdown(record());
  EXPECT_THAT(markdown, HasSubstr("| bad\\|half |"));
  EXPECT_THAT(markdown, HasSubstr("| --- | ---: |"));
}

TEST(Comparison, CsvHasEveryNumberInFull) {
  Json json = record();
  json["models"][1]["name"] = "a \"b\", c";
  json["models"][1]["figures"]["acc"] = 0.123456789012345;
  const std::string csv = comparison_csv(json);
  EXPECT_THAT(csv, HasSubstr("\"a \"\"b\"\", c\","));
  EXPECT_THAT(csv, HasSubstr("0.123456789012345"));
  EXPECT_THAT(csv, HasSubstr("tasks.piqa.acc.value"));
  const auto commas = [&](std::size_t from) {
    return std::count(csv.begin() + static_cast<std::ptrdiff_t>(from),
                      csv.begin() + static_cast<std::ptrdiff_t>(csv.find('\n', from)), ',');
  };
  EXPECT_EQ(commas(0), commas(csv.find('\n') + 1));  // "whole" has no commas of its own
}

TEST(TaskDifferences, AreThoseOfTheChangedQuestions) {
  const Json model = record()["models"][1];
  const std::vector<report::TaskDifference> found = report::task_differences(model);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NEAR(found[0].difference, -10, 1e-9);
  EXPECT_NEAR(found[0].low, -13.5, 1e-9);
  EXPECT_NEAR(found[0].high, -2, 1e-9);
  EXPECT_TRUE(found[0].certain());
}

TEST(ComparisonPage, SaysWhichDifferencesAreMoreThanNoise) {
  Json json = record();
  json["models"][2]["against_source"] = against(3, 2, 1.0);
  const std::string page = comparison_html(json);
  EXPECT_THAT(page, HasSubstr("by more than noise (McNemar over all questions, p &lt; 0.05): <code>half</code>."));
  EXPECT_THAT(page, HasSubstr("Not told apart from the source by these questions: <code>bad|half</code>."));
  EXPECT_THAT(page, Not(HasSubstr("On the Pareto front of")));
}

TEST(ComparisonPage, CountsManyModels) {
  Json json = record();
  const Json half = json["models"][1];
  for (int i = 0; i < 20; ++i) {
    json["models"].push_back(half);
    json["models"].back()["name"] = "model " + std::to_string(i);
  }
  json["models"][2]["against_source"] = against(3, 2, 1.0);
  mark_pareto(json);
  const std::string page = comparison_html(json);
  EXPECT_THAT(page, HasSubstr("p &lt; 0.05): 21 of 22, all but <code>bad|half</code>."));
  EXPECT_THAT(page, HasSubstr("On the Pareto front of perplexity and parameters: 22 of 23, all but"));
}

TEST(ComparisonPage, EscapesWhateverTheRecordSays) {
  Json json = record();
  const std::string evil = "<script>alert(1)</script>";
  json["models"][1]["name"] = evil;
  json["models"][1]["samples"] = {{{"prompt", evil}, {"text", evil}}};
  json["models"][1]["tasks"][evil] = {{"group", evil}, {"acc", estimate(0.5, 0.1)}};
  json["models"][1]["perplexity"]["text"]["source"] = evil;
  json["models"][1]["against_source"]["score"] = evil;
  EXPECT_THAT(comparison_html(json), Not(HasSubstr("<script>alert")));
}

TEST(ComparisonPage, StandsWithoutAnyOneOfItsParts) {
  for (const char* part : {"perplexity", "tasks", "figures", "speed", "against_source", "parameters", "name"}) {
    Json json = record();
    for (Json& entry : json["models"]) entry.erase(part);
    EXPECT_THAT(comparison_html(json), HasSubstr("</html>")) << part;
    EXPECT_FALSE(comparison_table(json).empty()) << part;
  }
  EXPECT_THAT(comparison_html(Json::object()), HasSubstr("</html>"));
}

TEST(ComparisonCharts, AreThereForWhatWasMeasured) {
  const Json charts = report::comparison_charts(record());
  EXPECT_TRUE(charts.contains("quality-parameters") && charts.contains("quality-speed"));
  EXPECT_TRUE(charts.contains("differences"));
  EXPECT_EQ(charts["quality-parameters"]["data"]["front"].size(), 2U);
}

TEST(ComparisonCharts, DifferencesHaveAPanelAMeasureAndARowAModel) {
  Json json = record();
  for (std::size_t i : {1, 2})
    json["models"][i]["perplexity"]["divergence"]["log_perplexity_ratio"] = estimate(i == 1 ? 0.01 : 0.2, 0.02);
  const Json data = report::comparison_charts(json)["differences"]["data"];
  EXPECT_EQ(data["names"][1]["label"], "bad|half");
  ASSERT_EQ(data["panels"].size(), 2U);
  const Json perplexity = data["panels"][0], accuracy = data["panels"][1];
  EXPECT_EQ(perplexity["title"], "perplexity, %");
  EXPECT_EQ(accuracy["title"], "piqa, points");
  EXPECT_NEAR(perplexity["rows"][0]["value"].get<double>(), 100 * (std::exp(0.01) - 1), 1e-9);
  EXPECT_EQ(perplexity["rows"][0]["certain"], false);
  EXPECT_EQ(perplexity["rows"][1]["certain"], true);
  EXPECT_EQ(accuracy["rows"][0]["tip"]["right to wrong"], "12");
  EXPECT_NEAR(accuracy["rows"][1]["value"].get<double>(), -15, 1e-9);
}

TEST(ComparisonCharts, DifferencesFarBeyondTheOthersStandAtTheEdge) {
  Json json = record();
  json["models"].push_back(json["models"][1]);
  for (std::size_t i : {1, 2, 3})
    json["models"][i]["perplexity"]["divergence"]["log_perplexity_ratio"] = estimate(i == 2 ? 3 : 0.1, 0.01);
  const Json panel = report::comparison_charts(json)["differences"]["data"]["panels"][0];
  EXPECT_EQ(panel["rows"][0]["beyond"], 0);
  EXPECT_EQ(panel["rows"][1]["beyond"], 1);
  EXPECT_EQ(panel["rows"][1]["value"], panel["high"]);
  EXPECT_LT(panel["high"].get<double>(), 20);
  EXPECT_EQ(panel["rows"][1]["tip"]["perplexity"], "+1908.55 %");
}

// The chart of models of these sizes and perplexities, of which nothing else was measured.
Json chart_of(const std::vector<std::pair<double, double>>& models) {
  Json json = {{"models", Json::array()}};
  for (const auto& [size, perplexity] : models) {
    const std::string name = "model " + std::to_string(json["models"].size());
    json["models"].push_back({{"name", name}, {"parameters", size}, {"perplexity", estimate(perplexity, 0.5)}});
  }
  mark_pareto(json);
  return report::comparison_charts(json)["quality-parameters"];
}

TEST(ComparisonCharts, AFewThatAreFarWorseStandAtTheEdge) {
  const Json chart = chart_of({{100e6, 20}, {80e6, 25}, {60e6, 30}, {50e6, 4000}});
  const Json& rows = chart["data"]["models"];
  EXPECT_EQ(rows[2]["beyond"], false);
  EXPECT_NEAR(rows[2]["y"].get<double>(), std::log10(30), 1e-12);
  EXPECT_EQ(rows[3]["beyond"], true);
  EXPECT_EQ(rows[3]["label"], "model 3: 4000.00");
  EXPECT_EQ(rows[3]["tip"]["perplexity"], "4000.00");
  EXPECT_GT(rows[3]["y"].get<double>(), rows[2]["high"].get<double>());
  EXPECT_LT(rows[3]["y"].get<double>(), std::log10(40));
  EXPECT_EQ(chart["data"]["front"][0]["y"], rows[3]["y"]);
  for (const Json& tick : chart["signals"]["y_ticks"]) {
    const double value = std::pow(10, tick.get<double>());
    EXPECT_NEAR(value, std::round(value), 1e-6);
    EXPECT_TRUE(value > 19 && value < 32) << value;
  }
}

TEST(ComparisonCharts, WhereMostAreFarWorseTheAxisReachesThem) {
  const Json chart = chart_of({{100e6, 20}, {80e6, 3000}, {60e6, 4000}});
  for (const Json& row : chart["data"]["models"]) EXPECT_EQ(row["beyond"], false);
  EXPECT_NEAR(chart["data"]["models"][2]["y"].get<double>(), std::log10(4000), 1e-12);
}

TEST(ComparisonCharts, ModelsAtOnePlaceHaveOneLabel) {
  const Json rows = chart_of({{100e6, 20}, {80e6, 25}, {80e6, 25}, {80e6, 25}})["data"]["models"];
  EXPECT_EQ(rows[0]["label"], "model 0");
  EXPECT_EQ(rows[1]["label"], "model 1 and 2 more");
  EXPECT_EQ(rows[2]["label"], "");
  EXPECT_EQ(rows[3]["label"], "");
  EXPECT_EQ(rows[3]["tip"]["also here"], "model 1, model 2");
  EXPECT_FALSE(rows[0]["tip"].contains("also here"));
}

TEST(ComparisonCharts, OfManyModelsOnlyTheFrontHasLabels) {
  std::vector<std::pair<double, double>> models = {{100e6, 20}, {50e6, 25}};
  while (models.size() < 12) models.emplace_back(60e6 + 1e6 * static_cast<double>(models.size()), 30);
  const Json rows = chart_of(models)["data"]["models"];
  EXPECT_EQ(rows[1]["label"], "model 1");
  for (std::size_t i = 2; i < rows.size(); ++i) EXPECT_EQ(rows[i]["label"], "") << i;
  EXPECT_EQ(rows[5]["tip"]["title"], "model 5");
}

TEST(ComparisonCharts, SizesFarApartAreOnALogarithmicAxis) {
  const Json near = chart_of({{100e6, 20}, {50e6, 25}}), far = chart_of({{100e6, 20}, {5e6, 25}});
  EXPECT_TRUE(near["signals"]["x_ticks"].is_null());
  EXPECT_EQ(near["data"]["models"][0]["x"], 100e6);
  EXPECT_EQ(far["signals"]["x_logarithmic"], true);
  EXPECT_NEAR(far["data"]["models"][0]["x"].get<double>(), 8, 1e-12);
  EXPECT_EQ(far["data"]["models"][0]["tip"]["parameters"], near["data"]["models"][0]["tip"]["parameters"]);
  EXPECT_FALSE(far["signals"]["x_ticks"].empty());
}

}  // namespace
}  // namespace streamline

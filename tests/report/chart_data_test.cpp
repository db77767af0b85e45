// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/chart_data.h"

#include "tests/report/sample.h"
#include "tests/support/core/expect.h"

namespace streamline::report {
namespace {

Json rows(const Json& charts, const char* chart, const char* table) { return charts.at(chart).at("data").at(table); }

TEST(ChartData, HasEveryWindowOnce) {
  const Json windows = rows(chart_data(test::sample_report()), "windows", "windows");
  ASSERT_EQ(windows.size(), 10U);  // 4 + 3 + 2 + 1
  const Json& window = windows[5];
  EXPECT_EQ(window["start"], 1);
  EXPECT_EQ(window["length"], 2);
  EXPECT_EQ(window["end"], 2);
  EXPECT_DOUBLE_EQ(window["value"].get<double>(), 0.9);
  EXPECT_NEAR(window["distance"].get<double>(), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(window["relative_l2"].get<double>(), 0.4);
}

TEST(ChartData, MarksTheWindowsThatHoldALayerOfMassiveActivations) {
  for (const Json& window : rows(chart_data(test::sample_report()), "windows", "windows"))
    EXPECT_EQ(window["massive"], window["start"] == 0) << window;
}

TEST(ChartData, KeepsACosineOfOneOnTheLogarithmicScale) {
  Json report = test::sample_report();
  report["scores"]["cosine"][1][2] = 1.0;
  const Json charts = chart_data(report);
  EXPECT_GT(charts["windows"]["signals"]["near"].get<double>(), 0);
  EXPECT_LT(charts["windows"]["signals"]["near"].get<double>(), charts["windows"]["signals"]["far"].get<double>());
}

TEST(ChartData, ShowsTheAngularDistanceWhereItChose) {
  Json report = test::sample_report();
  report["choice"]["angular"] = "last";
  report["scores"]["angular_last"] = report["scores"]["cosine"];
  report["scores"]["angular_last"][1][3] = 0.25;
  const Json charts = chart_data(report);
  const Json window = rows(charts, "windows", "windows")[5];
  EXPECT_EQ(window["value"], 0.25);
  EXPECT_EQ(window["distance"], 0.25);
  for (const char* name : {"windows", "curve"}) {
    EXPECT_EQ(charts[name]["signals"]["measure"], "angular distance");
    EXPECT_EQ(charts[name]["signals"]["similarity"], false);
  }
}

TEST(ChartData, NamesTheChosenWindowAndTheNextBest) {
  const Json starts = rows(chart_data(test::sample_report()), "curve", "starts");
  ASSERT_EQ(starts.size(), 3U);
  EXPECT_EQ(starts[0]["role"], "other");
  EXPECT_EQ(starts[1]["role"], "chosen");
  EXPECT_EQ(starts[2]["role"], "second");
}

TEST(ChartData, NamesTheBestWindowWhenAnotherWasForced) {
  Json report = test::sample_report();
  report["choice"]["start"] = 2;
  const Json starts = rows(chart_data(report), "curve", "starts");
  EXPECT_EQ(starts[0]["role"], "other");
  EXPECT_EQ(starts[1]["role"], "best");
  EXPECT_EQ(starts[2]["role"], "chosen");
}

TEST(ChartData, MarksAllWindowsOfWholeLayersAndNoHalves) {
  Json report = test::sample_report();
  report["choice"]["start"] = 0;
  report["choice"]["cuts"] = {
      {{"start", 0}, {"count", 1}, {"half", "MLP"}}, {{"start", 1}, {"count", 1}}, {{"start", 3}, {"count", 1}}};
  const Json charts = chart_data(report);
  EXPECT_EQ(rows(charts, "windows", "chosen"), (Json{{{"start", 1}, {"length", 1}}, {{"start", 3}, {"length", 1}}}));
  EXPECT_EQ(rows(charts, "norms", "cut"), (Json{{{"from", 1}, {"to", 2}}, {{"from", 3}, {"to", 4}}}));
}

TEST(ChartData, LabelsLossesThatAreClose) {
  Json report = test::sample_report();
  Json& stage = report["healing"][0]["stages"][0];
  stage["nothing_error"] = 4.232;
  for (Json& step : stage["steps"]) step["loss"] = 4.23;
  for (Json& validation : stage["validations"]) validation["error"] = 4.232;
  const Json signals = chart_data(report)["training-0"]["signals"];
  EXPECT_GE(signals["ticks"].size(), 3U);
  for (const Json& tick : signals["ticks"]) EXPECT_TRUE(tick >= signals["low"] && tick <= signals["high"]) << tick;
}

TEST(ChartData, PlacesValidationsByTheTokensSeen) {
  const Json charts = chart_data(test::sample_report());
  const Json validations = rows(charts, "training-0", "validations");
  EXPECT_EQ(validations[0]["x"], 0);
  EXPECT_EQ(validations[1]["x"], 300);
  EXPECT_EQ(charts["training-0"]["signals"]["last"], 300);
}

TEST(ChartData, SaysWhatTheLabelsOfATrainingStandBeside) {
  Json report = test::sample_report();
  Json signals = chart_data(report)["training-0"]["signals"];
  EXPECT_EQ(signals["best_error"], 2.25);
  EXPECT_EQ(signals["nothing_error"], 4.5);
  report["healing"][0]["stages"][0].erase("nothing_error");
  report["healing"][0]["stages"][0]["best_step"] = 2;  // of which no validation is left
  signals = chart_data(report)["training-0"]["signals"];
  EXPECT_TRUE(signals["best_error"].is_null() && signals["nothing_error"].is_null());
}

TEST(ChartData, ASecondStageBeginsWhereTheFirstEnded) {
  Json report = test::sample_report();
  Json& stages = report["healing"][0]["stages"];
  Json second = stages[0];
  for (Json& step : second["steps"]) {
    step["step"] = step["step"].get<int>() + 3;
    step["tokens"] = step["tokens"].get<int>() + 300;
  }
  for (Json& validation : second["validations"]) validation["step"] = validation["step"].get<int>() + 3;
  stages.push_back(second);
  const Json charts = chart_data(report);
  EXPECT_EQ(charts["training-0"]["signals"]["first"], 0);
  EXPECT_EQ(charts["training-1"]["signals"]["first"], 300);
  EXPECT_EQ(rows(charts, "training-1", "validations")[0]["x"], 300);
  EXPECT_EQ(charts["training-1"]["signals"]["last"], 600);
}

TEST(ChartData, CountsStepsWhenTokensAreUnknown) {
  Json report = test::sample_report();
  for (Json& step : report["healing"][0]["stages"][0]["steps"]) step.erase("tokens");
  const Json charts = chart_data(report);
  EXPECT_EQ(charts["training-0"]["signals"]["unit"], "step");
  EXPECT_EQ(rows(charts, "training-0", "validations")[1]["x"], 3);
}

TEST(ChartData, ThinsALongTrainingAndKeepsItsEnd) {
  Json report = test::sample_report();
  Json steps = Json::array();
  for (int step = 1; step <= 10'000; ++step) steps.push_back({{"step", step}, {"loss", 1.0 / step}});
  report["healing"][0]["stages"][0]["steps"] = steps;
  const Json drawn = rows(chart_data(report), "training-0", "steps");
  EXPECT_LE(drawn.size(), 1201U);
  EXPECT_GE(drawn.size(), 1000U);
  EXPECT_EQ(drawn.back()["step"], 10'000);
}

TEST(ChartData, SmoothsOverAsManyStepsAsThereAre) {
  Json report = test::sample_report();
  const auto reach_of = [&](int steps) {
    Json all = Json::array();
    for (int step = 1; step <= steps; ++step) all.push_back({{"step", step}, {"loss", 1.0}});
    report["healing"][0]["stages"][0]["steps"] = all;
    return chart_data(report)["training-0"]["signals"]["reach"];
  };
  EXPECT_EQ(reach_of(19), 0);
  EXPECT_EQ(reach_of(40), 4);
  EXPECT_EQ(reach_of(1000), 12);
}

TEST(ChartData, LeavesOutWhatCannotBeDrawn) {
  Json report = test::sample_report();
  report["healing"][0]["stages"][0]["steps"][0]["loss"] = nullptr;  // how NaN is written
  report["healing"][0]["stages"][0]["steps"][1]["loss"] = 0;        // has no logarithm
  EXPECT_EQ(rows(chart_data(report), "training-0", "steps").size(), 1U);
  EXPECT_EQ(chart_data(Json::object()), Json::object());
}

}  // namespace
}  // namespace streamline::report

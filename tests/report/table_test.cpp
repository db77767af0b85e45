// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/version.h"
#include "streamline/report/report.h"
#include "tests/report/sample.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

TEST(FormatTable, NumbersStandToTheRightAndWordsToTheLeft) {
  EXPECT_EQ(format_table({{"name", "tokens"}, {"a", "5"}, {"longer", "12,345"}}),
            "name    tokens\n"
            "a            5\n"
            "longer  12,345\n");
}

TEST(FormatTable, CountsCharactersNotBytes) {
  EXPECT_EQ(format_table({{"größe", "x"}, {"a → b", "1 ± 2"}, {"c", "3"}}),
            "größe      x\n"
            "a → b  1 ± 2\n"
            "c          3\n");
}

TEST(FormatTable, TakesRowsOfDifferentLengths) {
  EXPECT_EQ(format_table({{"a", "b"}, {"only"}, {"x", "1", "2"}}),
            "a     b\n"
            "only\n"
            "x     1  2\n");
  EXPECT_EQ(format_table({}), "");
}

TEST(FormatTable, LeavesNoSpacesAtTheEndOfALine) {
  EXPECT_EQ(format_table({{"word", "longer word"}, {"a", "b"}}), "word  longer word\na     b\n");
}

TEST(ReportTable, ShowsModelsThenStages) {
  EXPECT_EQ(report_table(test::sample_report()),
            "model   layers  parameters   bytes     perplexity  prefill tokens/s  decode tokens/s\n"
            "source       4          4M  8.0 MB   29.45 ± 0.21              1841             41.7\n"
            "cut          2          2M  4.0 MB  184.71 ± 1.72                 -                -\n"
            "healed       3          3M  6.0 MB   53.17 ± 0.41              2204             49.6\n"
            "Perplexity ± one standard error, on valid.txt: 32704 tokens scored in windows of 512, stride 512.\n"
            "\n"
            "stage  seconds  peak memory\n"
            "score     14.2     612.0 MB\n"
            "heal      65.2       1.9 GB\n");
}

TEST(ReportTable, LeavesOutWhatNoModelWasMeasuredFor) {
  Json report = test::sample_report();
  report["stages"] = nullptr;
  for (Json& model : report["models"]) model.erase("prefill_tokens_per_second"), model["perplexity"] = nullptr;
  report["models"].erase(1);
  EXPECT_EQ(report_table(report),
            "model   layers  parameters   bytes  decode tokens/s\n"
            "source       4          4M  8.0 MB             41.7\n"
            "healed       3          3M  6.0 MB             49.6\n");
}

TEST(ReportTable, OneWindowHasNoError) {
  Json report = test::sample_report();
  for (Json& model : report["models"]) model["perplexity"]["standard_error"] = nullptr;
  report["evaluation"]["bos"] = true;
  const std::string table = report_table(report);
  EXPECT_THAT(table, testing::Not(testing::HasSubstr("±")));
  EXPECT_THAT(table,
              testing::HasSubstr("\nPerplexity, on valid.txt: 32704 tokens scored in windows of 512, stride 512, "
                                 "with BOS.\n"));
}

TEST(ReportTable, IsEmptyWithoutModelsAndStages) { EXPECT_EQ(report_table(Json::object()), ""); }

TEST(RunRecord, SaysHowToRunItAgain) {
  const Json run = run_record({"streamline", "score"}, 7);
  EXPECT_EQ(run["command"], Json({"streamline", "score"}));
  EXPECT_EQ(run["seed"], 7);
  EXPECT_EQ(run["version"], program_version());
  EXPECT_THAT(run["date"].get<std::string>(), testing::MatchesRegex("....-..-..T..:..:..Z"));
}

}  // namespace
}  // namespace streamline

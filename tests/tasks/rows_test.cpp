// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/rows.h"

#include "streamline/base/file.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

class Rows : public testing::Test {
 protected:
  std::vector<Row> read(const std::string& name, const std::string& text, bool header = true) {
    const auto path = folder_.path() / name;
    write_text(path, text);
    std::vector<Row> rows = read_rows(path, row_format_of(path), header);
    for (Row& row : rows) row.where = row.where.substr(folder_.path().string().size() + 1);
    return rows;
  }
  test::TemporaryDirectory folder_;
};

TEST_F(Rows, AreTheLinesOfJsonLines) {
  const auto rows = read("a.jsonl", "{\"a\": 1}\n\n[2]\r\n{\"a\": \n{\"a\": 3}");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].value, Json({{"a", 1}}));
  EXPECT_EQ(rows[1].value, Json::array({2}));
  EXPECT_EQ(rows[1].where, "a.jsonl:3");
  EXPECT_EQ(rows[2].where, "a.jsonl:4");
  EXPECT_THAT(rows[2].problem, testing::StartsWith("not valid JSON"));
  EXPECT_EQ(rows[3].value["a"], 3);
}

TEST_F(Rows, AreNoBareNumbersOrBrokenUtf8) {
  const auto rows = read("a.jsonl", "7\n{\"a\": \"\xff\"}\n");
  EXPECT_THAT(rows[0].problem, testing::HasSubstr("not a JSON object"));
  EXPECT_THAT(rows[1].problem, testing::HasSubstr("invalid"));
}

TEST_F(Rows, AreTheElementsOfAJsonList) {
  const auto rows = read("a.json", "[[1, 2], {\"b\": 3}]");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].value, Json({1, 2}));
  EXPECT_EQ(rows[1].where, "a.json: element 1");
  EXPECT_EQ(read("b.json", "{\"a\": [1]}").size(), 1U);
  EXPECT_ERROR(read("c.json", "[1,"), format, "c.json: not valid JSON");
}

TEST_F(Rows, AreCellsByTheNamesOfTheFirstRow) {
  const auto rows = read("a.csv", "\xEF\xBB\xBFid,text\n1,\" a, \"\"b\"\"\nc \"\n2, d \n");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].value, Json({{"id", "1"}, {"text", " a, \"b\"\nc "}}));
  EXPECT_EQ(rows[1].value["text"], " d ");
  EXPECT_EQ(rows[0].where, "a.csv:2");
  EXPECT_EQ(rows[1].where, "a.csv:4");
}

TEST_F(Rows, AreListsOfCellsWithoutAHeader) {
  const auto rows = read("a.csv", "1,\r\n\r\n,x\r\n", false);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].value, Json({"1", ""}));
  EXPECT_EQ(rows[1].value, Json({"", "x"}));
  EXPECT_EQ(rows[1].where, "a.csv:3");
}

TEST_F(Rows, OfTabsHaveNoQuotes) {
  const auto rows = read("a.tsv", "sentence\tlabel\n\"so \t1\r\nx\t0\n");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].value, Json({{"sentence", "\"so "}, {"label", "1"}}));
}

TEST_F(Rows, ThatAreBrokenSaySo) {
  const auto rows = read("a.csv", "a,b\n1,2,3\n\"x\"y,2\n5,\xff\n3,4\n");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_THAT(rows[0].problem, testing::HasSubstr("3 cells; the first row has 2"));
  EXPECT_THAT(rows[1].problem, testing::HasSubstr("not a row"));
  EXPECT_EQ(rows[1].where, "a.csv:3");
  EXPECT_THAT(rows[2].problem, testing::HasSubstr("UTF-8"));
  EXPECT_EQ(rows[3].value["b"], "4");
  const auto open = read("b.csv", "a,b\n1,2\n\"x,2\n3,4\n");
  ASSERT_EQ(open.size(), 2U);
  EXPECT_EQ(open[1].where, "b.csv:3");
  EXPECT_THAT(open[1].problem, testing::HasSubstr("not a row"));
  EXPECT_ERROR(read("c.csv", ""), format, "there is no row of column names");
}

TEST_F(Rows, HaveAFormatByTheNameOfTheFile) {
  EXPECT_EQ(row_format_of("a/b.jsonl.gz"), RowFormat::json_lines);
  EXPECT_ERROR(row_format_of("a.parquet"), unsupported, "a.parquet: ends neither in .jsonl");
  EXPECT_EQ(row_format_named("tsv", "t"), RowFormat::tsv);
  EXPECT_ERROR(row_format_named("xml", "t.yaml"), format, "t.yaml: no format 'xml' (jsonl, json, csv, tsv)");
}

}  // namespace
}  // namespace streamline

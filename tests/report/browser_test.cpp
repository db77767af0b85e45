// SPDX-License-Identifier: Apache-2.0
// The page in a real browser, where there is one: the charts are drawn, and nothing goes wrong.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <regex>

#include "streamline/base/file.h"
#include "streamline/report/comparison.h"
#include "streamline/report/report.h"
#include "tests/report/sample.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  char buffer[65536];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, got);
  ::pclose(pipe);
  return out;
}

// The path of a browser that can run without a window; empty when there is none.
std::string browser() {
  const std::string found = output_of("command -v chromium chromium-browser google-chrome 2>/dev/null | head -n 1");
  return found.substr(0, found.find('\n'));
}

class ReportInBrowser : public testing::Test {
 protected:
  void SetUp() override {
    program_ = browser();
    if (program_.empty()) GTEST_SKIP() << "no chromium on this machine";
    folder_ = std::filesystem::path(testing::TempDir()) / ("streamline-page-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  // The document after its scripts ran, followed by what the browser logged.
  std::string open(const Json& report) { return open_page(report_html(report)); }
  std::string open_page(const std::string& html) {
    write_text(folder_ / "report.html", html);
    const std::string quiet =
        " --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --virtual-time-budget=5000 --enable-logging=stderr";
    return output_of("timeout 60 '" + program_ + "'" + quiet + " '--user-data-dir=" + (folder_ / "profile").string() +
                     "' --dump-dom 'file://" + (folder_ / "report.html").string() + "' 2>&1");
  }

  std::string program_;
  std::filesystem::path folder_;
};

std::size_t count(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  return static_cast<std::size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), expression), std::sregex_iterator()));
}

TEST_F(ReportInBrowser, DrawsEveryChart) {
  const std::string page = open(test::sample_report());
  if (page.find("</html>") == std::string::npos) GTEST_SKIP() << program_ << " does not run here";
  EXPECT_EQ(count(page, "<svg "), 4U);
  EXPECT_THAT(page, Not(HasSubstr("class=\"chart failed\"")));
  EXPECT_THAT(page, Not(HasSubstr("CONSOLE"))) << "the browser logged a message";
}

// How far down its chart a label stands whose text begins so.
double height_of(const std::string& page, const std::string& label) {
  std::smatch found;
  if (!std::regex_search(page, found, std::regex("translate\\([^,]*,([0-9.]+)\\)\"[^>]*>" + label))) return 0;
  return std::stod(found[1]);
}

// Once with room below the best point, once at the foot of the chart.
TEST_F(ReportInBrowser, KeepsTheLabelsOfTheTrainingChartApart) {
  for (const double last_loss : {1.5, 2.5}) {
    Json report = test::sample_report();
    Json& stage = report["healing"][0]["stages"][0];
    stage["nothing_error"] = 2.3;
    stage["steps"][2]["loss"] = last_loss;
    const std::string page = open(report);
    if (page.find("</html>") == std::string::npos) GTEST_SKIP() << program_ << " does not run here";
    const double best = height_of(page, "best 2.25"), nothing = height_of(page, "nothing in its place: 2.3");
    EXPECT_GT(std::min(best, nothing), 0) << "a label is missing";
    EXPECT_GT(std::abs(best - nothing), 12) << best << " and " << nothing;
  }
}

// Three of four models at one place, which has one name.
TEST_F(ReportInBrowser, DrawsTheChartsOfAComparisonWithLabelsApart) {
  Json record = {{"models", Json::array()}};
  for (const char* name : {"a-long-name-1", "a-long-name-2", "a-long-name-3", "far"}) {
    const bool far = name == std::string("far");
    record["models"].push_back({{"name", name},
                                {"parameters", far ? 50e6 : 100e6},
                                {"perplexity", {{"value", far ? 30.0 : 20.0}, {"standard_error", 4.0}}}});
    record["models"].back()["perplexity"]["divergence"]["log_perplexity_ratio"] = {{"value", 0.25},
                                                                                   {"standard_error", 0.1}};
  }
  mark_pareto(record);
  const std::string page = open_page(comparison_html(record));
  if (page.find("</html>") == std::string::npos) GTEST_SKIP() << program_ << " does not run here";
  EXPECT_EQ(count(page, "<svg "), 2U);
  EXPECT_THAT(page, Not(HasSubstr("class=\"chart failed\"")));
  EXPECT_THAT(page, Not(HasSubstr("CONSOLE"))) << "the browser logged a message";
  EXPECT_EQ(count(page, ">far</text>"), 2U) << "beside its point, and before its row of differences";
  EXPECT_THAT(page, HasSubstr(">a-long-name-1 and 2 more</text>"));
  EXPECT_THAT(page, HasSubstr(">perplexity, %</text>"));
}

TEST_F(ReportInBrowser, TreatsTheReportAsTextOnly) {
  Json report = test::sample_report();
  const std::string evil = "</script></title></pre><img src=x onerror=\"document.body.id='broken'\">";
  report["warnings"] = {evil};
  report["source"]["path"] = evil;
  report["healing"][0]["stages"][0]["steps"][0]["note"] = evil;
  const std::string page = open(report);
  if (page.find("</html>") == std::string::npos) GTEST_SKIP() << program_ << " does not run here";
  EXPECT_THAT(page, Not(HasSubstr("<body id=")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_EQ(count(page, "<svg "), 4U);
}

}  // namespace
}  // namespace streamline

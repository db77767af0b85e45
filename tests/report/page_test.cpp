// SPDX-License-Identifier: Apache-2.0
#include <regex>
#include <set>

#include "streamline/report/assets.h"
#include "streamline/report/html.h"
#include "streamline/report/report.h"
#include "tests/report/sample.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using testing::HasSubstr;
using testing::Not;

// The page without the content of its script and style elements.
std::string markup_of(const std::string& page) {
  std::string out;
  std::size_t at = 0;
  for (;;) {
    const std::size_t script = page.find("<script", at), style = page.find("<style", at);
    const std::size_t open = std::min(script, style);
    if (open == std::string::npos) return out + page.substr(at);
    const std::size_t body = page.find('>', open) + 1;
    out += page.substr(at, body - at);
    at = page.find(script < style ? "</script>" : "</style>", body);
  }
}

// Empty when every element is closed in order; else what is wrong.
std::string nesting_error(const std::string& markup) {
  static const std::set<std::string> kVoid = {"meta", "br"};
  static const std::regex kTag("<(/?)([a-z0-9]+)((?:\\s+[a-z-]+(?:=\"[^\"<>]*\")?)*)>");
  std::vector<std::string> open;
  std::size_t tags = 0;
  for (std::sregex_iterator tag(markup.begin(), markup.end(), kTag), end; tag != end; ++tag, ++tags) {
    const std::string name = (*tag)[2];
    if (kVoid.contains(name)) continue;
    if ((*tag)[1].length() == 0) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
    } else {
      open.pop_back();
    }
  }
  const auto brackets = static_cast<std::size_t>(std::count(markup.begin(), markup.end(), '<'));
  if (brackets != tags + 1) return "a '<' that begins no tag";  // one is <!DOCTYPE html>
  return open.empty() ? "" : open.back() + " is not closed";
}

TEST(ReportPage, SaysInOneSentenceWhatWasDoneAndWhatItCost) {
  const std::string text = std::regex_replace(report_html(test::sample_report()), std::regex("<[^>]*>"), "");
  EXPECT_THAT(text, HasSubstr("Replaced layers 1..2 of 4 by one trained layer: 4M → 3M parameters, "
                              "perplexity 29.45 → 184.71 → 53.17"));
}

TEST(ReportPage, SaysRemovedWhenNothingWasTrained) {
  Json report = test::sample_report();
  report["healing"] = nullptr;
  report["models"].erase(2);
  const std::string text = std::regex_replace(report_html(report), std::regex("<[^>]*>"), "");
  EXPECT_THAT(text, HasSubstr("Removed layers 1..2 of 4: 4M → 2M parameters, perplexity 29.45 → 184.71"));
}

TEST(ReportPage, ShowsEveryPart) {
  const std::string page = report_html(test::sample_report());
  for (const char* part :
       {"29.45 ± 0.21", "layer 0 makes massive activations", "Every window of layers", "Windows of 2 layers",
        "Hidden states, layer by layer", "Training the replacement", "1 m 05 s", "1.9 GB", "5f1d", "9a0c",
        "three ordinary layers", "&#39;two words.txt&#39;", "in windows of 512, stride 512"})
    EXPECT_THAT(page, HasSubstr(part));
}

TEST(ReportPage, ShowsWhatEachPartIsWorth) {
  Json report = test::sample_report();
  EXPECT_THAT(report_html(report), Not(HasSubstr("What each part is worth")));
  report["choice"]["estimates"] = {{"measure", "loss"},
                                   {"units",
                                    {{{"unit", "A3"}, {"value", 0.25}, {"standard_error", 0.5}},
                                     {{"unit", "<M>"}, {"value", -1.5}},
                                     {{"unit", 1}}}}};
  const std::string page = report_html(report);
  for (const char* part : {"What each part is worth", "A3", "0.2500 ± 0.50", "&lt;M&gt;"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_EQ(nesting_error(markup_of(page)), "");
}

// A run that leaves the layers as they are: nothing was cut, and no speed was measured.
Json report_of_all_layers(const char* name, const char* summary) {
  Json report = test::sample_report();
  for (const char* part : {"choice", "scores", "stages", "warnings"}) report.erase(part);
  report["summary"] = summary;
  report["models"].erase(1);
  report["models"][1]["name"] = name;
  for (Json& model : report["models"]) {
    model["parameters"] = 4000000;
    model.erase("prefill_tokens_per_second");
    model.erase("decode_tokens_per_second");
  }
  return report;
}

TEST(ReportPage, SaysWhatWasTrainedInAllLayers) {
  Json report = report_of_all_layers("healed", "trained adapters (lora) of rank 8 in all layers");
  report["healing"][0]["replacement"] = "adapters";
  report["models"][0]["name"] = "before";
  report["training"] = {{"source", "books.txt"}, {"tokens", 20000}, {"digest", "77ab"}};
  const std::string page = report_html(report);
  EXPECT_THAT(std::regex_replace(page, std::regex("<[^>]*>"), ""),
              HasSubstr("Trained adapters (lora) of rank 8 in all layers: perplexity 29.45 → 53.17"));
  for (const char* part : {"Held-out loss 4.500 before the training, 2.250 at best", "29.45 ± 0.21", "53.17 ± 0.41",
                           "books.txt", "77ab", "\"nothing_title\":\"the model before\""})
    EXPECT_THAT(page, HasSubstr(part));
  const std::string markup = markup_of(page);
  for (const char* part : {"tokens/s", "layers' place", "Training the replacement", "<h3>Parameters</h3>"})
    EXPECT_THAT(markup, Not(HasSubstr(part)));
  EXPECT_EQ(nesting_error(markup), "");
}

TEST(ReportPage, ShowsZerosByLayerAndMatrix) {
  Json report = report_of_all_layers("sparse", "50.0 % of the weights are zero");
  report.erase("healing");
  report["layers"] = {{{"layer", 0}, {"zeros", 0.25}}, {{"layer", 1}, {"zeros", 0.75}}};
  report["matrices"] = {{{"layer", 0}, {"matrix", "q"}, {"weights", 8}, {"zeros", 1}},
                        {{"layer", 1}, {"matrix", "<down>"}, {"weights", 8}, {"zeros", 7}}};
  const std::string page = report_html(report);
  for (const char* part : {"50.0 % of the weights are zero", "Zeros by layer", "25.00 %", "75.00 %", "12.50 %",
                           "87.50 %", "&lt;down&gt;", "53.17 ± 0.41"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(page, Not(HasSubstr("Exponent")));
  report["allocation"] = {{"by", "alpha"}, {"exponents", {3.25, 4.5}}};
  for (const char* part : {"Exponent (alpha)", "3.250", "4.500"}) EXPECT_THAT(report_html(report), HasSubstr(part));
  EXPECT_EQ(nesting_error(markup_of(report_html(report))), "");
}

// All four layers stay; 0 and 2 with half of their heads, 2 with a quarter of its channels.
Json report_of_widths() {
  Json report = test::sample_report();
  for (const char* part : {"healing", "warnings", "scores"}) report.erase(part);
  report["choice"] = {
      {"method", "flap"},
      {"summary", "sliced layers 0, 2: without …"},
      {"slices",
       {{{"layer", 0}, {"kv_heads", {{"kept", 1}, {"of", 2}}}},
        {{"layer", 2}, {"kv_heads", {{"kept", 1}, {"of", 2}}}, {"channels", {{"kept", 2}, {"of", 8}}}}}}};
  report["models"].erase(2);
  report["models"][1]["padding"] = 500000;
  return report;
}

TEST(ReportPage, DrawsWhatStaysOfEachLayer) {
  const std::string page = report_html(report_of_widths());
  for (const char* part :
       {"Kept 2 of 4 heads for keys and values in 2 layers and 2 of 8 channels in 1 layer",
        "title=\"layer 2, 1 of 2 heads for keys and values, 2 of 8 channels\"><i style=\"--kept:50.0%\"></i><i "
        "style=\"--kept:25.0%\"></i>",
        "title=\"layer 1, kept\"", "<h3>Padding</h3><p class=\"big\">25.0 %</p>", "500K of 2M parameters are zeros"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(page, Not(HasSubstr("sliced layers")));
  EXPECT_EQ(nesting_error(markup_of(page)), "");
  EXPECT_THAT(report_html(test::sample_report()), Not(HasSubstr("<h3>Padding</h3>")));
}

TEST(ReportPage, OfWidthsAndDroppedHalvesTheSummaryTells) {
  Json report = report_of_widths();
  report["choice"].update({{"start", 2}, {"cut", 1}, {"cuts", {{{"start", 2}, {"count", 1}, {"half", "attention"}}}}});
  report["choice"]["slices"][1].erase("kv_heads");
  const std::string page = report_html(report);
  EXPECT_THAT(page, HasSubstr("Sliced layers 0, "));
  EXPECT_THAT(page, HasSubstr("title=\"layer 2, without attention, 2 of 8 channels\"><i style=\"--kept:0.0%\"></i>"));
  EXPECT_EQ(nesting_error(markup_of(page)), "");
}

// The page of a report in which the second model is held against the first so.
std::string page_of_ratio(const Json& value, const Json& standard_error, std::int64_t windows) {
  Json report = report_of_all_layers("healed", "trained");
  report["models"][1]["perplexity"].update(
      {{"windows", windows}, {"log_perplexity_ratio", {{"value", value}, {"standard_error", standard_error}}}});
  return report_html(report);
}

TEST(ReportPage, HoldsTheChangeOfPerplexityAgainstThePairedError) {
  EXPECT_THAT(page_of_ratio(-0.005, 0.004, 8), HasSubstr("−0.5 ± 0.4 % window by window, <b>within the error</b>"));
  EXPECT_THAT(page_of_ratio(-0.005, 0.0004, 8), HasSubstr("−0.50 ± 0.04 % window by window<"));
  EXPECT_THAT(page_of_ratio(-0.005, 0.004, 7), HasSubstr("window by window, too few of them to tell"));
  EXPECT_THAT(page_of_ratio(-0.005, nullptr, 1), Not(HasSubstr("window by window")));
  EXPECT_THAT(page_of_ratio(0.8, 0.01, 8), Not(HasSubstr("window by window")));
  EXPECT_THAT(report_html(report_of_all_layers("healed", "trained")), Not(HasSubstr("window by window")));
}

TEST(ReportPage, LeavesOutAShareThatIsAll) {
  Json report = test::sample_report();
  Json& stage = report["healing"][0]["stages"][0];
  EXPECT_THAT(report_html(report), HasSubstr("2.250 at best (step 3): 50.0 % of it."));
  stage["nothing_error"] = 4.251;
  stage["best_error"] = 4.25;
  EXPECT_THAT(report_html(report), HasSubstr("4.250 at best (step 3). "));
}

TEST(ReportPage, IsWellFormed) { EXPECT_EQ(nesting_error(markup_of(report_html(test::sample_report()))), ""); }

TEST(ReportPage, LoadsNothing) {
  const std::string page = report_html(test::sample_report());
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  const std::string markup = markup_of(page);
  EXPECT_THAT(markup, Not(HasSubstr("://")));
  EXPECT_THAT(markup, Not(HasSubstr(" src=")));
  EXPECT_THAT(markup, Not(HasSubstr("<link")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
  EXPECT_THAT(page, Not(HasSubstr("sourceMappingURL")));
  static const std::regex kAddress("https?://[a-z0-9.]+");
  for (std::sregex_iterator found(page.begin(), page.end(), kAddress), end; found != end; ++found)
    EXPECT_EQ(found->str(), "http://www.w3.org") << "only XML namespaces may look like addresses";
}

TEST(ReportPage, OneIsSingular) {
  Json report = test::sample_report();
  report["run"]["threads"] = 1;
  report["calibration"]["documents"] = 1;
  const std::string page = report_html(report);
  EXPECT_THAT(page, HasSubstr("1 thread ·"));
  EXPECT_THAT(page, HasSubstr("1 document<"));
}

TEST(ReportPage, EscapesWhateverTheReportSays) {
  const std::string evil = "</script><img onerror='x'>&\"\x01";
  Json report = test::sample_report();
  report["warnings"] = {evil};
  report["run"]["command"] = {"streamline", evil};
  report["source"]["path"] = evil;
  report["source"]["family"] = evil;
  report["choice"]["method"] = evil;
  report["choice"]["protect"] = {evil};
  report["healing"][0]["replacement"] = evil;
  report["healing"][0]["stages"][0]["steps"][0]["note"] = evil;
  report["evaluation"]["bos"] = evil;
  report["models"][0]["name"] = evil;
  report["stages"][0]["name"] = evil;
  const std::string page = report_html(report);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;img onerror=&#39;x&#39;&gt;&amp;&quot;\uFFFD"));
  EXPECT_EQ(nesting_error(markup_of(page)), "");
}

TEST(ReportPage, StandsWithoutAnyOneOfItsParts) {
  const Json whole = test::sample_report();
  for (const auto& [key, value] : whole.items()) {
    Json report = whole;
    report.erase(key);
    EXPECT_EQ(nesting_error(markup_of(report_html(report))), "") << "without " << key;
    for (const Json& other : {Json(nullptr), Json("text"), Json(-1), Json::array({1}), Json::object()}) {
      report[key] = other;
      EXPECT_EQ(nesting_error(markup_of(report_html(report))), "") << key << " = " << other;
    }
  }
  const std::string page = report_html(Json::object());
  EXPECT_EQ(nesting_error(markup_of(page)), "");
  EXPECT_THAT(page, Not(HasSubstr("<script"))) << "no charts, no Vega";
}

TEST(ReportPage, TellsOfAReplacementThatWasRefused) {
  Json report = test::sample_report();
  report["healing"][0]["refused"] = true;
  const std::string page = report_html(report);
  EXPECT_THAT(page, HasSubstr("worse than nothing in its place"));
  EXPECT_THAT(page, HasSubstr("Removed layers"));
}

TEST(ReportPage, WarnsOfMassiveActivationsInTheChosenWindowOnce) {
  Json report = test::sample_report();
  report["choice"]["start"] = 0;
  EXPECT_THAT(report_html(report), Not(HasSubstr("the chosen window contains"))) << "the report's own warning says it";
  report["warnings"] = Json::array();
  EXPECT_THAT(report_html(report), HasSubstr("the chosen window contains a layer that makes massive activations"));
  report["choice"]["start"] = 1;
  EXPECT_THAT(report_html(report), Not(HasSubstr("the chosen window contains")));
}

// Of four layers the attention of 0 went, and all of 2 and 3.
Json report_of_halves() {
  Json report = test::sample_report();
  for (const char* part : {"healing", "warnings"}) report.erase(part);
  report["choice"] = {{"method", "blockpruner"},
                      {"start", 0},
                      {"cut", 1},
                      {"cuts", {{{"start", 0}, {"count", 1}, {"half", "attention"}}, {{"start", 2}, {"count", 2}}}},
                      {"summary", "dropped layers 2..3; dropped the attention of layer 0 (of 4)"}};
  return report;
}

TEST(ReportPage, TellsHalvesFromWholeLayers) {
  const std::string page = report_html(report_of_halves());
  for (const char* part : {"<i class=\"gone\"></i>removed: 2..3", "<i class=\"half upper\"></i>without attention: 0",
                           "title=\"layer 0, without attention\"", "title=\"layer 1, kept\"",
                           "title=\"layer 3, removed\"", "chosen: layers 2..3<"})
    EXPECT_THAT(page, HasSubstr(part));
  // Layer 0 makes massive activations, and still does.
  EXPECT_THAT(page, Not(HasSubstr("the chosen window contains")));
  EXPECT_EQ(nesting_error(markup_of(page)), "");
}

TEST(ReportPage, SaysByWhatWindowsWereChosen) {
  Json report = test::sample_report();
  report["choice"]["angular"] = "last";
  report["scores"]["angular_last"] = report["scores"]["cosine"];
  report["scores"]["angular_last"][1][3] = 0.25;
  const std::string page = report_html(report);
  for (const char* part : {"Chosen: 1..2, angular distance 0.2500, 0.2000 below the next best",
                           "The angular distance between the hidden state that enters a window and the one that leaves "
                           "it, of each sequence's last token. Near 0",
                           ">Angular distance<"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(report_html(test::sample_report()), HasSubstr("Chosen: 1..2, cosine 0.9000, 0.2000 above the next best"));
}

TEST(ReportPage, NamesASingleLayerAsOne) {
  Json report = report_of_halves();
  report["choice"]["cuts"][1]["count"] = 1;
  const std::string page = report_html(report);
  EXPECT_THAT(page, HasSubstr("chosen: layer 2<"));
  EXPECT_THAT(page, HasSubstr("; chosen: layer 2\""));
  report["choice"]["cuts"] = {{{"start", 0}, {"count", 1}}, {{"start", 2}, {"count", 1}}};
  EXPECT_THAT(report_html(report), HasSubstr("chosen: layers 0 and 2<"));
}

TEST(ReportPage, SaysThatAConstantReplacesASingleLayer) {
  Json report = test::sample_report();
  report["choice"]["cut"] = 1;
  report["healing"][0]["replacement"] = "mean";
  const std::string text = std::regex_replace(report_html(report), std::regex("<[^>]*>"), "");
  EXPECT_THAT(text, HasSubstr("Replaced layer 1 of 4 by a constant"));
}

TEST(ReportPage, IgnoresAWindowThatDoesNotFitTheModel) {
  Json report = test::sample_report();
  report["choice"]["start"] = 3;  // 3..4 of 4 layers
  EXPECT_THAT(report_html(report), Not(HasSubstr("3..4")));
}

TEST(ReportPage, EveryChartSpecificationIsJson) {
  int charts = 0;
  for (const report::Asset& asset : report::assets())
    if (asset.name.starts_with("charts/")) {
      EXPECT_TRUE(parse_json(asset.text, asset.name).contains("marks")) << asset.name;
      ++charts;
    }
  EXPECT_EQ(charts, 8);
}

TEST(ScriptJson, CannotEndItsElement) {
  const std::string text = report::script_json({{"a", "</script>"}});
  EXPECT_THAT(text, Not(HasSubstr("<")));
  EXPECT_EQ(parse_json(text, "script")["a"], "</script>");
}

}  // namespace
}  // namespace streamline

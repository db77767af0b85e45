// SPDX-License-Identifier: Apache-2.0
// The page of `streamline spectra`: exponents by layer and matrix, and what each layer would lose.
#include "streamline/base/version.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/page.h"
#include "streamline/report/report.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::elements, report::number, report::text;

std::string as_cell(const Json& row, const char* pointer, int digits) {
  const auto value = number(row, pointer);
  return value ? fixed(*value, digits) : "–";
}

Json spectra_chart(const Json& record) {
  Json matrices = Json::array(), layers = Json::array();
  for (const Json& row : elements(record, "/matrices"))
    matrices.push_back({{"layer", row.value("layer", 0)},
                        {"matrix", text(row, "/matrix").value_or("")},
                        {"alpha", number(row, "/alpha").value_or(0)}});
  for (const Json& row : elements(record, "/layers"))
    layers.push_back({{"layer", row.value("layer", 0)},
                      {"alpha", number(row, "/alpha").value_or(0)},
                      {"ratio", number(row, "/ratio").value_or(0)}});
  return {{"data", {{"matrices", matrices}, {"layers", layers}}}, {"signals", {{"count", layers.size()}}}};
}

}  // namespace

std::string spectra_html(const Json& record) {
  std::string path = text(record, "/model/path").value_or("model");
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string model = path.substr(path.find_last_of('/') + 1);
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : elements(record, "/layers"))
    rows.push_back({as_cell(row, "/layer", 0), as_cell(row, "/alpha", 3), as_cell(row, "/ratio", 4)});
  const std::string figure = report::element(
      "figure", "",
      report::element("div",
                      "class=\"chart\" data-chart=\"spectra\" role=\"img\" aria-label=\"Exponents of the spectra and "
                      "ratios by layer\"",
                      "") +
          "<noscript><p>The chart needs JavaScript; the table has the same numbers.</p></noscript>");
  const std::string layers = report::section(
      "Layers",
      "Points: the exponent of each matrix's spectrum; the line is the mean of a layer. A large exponent is a light "
      "tail: AlphaPruning (arXiv 2410.10912) takes more of such layers. Bars: what each would lose, all together " +
          report::escaped(as_cell(record, "/ratio", 4)) + ".",
      figure + report::html_table({"layer", "mean alpha", "share that goes"}, rows, "Layers"));
  const std::string body =
      report::element("header", "", report::element("h1", "", "Spectra of " + report::escaped(model))) + "\n<main>\n" +
      layers + report::provenance_section(record) + "</main>\n" +
      report::element("footer", "",
                      "Made by streamline " + report::escaped(program_version()) +
                          ". This page is self-contained: it loads nothing.");
  return report::page_html("Spectra of " + model, body, {{"spectra", spectra_chart(record)}});
}

}  // namespace streamline

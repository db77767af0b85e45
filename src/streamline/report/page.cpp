// SPDX-License-Identifier: Apache-2.0
// Puts the page together: the template page/page.html, the sections, and, when there are charts, Vega and their data.
#include "streamline/base/error.h"
#include "streamline/report/assets.h"
#include "streamline/report/chart_data.h"
#include "streamline/report/html.h"
#include "streamline/report/report.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::element;

std::string_view asset(std::string_view name) {
  for (const report::Asset& asset : report::assets())
    if (asset.name == name) return asset.text;
  fail(ErrorKind::internal, "the report's file ", name, " is not in this program");
}

// Replaces the first occurrence; the slots of page.html occur once, and what was put in is not searched again.
std::size_t fill(std::string& page, std::string_view slot, std::string_view markup, std::size_t from) {
  const std::size_t at = page.find(slot, from);
  SL_ASSERT(at != std::string::npos);
  page.replace(at, slot.size(), markup);
  return at + markup.size();
}

std::string pair(const std::string& left, const std::string& right) {
  return left.empty() || right.empty() ? left + right : element("div", "class=\"pair\"", left + right);
}

std::string body(const Json& record) {
  return element("header", "",
                 report::headline(record) + report::notices(record) + report::layer_strip(record) +
                     report::key_figures(record)) +
         "\n<main>\n" + report::models_section(record) +
         pair(report::windows_section(record), report::curve_section(record)) + report::norms_section(record) +
         report::candidates_section(record) + report::training_section(record) +
         pair(report::provenance_section(record), report::stages_section(record)) + "</main>\n" +
         element("footer", "",
                 "Made by streamline " + report::escaped(version()) +
                     ". This page is self-contained: it loads nothing, and its numbers are those of report.json.");
}

// Of charts "training-0", "training-1" …: charts/training.json.
std::string specification(const std::string& chart) { return "charts/" + chart.substr(0, chart.find('-')) + ".json"; }

std::string scripts(const Json& charts) {
  if (charts.empty()) return "";
  Json specs = Json::object();
  for (const auto& [name, chart] : charts.items())
    specs[name] = parse_json(asset(specification(name)), specification(name));
  return element("script", "type=\"application/json\" id=\"report-charts\"",
                 report::script_json({{"charts", charts}, {"specs", specs}})) +
         "\n<script>\n" + std::string(asset("page/vega_licence.js")) + std::string(asset("page/vega_modules.js")) +
         std::string(asset("vega.js")) + "</script>\n" +
         element("script", "", "\n" + std::string(asset("page/page.js")));
}

}  // namespace

std::string report_html(const Json& record) {
  std::string page(asset("page/page.html"));
  std::size_t at = fill(page, "{{title}}", report::escaped(report::model_name(record) + ": streamline report"), 0);
  at = fill(page, "{{style}}", asset("page/page.css"), at);
  at = fill(page, "{{body}}", body(record), at);
  fill(page, "{{scripts}}", scripts(report::chart_data(record)), at);
  return page;
}

}  // namespace streamline

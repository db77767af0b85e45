// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/page.h"

#include "streamline/base/error.h"
#include "streamline/report/assets.h"
#include "streamline/report/html.h"

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

namespace report {

std::string page_html(const std::string& title, const std::string& body, const Json& charts) {
  std::string page(asset("page/page.html"));
  std::size_t at = fill(page, "{{title}}", escaped(title), 0);
  at = fill(page, "{{style}}", asset("page/page.css"), at);
  at = fill(page, "{{body}}", body, at);
  fill(page, "{{scripts}}", scripts(charts), at);
  return page;
}

}  // namespace report
}  // namespace streamline

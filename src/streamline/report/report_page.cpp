// SPDX-License-Identifier: Apache-2.0
// The report of a run that made a model as a page: which sections there are, and in which order.
#include "streamline/base/version.h"
#include "streamline/report/chart_data.h"
#include "streamline/report/html.h"
#include "streamline/report/page.h"
#include "streamline/report/report.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::element;

std::string pair(const std::string& left, const std::string& right) {
  return left.empty() || right.empty() ? left + right : element("div", "class=\"pair\"", left + right);
}

std::string body(const Json& record) {
  return element("header", "",
                 report::headline(record) + report::notices(record) + report::layer_strip(record) +
                     report::key_figures(record)) +
         "\n<main>\n" + report::models_section(record) +
         pair(report::windows_section(record), report::curve_section(record)) + report::norms_section(record) +
         report::estimates_section(record) + report::candidates_section(record) + report::training_section(record) +
         report::refit_section(record) + report::sparsity_section(record) +
         pair(report::provenance_section(record), report::stages_section(record)) + "</main>\n" +
         element("footer", "",
                 "Made by streamline " + report::escaped(program_version()) +
                     ". This page is self-contained: it loads nothing, and its numbers are those of report.json.");
}

}  // namespace

std::string report_html(const Json& record) {
  return report::page_html(report::model_name(record) + ": streamline report", body(record),
                           report::chart_data(record));
}

}  // namespace streamline

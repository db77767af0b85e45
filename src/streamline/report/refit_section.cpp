// SPDX-License-Identifier: Apache-2.0
// What --refit made up for: matrix by matrix, and for halves and layers that went whole.
#include "streamline/base/number_text.h"
#include "streamline/plan/layer_text.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/sections.h"

namespace streamline::report {
namespace {

// "in layers 4..5", of what went whole; else what went of the matrix's own columns.
std::string what_went(const Json& fit) {
  const auto first = integer(fit, "/layers/0"), last = integer(fit, "/layers/1");
  if (!first || !last) return "columns of the same matrix";
  return "in " + named_range(*first, *last);
}

std::string by_what(const Json& fit) {
  const auto layer = integer(fit, "/layer");
  const auto matrix = text(fit, "/matrix");
  return layer && matrix ? element("code", "", escaped(*matrix)) + " of layer " + std::to_string(*layer) : "nothing";
}

}  // namespace

std::string refit_section(const Json& report) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& fit : elements(report, "/refit")) {
    const auto before = number(fit, "/missing_before"), after = number(fit, "/missing_after");
    if (!before || !after) continue;
    rows.push_back({what_went(fit), by_what(fit), general(*before, 3), general(*after, 3),
                    *before > 0 ? percent_change(*before, *after) : "–"});
  }
  if (rows.empty()) return "";
  return section("What stays makes up for what went",
                 "Mean square, over text that was not fitted to, of what is missing from the hidden states before and "
                 "after; biases take back its mean, least squares what the columns that stay can give.",
                 html_table({"What went", "Made up by", "Missing before", "After", "Change"}, rows,
                            "What was missing before and after"));
}

}  // namespace streamline::report

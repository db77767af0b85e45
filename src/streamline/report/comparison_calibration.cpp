// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_calibration.h"

#include <algorithm>

#include "streamline/base/perplexity_text.h"
#include "streamline/report/comparison_figures.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

// The perplexity of the model with this name, on the first text.
std::optional<double> perplexity_of(const Json& record, const std::string& name) {
  for (const Json& model : elements(record, "/models"))
    if (text(model, "/name") == name)
      for (const Json& on : perplexities(model)) return number(on, "/value");
  return std::nullopt;
}

// "52.1 … 60.4" over the runs' models.
std::string perplexity_range(const Json& record, const Json& entry) {
  std::vector<double> values;
  for (const Json& run : elements(entry, "/runs"))
    if (const auto value = perplexity_of(record, text(run, "/model").value_or(""))) values.push_back(*value);
  if (values.empty()) return "-";
  const auto [least, most] = std::ranges::minmax(values);
  return least == most ? perplexity_text(least) : perplexity_text(least) + " … " + perplexity_text(most);
}

}  // namespace

std::vector<std::vector<std::string>> calibration_rows(const Json& record) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& entry : elements(record, "/calibration")) {
    const auto overlap = number(entry, "/overlap");
    rows.push_back({text(entry, "/method").value_or("?"), text(entry, "/size").value_or("?"),
                    std::to_string(elements(entry, "/runs").size()),
                    std::to_string(integer(entry, "/distinct").value_or(0)), overlap ? fixed(*overlap * 100, 0) : "-",
                    perplexity_range(record, entry)});
  }
  if (!rows.empty())
    rows.insert(rows.begin(), {"method", "size", "texts and draws", "distinct cuts", "overlap %", "perplexity"});
  return rows;
}

}  // namespace streamline::report

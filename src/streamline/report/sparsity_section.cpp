// SPDX-License-Identifier: Apache-2.0
// What `sparsify` set to zero, layer by layer and matrix by matrix.
#include <algorithm>
#include <map>

#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/sections.h"

namespace streamline::report {
namespace {

constexpr const char* kNoMatrix = "–";

std::string zero_share(double value) { return fixed(100 * value, 2) + " %"; }

std::string layers_table(const Json& report) {
  const std::vector<Json> exponents = elements(report, "/allocation/exponents");
  std::vector<std::vector<std::string>> rows;
  for (const Json& layer : elements(report, "/layers")) {
    const auto index = integer(layer, "/layer");
    const auto zeros = number(layer, "/zeros");
    if (!index || !zeros) continue;
    rows.push_back({std::to_string(*index), zero_share(*zeros) + bar(*zeros)});
    if (exponents.empty()) continue;
    const auto alpha = number(report, "/allocation/exponents/" + std::to_string(*index));
    rows.back().push_back(alpha ? fixed(*alpha, 3) : kNoMatrix);
  }
  if (rows.empty()) return "";
  std::vector<std::string> heading = {"Layer", "Weights that are zero"};
  if (!exponents.empty()) heading.emplace_back("Exponent (alpha)");
  return html_table(heading, rows, "Zeros by layer");
}

struct Counts {
  double weights = 0, zeros = 0;
};

// Matrices of experts are counted together.
std::string matrices_table(const Json& report) {
  std::vector<std::string> names;
  std::map<std::int64_t, std::map<std::string, Counts>> layers;
  for (const Json& matrix : elements(report, "/matrices")) {
    const auto layer = integer(matrix, "/layer");
    const auto name = text(matrix, "/matrix");
    const auto weights = number(matrix, "/weights"), zeros = number(matrix, "/zeros");
    if (!layer || !name || !weights || !zeros || *weights <= 0) continue;
    if (std::ranges::find(names, *name) == names.end()) names.push_back(*name);
    Counts& counts = layers[*layer][*name];
    counts.weights += *weights;
    counts.zeros += *zeros;
  }
  std::vector<std::string> heading = {"Layer"};
  for (const std::string& name : names) heading.push_back(escaped(name));
  std::vector<std::vector<std::string>> rows;
  for (auto& [layer, shares] : layers) {
    rows.push_back({std::to_string(layer)});
    for (const std::string& name : names)
      rows.back().push_back(shares.contains(name) ? zero_share(shares[name].zeros / shares[name].weights) : kNoMatrix);
  }
  return rows.empty() ? "" : html_table(heading, rows, "Zeros by matrix");
}

}  // namespace

std::string sparsity_section(const Json& report) {
  const std::string layers = layers_table(report), matrices = matrices_table(report);
  return section(
      "Zeros by layer",
      "Of the weights of each layer's matrices. Files are as large as before, and other programs load them as they "
      "are; only kernels that skip zeros are faster.",
      layers + (matrices.empty() ? "" : element("details", "", element("summary", "", "Matrix by matrix") + matrices)));
}

}  // namespace streamline::report

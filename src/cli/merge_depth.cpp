// SPDX-License-Identifier: Apache-2.0
#include "merge_depth.h"

#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"
#include "streamline/merge/original_depth.h"

namespace streamline::cli {

double parse_number(const std::string& word, const char* option) {
  const auto value = streamline::parse_number<double>(word);
  if (!value || !std::isfinite(*value)) fail(ErrorKind::usage, option, ": '", word, "' is not a number");
  return *value;
}

void check_depth(const DepthOptions& options) {
  if (options.given() && !options.automatic()) parse_number(options.alpha, "--lines-alpha");
  if (!options.beta.empty()) parse_number(options.beta, "--lines-beta");
  if (!options.outside.empty()) parse_number(options.outside, "--lines-outside");
}

void check_beta(const DepthOptions& options, std::int64_t tuned) {
  if (options.beta.empty() && tuned > 1)
    fail(ErrorKind::usage, "--lines-beta says how much deeper layers get of several models; it has no default");
}

merge::Lines depth_lines(const DepthOptions& options, std::int64_t tuned, const merge::MergePlan& plan,
                         const std::vector<merge::Norms>& norms) {
  merge::Lines lines;
  if (options.automatic()) {
    merge::Norms total;
    for (const merge::Norms& layer : norms) total += layer;
    lines.alpha = merge::automatic_alpha(tuned, total.summed_l1, total.l1);
  } else {
    lines.alpha = parse_number(options.alpha, "--lines-alpha");
  }
  check_beta(options, tuned);
  lines.beta = options.beta.empty() ? 1 - lines.alpha : parse_number(options.beta, "--lines-beta");
  if (!options.outside.empty()) lines.outside = parse_number(options.outside, "--lines-outside");
  if (options.index == "original") merge::count_original_depths(plan, lines);
  return lines;
}

Json to_json(const merge::Lines& lines, const DepthOptions& options) {
  return {{"alpha", lines.alpha},
          {"automatic", options.automatic()},
          {"beta", lines.beta},
          {"outside", lines.outside.value_or(lines.alpha)},
          {"index", options.index}};
}

Json depth_table(const merge::MergePlan& plan, const std::vector<merge::Norms>& norms,
                 const std::optional<merge::Lines>& lines) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const std::int64_t layer = i + 1 == norms.size() ? -1 : static_cast<std::int64_t>(i);
    const double factor = lines ? merge::depth_factor(*lines, layer, plan.map.after()) : 1;
    const double norm = std::sqrt(norms[i].squared);
    rows.push_back({{"layer", layer < 0 ? Json("outside") : Json(layer)},
                    {"norm", norm},
                    {"factor", factor},
                    {"scaled_norm", std::abs(factor) * norm}});
  }
  return rows;
}

}  // namespace streamline::cli

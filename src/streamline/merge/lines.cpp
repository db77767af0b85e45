// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/lines.h"

#include "streamline/base/error.h"

namespace streamline::merge {

double depth_factor(const Lines& lines, std::int64_t layer, std::int64_t count) {
  if (layer < 0) return lines.outside.value_or(lines.alpha);
  const std::int64_t layers = lines.depths.empty() ? count : lines.layers;
  const std::int64_t depth = lines.depths.empty() ? layer : lines.depths.at(static_cast<std::size_t>(layer));
  if (layers < 2)
    fail(ErrorKind::usage, "a model of one layer has no depth to scale with; merge it without --lines-alpha");
  return lines.alpha + lines.beta * static_cast<double>(depth) / static_cast<double>(layers - 1);
}

double automatic_alpha(std::int64_t models, double summed, double merged) {
  if (models < 1 || !(merged > 0))
    fail(ErrorKind::numeric, "the merged task vector is zero; there is no automatic alpha of nothing, give a number");
  return summed / merged / static_cast<double>(models);
}

}  // namespace streamline::merge

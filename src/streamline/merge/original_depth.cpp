// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/original_depth.h"

#include <filesystem>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/plan/plan.h"

namespace streamline::merge {

void count_original_depths(const MergePlan& plan, Lines& lines) {
  const Source& reference = plan.request.models[plan.request.reference];
  const auto path = std::filesystem::path(reference.checkpoint->label()) / "streamline" / "plan.json";
  if (!std::filesystem::exists(path))
    fail(ErrorKind::io, path.string(),
         ": no such file; only a model that this program pruned tells where its layers were");
  const Plan pruned = plan_from_json(parse_json(read_text(path), path.string()), path.string());
  const std::vector<OutputLayer> left = lower(pruned);
  if (static_cast<std::int64_t>(left.size()) != plan.map.before)
    fail(ErrorKind::mismatch, path.string(), ": leaves ", left.size(), " layers; ", reference.name, " has ",
         plan.map.before);
  lines.layers = pruned.base.layers;
  for (const std::int64_t layer : plan.map.origins)
    lines.depths.push_back(left[static_cast<std::size_t>(layer)].source);
}

}  // namespace streamline::merge

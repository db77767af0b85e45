// SPDX-License-Identifier: Apache-2.0
// Merging plans that lie in files, with the trained weights and masks beside them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/plan/plan.h"

namespace streamline {

// The plan that cuts what any of these plans cuts (plan/merge.h), written to `out`, and where something is replaced its
// weights beside it as OUT's name with .safetensors, where weights are masked these masks as OUT's name with
// .masks.safetensors: a weight stays where all plans keep it, and masks of layers that go fall away. The masks of a
// plan that is replaced go with it. A directory stands for the plan inside it. Errors: those of merge_plans(); mismatch
// for masks of one tensor in two shapes or of a layer that the plans have not; io for files that are there and may not
// be replaced; format, mismatch for broken plans, weights and masks.
Plan merge_plan_files(const std::vector<std::string>& plans, const std::filesystem::path& out, Overwrite overwrite);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// A plan carried out by names alone: tensors are copied byte for byte under the numbers that their layers get, and
// config.json follows. Neither the family nor the number format has to be known, so this is what quantised checkpoints
// and families outside the registry are cut with.
#pragma once

#include <filesystem>
#include <memory>

#include "streamline/arch/layer_stack.h"
#include "streamline/surgery/apply.h"

namespace streamline {

// Layers are kept or dropped; nothing is computed, and the result's tensors are compared with the source's. Errors:
// those of find_layer_stack() and of apply_plan() that do not concern logits; unsupported for a plan that replaces
// layers, and where config.json cannot follow (layer_lists.h).
AppliedPlan apply_by_names(const std::shared_ptr<const Checkpoint>& source, const Plan& plan,
                           const std::filesystem::path& out, const ApplyOptions& options);

// The source's config.json for these layers of its stack: by the family's rules where the family is known, else by
// layer_lists.h; with lists of modules and layer taps renumbered. `provenance` goes to "streamline.provenance". What
// was moved is added to `notes`. Errors: unsupported where it cannot follow.
Json renumbered_config(const Checkpoint& source, const LayerStack& stack, const LayerMap& map, const Json& provenance,
                       std::vector<std::string>& notes);

}  // namespace streamline

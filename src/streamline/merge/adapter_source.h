// SPDX-License-Identifier: Apache-2.0
// A LoRA adapter as a model that is merged: its base with scale · B A on the matrices that it has.
#pragma once

#include <filesystem>
#include <string>

#include "streamline/merge/merge_plan.h"
#include "streamline/surgery/apply.h"

namespace streamline::merge {

// Whether a directory holds PEFT files.
bool is_adapter(const std::filesystem::path& directory);

// On the same checkpoint as `base`, so that in a merge with that base its task vector is the update alone. Warns where
// the files tell no digest and name another model. Errors: those of read_peft() and resolve_config().
Source adapter_source(std::string name, const Source& base, const std::filesystem::path& directory,
                      AnyWeights any_weights = AnyWeights::no);

}  // namespace streamline::merge

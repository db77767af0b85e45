// SPDX-License-Identifier: Apache-2.0
// The model card of what was cut behind its chips.
#pragma once

#include <string>

#include "streamline/chip/export.h"

namespace streamline::chip {

// Markdown below the front matter: what the chips are and how good, what a text must look like for whoever is not
// `streamline chip run`, and the command that made it (`run`: of run_record()). Every task must have a choice.
std::string chip_card(const Chips& chips, const Exported& exported, const Json& run);

}  // namespace streamline::chip

// SPDX-License-Identifier: Apache-2.0
// Files of ours beside a checkpoint without which it is another model, or none: SHERL's side route and chips.
#pragma once

#include <filesystem>
#include <string_view>

#include "streamline/io/checkpoint.h"

namespace streamline {

// Each empty where the checkpoint has none (docs/methods/sherl.md, docs/methods/chip-tuning.md).
std::filesystem::path side_route_file(const Checkpoint& checkpoint);
std::filesystem::path chips_file(const Checkpoint& checkpoint);

// For what would lose a side route in silence. Errors: unsupported; `what` goes on after "whose side route".
void check_no_side_route(const Checkpoint& checkpoint, std::string_view what);

}  // namespace streamline

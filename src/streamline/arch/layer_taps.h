// SPDX-License-Identifier: Apache-2.0
// Layer taps: places of config.json where another part of the model reads the text stack behind a layer that it names.
// A tap on a layer that is gone moves to the nearest one that is left. Numbers that count the layers of a tower
// (`vision_feature_layer`, everything in `vision_config`) are no taps of the text stack and stay.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/layer_stack.h"
#include "streamline/base/json.h"

namespace streamline {

// Edits a whole config.json and says, for people, each tap that it moved. DeepStack (Qwen3-VL) is said too: its
// `vision_config.deepstack_visual_indexes` count the tower's layers, and what they give is added behind the first
// layers of the text stack, whichever these are. Errors: mismatch for a tap on a layer that the source does not have,
// and where fewer layers are left than are tapped; format for one that is no number.
std::vector<std::string> renumber_layer_taps(Json& config, const LayerMap& map);

}  // namespace streamline

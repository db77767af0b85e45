// SPDX-License-Identifier: Apache-2.0
// What a configuration says layer by layer, rewritten for other layers without knowing the family: lists with an entry
// a layer, lists of layer numbers, counts of leading layers. What depends on a layer's position alone is made explicit
// where readers take a list, and refused where a surviving layer would change its kind.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/layer_stack.h"
#include "streamline/base/json.h"

namespace streamline {

// Edits the text model's object of a config.json: the number of layers, and everything said of them. Says what it did,
// for people. Errors: unsupported, naming the key, where no rewriting keeps the meaning (a period that the surviving
// layers no longer follow, layers that share the state of others); format and mismatch for broken lists.
std::vector<std::string> renumber_layer_lists(Json& text, const LayerStack& stack, const LayerMap& map);

}  // namespace streamline

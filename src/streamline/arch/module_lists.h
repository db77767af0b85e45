// SPDX-License-Identifier: Apache-2.0
// The modules that a quantisation's configuration names, under the numbers that their layers get: lists of modules to
// leave alone (`ignore`, `modules_to_not_convert`, `llm_int8_skip_modules`, `exclude_modules` …), targets of
// compressed-tensors' groups, keys of objects that describe modules one by one (GPTQModel's `dynamic`, AutoRound's
// `extra_config`, EXL3's `tensor_storage` …). They are plain names, patterns of a shell, or regular expressions.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/layer_stack.h"
#include "streamline/base/json.h"

namespace streamline {

// What `module` is called in the result: one name, none where its layers are gone, or several where a pattern of a
// shell has to be spelt out. Names of other parts stay as they are. Errors: unsupported for a regular expression whose
// layers cannot be told.
std::vector<std::string> renumbered_module(const std::string& module, const LayerStack& stack, const LayerMap& map);

// Everything below `json`, whatever its keys are; an entry whose layers are gone is left out, and so is a group whose
// targets all are.
Json renumbered_modules(const Json& json, const LayerStack& stack, const LayerMap& map);

// The same for each quantisation that a config.json describes.
void renumber_quantization(Json& config, const LayerStack& stack, const LayerMap& map);

}  // namespace streamline

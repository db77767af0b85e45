// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says of its layers beside their tensors and the family's own keys, brought up to the layers that
// are left: modules that a quantisation names, layer taps, files that describe a quantisation.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/arch/layer_stack.h"
#include "streamline/base/file.h"
#include "streamline/plan/plan.h"
#include "streamline/surgery/result.h"

namespace streamline {

// The layers of the source that a result has, a replacement counting as the first layer that it replaces.
LayerMap layer_map(std::int64_t source_layers, const std::vector<OutputLayer>& layers);

// The stack of a model whose family is known.
LayerStack layer_stack(const Config& config);

// Renumbers modules and taps in config.json, and adds to `notes` what was moved. Errors: those of
// renumber_quantization() and renumber_layer_taps().
void follow_layers(const LayerStack& stack, const LayerMap& map, Json& config, std::vector<std::string>& notes);

// Lists the matrices of replaced layers, which are not quantised, among the modules to leave alone.
void exempt_replacements(const std::vector<OutputLayer>& layers, const LayerStack& stack,
                         const std::vector<TensorSource>& tensors, Json& config);

// Files beside config.json that describe a quantisation module by module (hf_quant_config.json, quantize_config.json
// …).
void write_quantization_files(const FileSet& files, const LayerStack& stack, const LayerMap& map, OutputDirectory& out);

}  // namespace streamline

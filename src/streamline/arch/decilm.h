// SPDX-License-Identifier: Apache-2.0
// Llama-like models as DeciLM checkpoints (model_type "nemotron-nas"), in which a half that is not there has no
// tensors.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

// Why no DeciLM checkpoint computes what this model does, for people ("layer 3 has a window …"); empty where one does.
std::string why_not_decilm(const Config& config);

// The layer as DeciLM stores it: its MLP as wide as the next multiple of kBlockWidth, half by half.
LayerConfig decilm_layer(LayerConfig layer);

// Turns `config`, a config.json of the model `source`, into that of a DeciLM checkpoint of these layers, each as
// decilm_layer() gives it. `auto_map` is not touched.
void write_decilm(const Config& source, const std::vector<LayerConfig>& layers, Json& config);

}  // namespace streamline

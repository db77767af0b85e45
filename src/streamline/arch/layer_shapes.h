// SPDX-License-Identifier: Apache-2.0
// Layers that differ in shape, as two formats of config.json say it: `block_configs` of DeciLM (widths, halves that are
// not there), and `per_layer_config` of transformers 5.14 (of which halves that are skipped are read). A half that is
// not there has no tensors, nor has its norm.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/config_source.h"

namespace streamline {

// DeciLM states the width of an MLP as a factor, and rounds what comes out up to a multiple of this.
constexpr std::int64_t kBlockWidth = 256;

// Sets each layer's key and value heads and MLP width, and takes away the halves that are "no_op". `layers` are all of
// one shape before. Errors: format and mismatch for a broken list, naming the entry; unsupported for what this program
// does not compute (linear replacements, windows of a block …).
void read_block_configs(const ConfigSource& source, std::int64_t hidden, std::vector<LayerConfig>& layers);

// Takes away the halves that "skip" lists. Nothing where config.json has no such object. Errors: as above.
void read_per_layer_config(const ConfigSource& source, std::vector<LayerConfig>& layers);

// The same the other way. Of block_configs() each MLP is a multiple of kBlockWidth wide; of per_layer_config() only
// missing halves are said, and it is empty where every layer is whole.
Json block_configs(std::int64_t hidden, const std::vector<LayerConfig>& layers);
Json per_layer_config(const std::vector<LayerConfig>& layers);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Layers that differ in shape, as two formats of config.json say it: `block_configs` of DeciLM (widths, halves that are
// not there), and `per_layer_config` of transformers 5.14 (of which halves that are skipped and widths are read). A
// half that is not there has no tensors, nor has its norm.
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

// Takes away the halves that "skip" lists, and sets the numbers of heads and widths of MLPs that are said under the
// family's keys for the whole model. Nothing where config.json has no such object. Errors: as above.
void read_per_layer_config(const ConfigSource& source, std::vector<LayerConfig>& layers);

// The same the other way. Of block_configs() each MLP is a multiple of kBlockWidth wide; of per_layer_config()
// missing halves are said, and what is narrower than `widths`; it is empty where every layer is as the model.
Json block_configs(std::int64_t hidden, const std::vector<LayerConfig>& layers);

// The widths that config.json says for the whole model; 0 where no layer has such a half.
struct ModelWidths {
  std::int64_t kv_heads = 0;           // of a layer of as many query heads a group as all
  std::int64_t dense = 0, expert = 0;  // of MLPs, and of each expert of sparse ones
  bool operator==(const ModelWidths&) const = default;
};
ModelWidths largest_widths(const std::vector<LayerConfig>& layers);
Json per_layer_config(const Family& family, const ModelWidths& widths, const std::vector<LayerConfig>& layers);
// Whether config.json of the family can say another number of heads than the source's: it has keys for it and for the
// size of a head.
bool says_heads(const Family& family);
// Writes these numbers under the family's keys, where they are not those of `before`.
void write_widths(const Family& family, const AttentionConfig* attention, const ModelWidths& before,
                  const ModelWidths& after, Json& config);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// The config.json of a result: the source's, with every key that a change of layers touches rewritten, in both
// spellings (transformers 4 and 5), unknown keys and the key order kept.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

// How the layers of a result are written that lack a half, or have widths of their own.
enum class LayerForm {
  ordinary,   // all of the family's shape; what is not becomes an entry of the "streamline" extension
  per_layer,  // `per_layer_config` lists the halves that are not there
  decilm,     // `block_configs` lists them, and each layer's widths; model_type is "nemotron-nas" (decilm.h)
};

// The form that a checkpoint has.
LayerForm layer_form(const Config& config);

// Where one layer of the result comes from.
struct LayerOrigin {
  std::int64_t source = 0;  // layer of the source whose entries in lists per layer it inherits
  // A layer that is not an ordinary layer of the family (is_ordinary() false): written as an entry of the
  // "streamline" extension. Absent: what layer `source` was, ordinary or extension.
  std::optional<LayerConfig> extension = {};
  std::optional<std::int64_t> mlp = {};  // the layer that its MLP is from; absent: `source`
  // Its halves and widths, in other forms than LayerForm::ordinary. Absent: those of layer `source`.
  std::optional<LayerConfig> shape = {};
};

// `source.json` with num_hidden_layers, layer_types, max_window_layers, no_rope_layers, mlp_only_layers and
// decoder_sparse_step, rope_theta / rope_scaling / rope_parameters, torch_dtype / dtype and tie_word_embeddings
// rewritten for `layers`, in order; a period of windows goes where the layers no longer follow it. `provenance` (an
// object, or null) goes to "streamline.provenance"; that of the source is dropped. Ordinary when every layer is;
// otherwise `model_type` is "streamline" and "streamline" lists the extension layers (docs/formats). Of a model of
// several parts the text model's keys alone are rewritten. Errors: internal for an origin outside the source,
// unsupported for the extension in a model of several parts.
Json output_config(const Config& source, const std::vector<LayerOrigin>& layers, const Json& provenance,
                   LayerForm form);
// In the form of the source.
Json output_config(const Config& source, const std::vector<LayerOrigin>& layers, const Json& provenance = nullptr);

// Whether output_config() needs the extension for these layers.
bool needs_extension(const Config& source, const std::vector<LayerOrigin>& layers);

}  // namespace streamline

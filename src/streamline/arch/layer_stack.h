// SPDX-License-Identifier: Apache-2.0
// The decoder layers of a checkpoint found by names alone: what is needed to renumber them in a model whose family or
// number format nobody here knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/io/checkpoint.h"

namespace streamline {

struct LayerStack {
  std::string prefix;          // "model.language_model.layers."; then the index and "."
  std::int64_t layers = 0;     // of the text model
  std::int64_t further = 0;    // numbered after them: heads that predict tokens beyond the next (DeepSeek)
  std::string text_key = {};   // where the text model's keys lie in config.json: "/text_config"; empty: at the top
  std::string count_key = {};  // the number of layers among them
};

// A tensor of the stack: the layer, and what follows its number ("mlp.up_proj.qweight").
struct StackTensor {
  std::int64_t layer = 0;
  std::string_view suffix = {};
};
std::optional<StackTensor> parse_stack_tensor(const LayerStack& stack, std::string_view name);

// Errors: mismatch where no run of tensors has as many layers as config.json says, where several have and no name tells
// them apart, and where layers lie beyond the last that config.json does not speak of; format for a broken count.
LayerStack find_layer_stack(const Checkpoint& checkpoint);

// The text model's part of a configuration.
Json& text_config(Json& config, const LayerStack& stack);

// The JSON pointer of the text model's object in a configuration with several; empty when the keys lie at the top.
std::string text_config_key(const Json& config);

// Whether a name speaks of a part beside the text model: a vision or audio tower, a projector.
bool names_tower(std::string_view name);

// The layers of a result, in order, by their numbers in the source.
struct LayerMap {
  std::int64_t before = 0;                 // layers of the source
  std::vector<std::int64_t> origins = {};  // one a layer of the result

  std::int64_t after() const { return static_cast<std::int64_t>(origins.size()); }
  // Where a layer of the source went; nullopt: it is gone. Layers beyond the stack follow it.
  std::optional<std::int64_t> place(std::int64_t layer) const;
};

}  // namespace streamline

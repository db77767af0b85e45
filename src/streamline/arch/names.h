// SPDX-License-Identifier: Apache-2.0
// Tensor names of a family: from role to name and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "streamline/arch/family.h"

namespace streamline {

// layer < 0 for whole-model roles. Empty when the family has no such role.
std::string tensor_name(const Family& family, std::int64_t layer, Role role, Part part);

// Of the gate, up or down of one expert of a sparse MLP: "model.layers.3.mlp.experts.7.up_proj.weight".
std::string expert_tensor_name(const Family& family, std::int64_t layer, std::int64_t expert, Role role, Part part);

// The same for a layer of the "streamline" extension: "model.layers.13.replacement.up.weight".
std::string extension_tensor_name(const Family& family, std::int64_t layer, Role role, Part part);

// The head of a …ForSequenceClassification checkpoint, in all families, and in GGUF files.
inline constexpr std::string_view kClassHead = "score.weight", kGgufClassHead = "cls.output.weight";

// Buffers that old files of the family hold: neither read nor copied.
bool is_ignored(const Family& family, std::string_view name);

// A layer's number as it stands in a name: digits without leading zeros, nine at most; nullopt for anything else.
std::optional<std::int64_t> parse_layer_number(std::string_view text);

struct LayerTensorName {
  std::int64_t layer;
  std::string suffix;  // after "model.layers.7."
};
// nullopt for tensors outside the decoder layers.
std::optional<LayerTensorName> parse_layer_tensor(const Family& family, std::string_view name);
// The role that a suffix names, whatever follows the role's name ("mlp.up_proj.weight_scale_inv" too, and that of an
// expert's matrix); nullopt for names that the family does not have.
std::optional<Role> layer_role(const Family& family, std::string_view suffix);
std::string layer_tensor(const Family& family, std::int64_t layer, std::string_view suffix);
// The expert that a suffix names ("mlp.experts.7.up_proj.weight"); -1 outside experts.
std::int64_t layer_expert(const Family& family, std::string_view suffix);

}  // namespace streamline

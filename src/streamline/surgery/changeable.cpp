// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/changeable.h"

#include <set>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/plan/stack.h"

namespace streamline {

void check_changeable(const Model& model, const std::function<bool(std::int64_t layer, Role role)>& changes,
                      std::string_view why) {
  const Family& family = *model.config().family;
  for (const TensorInfo& tensor : model.checkpoint().tensors()) {
    const auto place = parse_layer_tensor(family, tensor.name);
    if (!place || tensor.is_plain()) continue;
    const auto role = layer_role(family, place->suffix);
    if (role && changes(place->layer, *role))
      fail(ErrorKind::unsupported, tensor.name, ": is stored in a quantised form, ", why);
  }
}

void check_cuttable(const Model& model, bool heads, bool channels) {
  check_changeable(
      model, [&](std::int64_t, Role role) { return is_attention_role(role) ? heads : channels; },
      "which cannot be cut; drop whole layers, or prune the unquantised checkpoint");
}

void check_zero_halves(const Model& model, const Plan& plan, LayerForm form) {
  if (form != LayerForm::ordinary) return;
  std::set<std::pair<std::int64_t, bool>> zeros;  // layer, and whether it is the attention
  for (const OutputLayer& layer : output_layers(model.config(), plan)) {
    if (layer.replaced || layer.whole()) continue;
    zeros.insert({layer.attention ? layer.mlp_source : layer.source, !layer.attention});
  }
  check_changeable(
      model,
      [&](std::int64_t layer, Role role) {
        return zeros.count({layer, is_attention_role(role)}) != 0;
      },
      "which has no zeros to stand beside the other half of its layer; give --format per-layer or decilm, drop whole "
      "layers, or prune the unquantised checkpoint");
}

}  // namespace streamline

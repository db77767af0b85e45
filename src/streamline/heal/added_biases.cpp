// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/added_biases.h"

#include "streamline/arch/expected_tensors.h"
#include "streamline/arch/json_edit.h"
#include "streamline/arch/multimodal.h"
#include "streamline/base/error.h"
#include "streamline/engine/mapped.h"
#include "streamline/surgery/apply.h"
#include "streamline/surgery/fold.h"

namespace streamline {
namespace {

bool has_bias(const LayerConfig& layer, Role role) {
  return role == Role::o ? layer.attention->o_bias : layer.mlp->bias;
}

std::string_view bias_key(const Config& config, Role role) {
  return (role == Role::o ? config.family->traits.o_bias : config.family->traits.mlp_bias).key;
}

// config.json that promises the biases.
Json promising_config(const Config& config, const AddedBiases& added) {
  Json text = config.json;
  for (const auto& [place, value] : added) {
    const auto& [layer, role] = place;
    const std::string why = why_no_bias(config, layer, role);
    if (!why.empty()) fail(ErrorKind::unsupported, "no bias can be added: ", why);
    if (!has_bias(config.layers.at(static_cast<std::size_t>(layer)), role))
      set_beside(text, bias_key(config, role), true, {});
  }
  return config.text_key.empty() ? text : with_text_part(config.whole, config.text_key, std::move(text));
}

// The model's configuration with the biases that `json` promises.
Config promised_config(Config config, const Json& json, const std::string& where) {
  const Config read = config_from_json(json, where);
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerConfig& layer = config.layers[i];
    if (layer.attention) {
      layer.attention->qkv_bias = read.layers[i].attention->qkv_bias;
      layer.attention->o_bias = read.layers[i].attention->o_bias;
    }
    if (layer.mlp) layer.mlp->bias = read.layers[i].mlp->bias;
  }
  return config;
}

}  // namespace

std::string why_no_bias(const Config& config, std::int64_t layer, Role role) {
  SL_ASSERT(role == Role::o || role == Role::down);
  const LayerConfig& shape = config.layers.at(static_cast<std::size_t>(layer));
  const std::string name = "layer " + std::to_string(layer);
  if (role == Role::down && shape.mlp->experts) return name + " has experts, whose matrices have no biases";
  if (has_bias(shape, role)) return {};
  if (!is_ordinary(shape)) return name + " is a stand-in whose " + std::string(role_name(role)) + " has no bias";
  if (!bias_key(config, role).empty()) return {};
  return "config.json of " + std::string(config.family->title) + " has no key for a bias of " +
         (role == Role::o ? "the attention's last matrix" : "the MLP's last matrix");
}

Model with_added_biases(const Model& model, const AddedBiases& added) {
  const torch::NoGradGuard no_grad;
  const Checkpoint& source = model.checkpoint();
  Json json = promising_config(model.config(), added);
  const Config promised = promised_config(model.config(), json, source.config_label());
  std::vector<std::pair<TensorInfo, Blob>> tensors;
  for (const ExpectedTensor& expected : expected_tensors(promised)) {
    if (expected.part != Part::bias) continue;
    const TensorInfo* stored = source.find(expected.name);
    const auto change = expected.expert < 0 ? added.find({expected.layer, expected.role}) : added.end();
    if (stored != nullptr && change == added.end()) continue;
    auto value = stored != nullptr ? mapped_tensor(model.shared_checkpoint(), *stored).to(torch::kDouble)
                                   : torch::zeros(expected.shape, torch::kDouble);
    if (change != added.end()) value = value + change->second.to(torch::kCPU, torch::kDouble);
    const auto type = stored != nullptr ? mapped_type(*stored) : stored_type(model.config());
    const TensorSource made = tensor_source(expected.name, value.to(type).contiguous());
    tensors.emplace_back(
        TensorInfo{.name = expected.name, .dtype = made.header.dtype, .shape = made.header.shape, .file = {}},
        made.bytes());
  }
  return Model::open(source.extended(std::move(json), std::move(tensors)), model.placement());
}

}  // namespace streamline

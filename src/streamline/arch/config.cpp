// SPDX-License-Identifier: Apache-2.0
// Holds config.json against the tensors that are there: every tensor that it promises must exist with its shape, and
// every tensor that exists must have been promised.
#include "streamline/arch/config.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "streamline/arch/expected_tensors.h"
#include "streamline/arch/fp8_view.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/names.h"
#include "streamline/arch/quantization.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/io/dequantize.h"
#include "streamline/io/dtype_word.h"

namespace streamline {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) { return Json(shape).dump(); }

std::string pair(std::string_view key, std::int64_t value) { return std::string(key) + " " + std::to_string(value); }

std::string attention_keys(const ConfigKeys& keys, const AttentionConfig& attention, Role role) {
  const std::string head_dim = "head size " + std::to_string(attention.head_dim);
  const bool fused = role == Role::qkv && !keys.kv_heads.empty();
  const bool shared = role == Role::k || role == Role::v || role == Role::k_norm;
  if (fused)
    return pair(keys.heads, attention.heads) + ", " + pair(keys.kv_heads, attention.kv_heads) + ", " + head_dim;
  const std::string_view heads_key = shared && !keys.kv_heads.empty() ? keys.kv_heads : keys.heads;
  return pair(heads_key, shared ? attention.kv_heads : attention.heads) + ", " + head_dim;
}

std::string mlp_keys(const Family& family, const MlpConfig& mlp, Role role) {
  if (!mlp.experts) return pair(family.keys.intermediate, mlp.intermediate);
  if (role == Role::router) return pair(family.experts->count_key, mlp.experts->count);
  if (role >= Role::shared_router && role <= Role::shared_down)
    return pair(family.experts->shared_key, mlp.experts->shared);
  return pair(family.experts->intermediate_key, mlp.intermediate);
}

// The keys of config.json that decide a role's shape, with their values, for messages.
std::string shape_keys(const Config& config, const ExpectedTensor& tensor) {
  const ConfigKeys& keys = config.family->keys;
  const std::string hidden = pair(keys.hidden, config.hidden);
  const std::string width = config.projects_embeddings() ? pair(keys.embedding_width, config.embedding_width) : hidden;
  switch (tensor.role) {
    case Role::token_embedding:
    case Role::head:
      return pair(keys.vocab, config.vocab) + ", " + width;
    case Role::position_embedding:
      return pair(keys.max_positions, config.max_positions) + ", " + hidden;
    case Role::project_in:
    case Role::project_out:
      return width + ", " + hidden;
    case Role::final_norm:
    case Role::attention_norm:
    case Role::attention_post_norm:
    case Role::mlp_norm:
    case Role::mlp_post_norm:
      return hidden;
    default:
      break;
  }
  const LayerConfig& layer = config.layers[static_cast<std::size_t>(tensor.layer)];
  const bool attention = is_attention_role(tensor.role);
  return (attention ? attention_keys(keys, *layer.attention, tensor.role)
                    : mlp_keys(*config.family, *layer.mlp, tensor.role)) +
         ", " + hidden;
}

// The rule that decides whether this tensor's matrix has a bias.
const FlagRule& bias_rule(const Family& family, Role role) {
  if (!is_attention_role(role)) return family.traits.mlp_bias;
  return role == Role::o ? family.traits.o_bias : family.traits.qkv_bias;
}

std::string why_expected(const Config& config, const ExpectedTensor& tensor) {
  const Family& family = *config.family;
  if (tensor.role == Role::head) return "'tie_word_embeddings' is false";
  if (tensor.layer < 0) return std::string(family.name) + " models have it";
  if (tensor.part == Part::bias && family.traits.norm != Norm::layer) {
    const FlagRule& rule = bias_rule(family, tensor.role);
    if (!rule.key.empty()) return "'" + std::string(rule.key) + "' is true";
  }
  return "'" + std::string(family.keys.layers) + "' is " + std::to_string(config.layer_count());
}

// Whether the elements can be computed with: floats, blocks that we dequantise, and FP8 where its factors were checked.
bool is_number(const TensorInfo& tensor, bool fp8) {
  if (is_quantised(tensor.dtype)) return can_dequantize(tensor.dtype);
  if (tensor.dtype == DType::f8_e4m3 || tensor.dtype == DType::f8_e5m2) return fp8;
  return is_floating(tensor.dtype) && dtype_size(tensor.dtype) >= 2 && tensor.dtype != DType::c64;
}

void check_tensor(const Checkpoint& checkpoint, const Config& config, const ExpectedTensor& expected, bool fp8) {
  const TensorInfo* tensor =
      find_tensor(checkpoint, config, expected.layer, expected.role, expected.part, expected.expert);
  if (tensor == nullptr)
    fail(ErrorKind::mismatch, checkpoint.label(), ": tensor '", expected.name,
         "' is missing; config.json: ", why_expected(config, expected));
  if (!is_number(*tensor, fp8))
    fail(ErrorKind::unsupported, checkpoint.path_of(*tensor), ": '", tensor->name, "' is stored as ",
         dtype_name(tensor->dtype), "; quantised weights are not supported, start from the unquantised checkpoint");
  if (tensor->shape != expected.stored_shape())
    fail(ErrorKind::mismatch, checkpoint.path_of(*tensor), ": '", tensor->name, "' is ", shape_text(tensor->shape),
         "; config.json asks for ", shape_text(expected.stored_shape()), " (", shape_keys(config, expected), ")");
}

// Of the text model, and neither a buffer nor the scale of a quantised matrix.
bool is_parameter(const Config& config, const TensorInfo& tensor) {
  return !is_ignored(*config.family, tensor.name) && !is_scale(tensor.name) &&
         !(config.multimodal && is_carried(*config.family, tensor.name));
}

[[noreturn]] void fail_surplus(const Checkpoint& checkpoint, const Config& config, const TensorInfo& tensor) {
  const Family& family = *config.family;
  const auto place = parse_layer_tensor(family, tensor.name);
  std::string why = std::string(family.name) + " models have no such tensor";
  if (place && place->layer >= config.layer_count())
    why = "config.json says " + std::string(family.keys.layers) + " " + std::to_string(config.layer_count());
  else if (place && config.layers[static_cast<std::size_t>(place->layer)].partial)
    why = "config.json says that its half of layer " + std::to_string(place->layer) + " is not there";
  else if (place)
    for (const RoleName& entry : family.layer_names) {
      const FlagRule& rule = bias_rule(family, entry.role);
      if (place->suffix == std::string(entry.name) + ".bias" && !rule.key.empty())
        why = "config.json says that '" + std::string(rule.key) + "' is false";
    }
  fail(ErrorKind::mismatch, checkpoint.path_of(tensor), ": tensor '", tensor.name, "' is there, but ", why);
}

// The head of a model that classifies, which stands in the place of the language model's.
bool is_class_head(const TensorInfo& tensor) { return tensor.name == kClassHead; }

void check_no_surplus(const Checkpoint& checkpoint, const Config& config, const std::vector<ExpectedTensor>& expected,
                      bool fp8) {
  std::unordered_set<std::string_view> names;
  for (const ExpectedTensor& tensor : expected) names.insert(tensor.name);
  const std::string head = tensor_name(*config.family, -1, Role::head, Part::weight);
  for (const TensorInfo& tensor : checkpoint.tensors())
    if (names.count(tensor.name) == 0 && tensor.name != head && !is_ignored(*config.family, tensor.name) &&
        !(fp8 && is_scale(tensor.name)) && !is_class_head(tensor) &&
        !(config.multimodal && is_carried(*config.family, tensor.name)))
      fail_surplus(checkpoint, config, tensor);
}

// The family under the names that the layers have: its own, others in the chain of `other_names`, or those inside a
// multimodal file.
const Family& stored_names(const Checkpoint& checkpoint, const Config& config) {
  std::vector<const Family*> candidates;
  for (const Family* names = config.family; names != nullptr; names = names->other_names) candidates.push_back(names);
  if (config.multimodal)
    candidates.insert(candidates.end(), text_layouts(*config.family).begin(), text_layouts(*config.family).end());
  for (const Family* names : candidates)
    if (std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                    [&](const TensorInfo& tensor) { return parse_layer_tensor(*names, tensor.name).has_value(); }))
      return *names;
  return *config.family;
}

bool same_contents(const Checkpoint& checkpoint, const TensorInfo& a, const TensorInfo& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::memcmp(checkpoint.bytes(a).data(), checkpoint.bytes(b).data(), a.size) == 0;
}

// A head beside tied embeddings: transformers 5 ties the two if they are equal and otherwise uses both.
bool is_tied(const Checkpoint& checkpoint, const Config& config) {
  if (!config.tied_embeddings) return false;
  const TensorInfo* embedding = checkpoint.find(tensor_name(*config.family, -1, Role::token_embedding, Part::weight));
  const TensorInfo* head = checkpoint.find(tensor_name(*config.family, -1, Role::head, Part::weight));
  if (embedding == nullptr || head == nullptr || same_contents(checkpoint, *embedding, *head)) return true;
  log_warning(checkpoint.label() + ": 'tie_word_embeddings' is true but '" + head->name +
              "' differs from the embedding; the stored head is used");
  return false;
}

// Of quantised weights what they are computed as.
std::string stored_dtype_name(DType dtype) {
  const bool plain = dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f64;
  return std::string(dtype_word(plain ? dtype : DType::f32));
}

}  // namespace

Config resolve_config(const Checkpoint& checkpoint) {
  Config config = config_from_json(checkpoint.config(), checkpoint.config_label());
  check_computable(checkpoint);
  const bool fp8 = checkpoint.is_safetensors() && is_fp8(checkpoint);
  if (fp8) with_factors(checkpoint);  // checked
  config.family = &stored_names(checkpoint, config);
  for (LayerConfig& layer : config.layers) {
    if (layer.attention) layer.attention->layout = config.family->traits.qkv;
    if (layer.mlp && layer.mlp->experts) layer.mlp->experts->stacked = config.family->experts->stacked;
  }
  config.tied_embeddings = is_tied(checkpoint, config);
  const std::vector<ExpectedTensor> expected = expected_tensors(config);
  for (const ExpectedTensor& tensor : expected) check_tensor(checkpoint, config, tensor, fp8);
  check_no_surplus(checkpoint, config, expected, fp8);
  if (config.dtype.empty())
    config.dtype = stored_dtype_name(find_tensor(checkpoint, config, -1, Role::token_embedding, Part::weight)->dtype);
  return config;
}

const TensorInfo* find_tensor(const Checkpoint& checkpoint, const Config& config, std::int64_t layer, Role role,
                              Part part, std::int64_t expert) {
  const Family& family = *config.family;
  if (expert >= 0) return checkpoint.find(expert_tensor_name(family, layer, expert, role, part));
  const bool ordinary = layer < 0 || is_ordinary(config.layers[static_cast<std::size_t>(layer)]);
  const auto named = [&](Role wanted) {
    return checkpoint.find((ordinary ? tensor_name : extension_tensor_name)(family, layer, wanted, part));
  };
  if (!config.tied_embeddings || (role != Role::token_embedding && role != Role::head)) return named(role);
  const TensorInfo* embedding = named(Role::token_embedding);  // of the two, a file may hold only the head
  return embedding != nullptr ? embedding : named(Role::head);
}

bool is_transposed(const Config& config, std::int64_t layer, Role role, Part part) {
  if (!config.family->traits.transposed || layer < 0 || part == Part::bias || is_norm_role(role)) return false;
  return is_ordinary(config.layers[static_cast<std::size_t>(layer)]);
}

std::int64_t layer_parameters(const Config& config, const Checkpoint& checkpoint, std::int64_t layer) {
  std::int64_t count = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const auto place = parse_layer_tensor(*config.family, tensor.name);
    if (place && place->layer == layer && is_parameter(config, tensor)) count += tensor.elements();
  }
  return count;
}

std::int64_t total_parameters(const Checkpoint& checkpoint, const Config& config) {
  const TensorInfo* embedding = find_tensor(checkpoint, config, -1, Role::token_embedding, Part::weight);
  const std::string head = tensor_name(*config.family, -1, Role::head, Part::weight);
  std::int64_t count = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const bool repeated = config.tied_embeddings && tensor.name == head && &tensor != embedding;
    if (!repeated && is_parameter(config, tensor)) count += tensor.elements();
  }
  return count;
}

std::int64_t layer_parameters(const Config& config, const LayerConfig& layer) {
  std::int64_t count = 0;
  for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0)) count += tensor.elements();
  return count;
}

std::int64_t total_parameters(const Config& config) {
  std::int64_t count = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) count += tensor.elements();
  return count;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Metadata says "llama.embedding_length" where config.json says "hidden_size". Numbers are float32 there: the shortest
// decimal that is the same float32 is what the model's own config.json said.
#include "streamline/arch/gguf_config.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "streamline/arch/config.h"
#include "streamline/arch/gguf_blocks.h"
#include "streamline/arch/gguf_names.h"
#include "streamline/arch/gguf_rope.h"
#include "streamline/arch/gguf_scale.h"
#include "streamline/arch/layer_pattern.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

double shortest(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, static_cast<float>(value));
  double shorter = value;
  if (error == std::errc()) std::from_chars(text, end, shorter);
  return shorter;
}

// Values under "<arch>."; each that is asked for counts as known.
class Metadata {
 public:
  Metadata(const Gguf& gguf, std::string_view arch) : gguf_(gguf), prefix_(std::string(arch) + ".") {
    // What a classifier's head does with its states is nothing of the model's.
    for (const char* name : {"pooling_type", "classifier.output_labels"}) known_.insert(prefix_ + name);
  }

  const std::string& where() const { return gguf_.where; }
  std::string key(std::string_view name) {
    std::string full = prefix_ + std::string(name);
    known_.insert(full);
    return full;
  }
  std::optional<std::int64_t> integer(std::string_view name) { return uniform(name, gguf_.integers(key(name))); }
  std::optional<double> number(std::string_view name) {
    const auto value = uniform(name, gguf_.numbers(key(name)));
    return value ? std::optional(shortest(*value)) : std::nullopt;
  }
  std::optional<std::vector<std::int64_t>> integers(std::string_view name) { return gguf_.integers(key(name)); }
  std::int64_t required(std::string_view name) {
    if (const auto value = integer(name)) return *value;
    fail(ErrorKind::format, where(), ": has no '", prefix_, name, "'");
  }
  std::string string(std::string_view name) { return std::string(gguf_.string(key(name)).value_or("")); }

  // Only `allowed` is computed; absent is allowed too.
  void must_be(std::string_view name, std::int64_t allowed) {
    const auto value = integer(name);
    if (value && *value != allowed)
      fail(ErrorKind::unsupported, where(), ": '", prefix_, name, "' is ", *value, "; supported is ", allowed);
  }
  void check_no_other() const {
    for (const GgufEntry& entry : gguf_.metadata)
      if (entry.key.starts_with(prefix_) && known_.count(std::string(entry.key)) == 0)
        fail(ErrorKind::unsupported, where(), ": the key '", entry.key, "' is not supported");
  }

 private:
  // An array has a value for each layer.
  template <class T>
  std::optional<T> uniform(std::string_view name, const std::optional<std::vector<T>>& values) const {
    if (!values) return std::nullopt;
    if (values->empty()) fail(ErrorKind::format, where(), ": '", prefix_, name, "' is an empty array");
    if (std::adjacent_find(values->begin(), values->end(), std::not_equal_to<T>()) != values->end())
      fail(ErrorKind::unsupported, where(), ": '", prefix_, name, "' differs from layer to layer");
    return values->front();
  }

  const Gguf& gguf_;
  std::string prefix_;
  std::set<std::string> known_;
};

const TensorInfo* find_role(const Family& family, std::span<const TensorInfo> tensors, std::int64_t layer, Role role,
                            Part part) {
  const std::string name = gguf_tensor_name(family, layer, role, part);
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorInfo& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

void set(Json& config, std::string_view key, const Json& value) {
  if (!key.empty()) config[std::string(key)] = value;
}

// Which layers slide: a value for each, or the period after which one does not.
void add_layer_types(const Family& family, const std::vector<std::int64_t>& slides, Metadata& metadata, Json& config) {
  const std::int64_t layers = metadata.required("block_count");
  if (slides.size() != 1 && static_cast<std::int64_t>(slides.size()) != layers)
    fail(ErrorKind::format, metadata.where(), ": '", metadata.key("attention.sliding_window_pattern"), "' has ",
         slides.size(), " values for ", layers, " layers");
  Json types = Json::array();
  for (std::int64_t i = 0; i < std::min(layers, kMaxLayers); ++i) {
    const std::int64_t period = slides.front();
    const bool listed = slides.size() != 1 || layers == 1;
    types.push_back(layer_type_name(
        family, listed ? slides[static_cast<std::size_t>(i)] != 0 : period == 0 || i % period < period - 1));
  }
  config["layer_types"] = types;
}

// A value for each layer, also where the file says one for all.
std::vector<std::int64_t> by_layer(Metadata& metadata, std::string_view name) {
  const auto layers =
      static_cast<std::size_t>(std::clamp<std::int64_t>(metadata.required("block_count"), 0, kMaxLayers));
  std::vector<std::int64_t> values = metadata.integers(name).value_or(std::vector<std::int64_t>());
  if (values.size() == 1) values.resize(layers, values.front());
  if (values.size() != layers)
    fail(ErrorKind::format, metadata.where(), ": '", metadata.key(name), "' has ", values.size(), " values for ",
         layers, " layers");
  return values;
}

// Returns the number of heads, which all layers share that have any.
std::int64_t add_block_configs(Metadata& metadata, std::int64_t hidden, Json& config) {
  const GgufLayerSizes sizes{.heads = by_layer(metadata, "attention.head_count"),
                             .kv_heads = by_layer(metadata, "attention.head_count_kv"),
                             .widths = by_layer(metadata, "feed_forward_length")};
  config["block_configs"] = gguf_block_configs(sizes, hidden, metadata.where() + ": '" + metadata.key(""));
  return sizes.heads.empty() ? 0 : *std::max_element(sizes.heads.begin(), sizes.heads.end());
}

void add_attention(Metadata& metadata, const Family& family, std::int64_t hidden, Json& config) {
  const bool apart = family.traits.block_configs;
  const std::int64_t heads =
      apart ? add_block_configs(metadata, hidden, config) : metadata.required("attention.head_count");
  if (heads < 1) fail(ErrorKind::format, metadata.where(), ": '", metadata.key("attention.head_count"), "' is ", heads);
  const std::int64_t head_dim = metadata.integer("attention.key_length").value_or(hidden / heads);
  metadata.must_be("attention.value_length", head_dim);
  if (family.keys.rotary_share.empty()) {
    metadata.must_be("rope.dimension_count", head_dim);
  } else if (const auto rotated = metadata.integer("rope.dimension_count"); rotated && head_dim > 0) {
    config[std::string(family.keys.rotary_share)] = static_cast<double>(*rotated) / static_cast<double>(head_dim);
  }
  if (family.keys.head_dim.empty() && head_dim * heads != hidden)
    fail(ErrorKind::unsupported, metadata.where(), ": '", metadata.key("attention.key_length"), "' is ", head_dim,
         "; supported is ", hidden / heads);
  set(config, family.keys.heads, heads);
  if (!apart) set(config, family.keys.kv_heads, metadata.integer("attention.head_count_kv").value_or(heads));
  set(config, family.keys.head_dim, head_dim);
  const auto window = metadata.integer("attention.sliding_window");
  if (window && *window > 0) config["sliding_window"] = *window;
  if (window && *window == 0 && sees_chunks(family))
    fail(ErrorKind::unsupported, metadata.where(), ": '", metadata.key("attention.sliding_window"),
         "' is 0 (no chunks, and heads that turn in all layers but the last); supported are files without it");
  if (const auto slides = metadata.integers("attention.sliding_window_pattern"); slides && family.gguf.windows)
    add_layer_types(family, *slides, metadata, config);
}

void add_scales(Metadata& metadata, const Family& family, Json& config) {
  const ScaleRules& rules = family.traits.scale;
  const auto copy = [&](const NumberRule& rule, std::string_view name) {
    if (rule.key.empty()) return;
    if (const auto value = metadata.number(name)) set(config, rule.key, *value);
  };
  copy(rules.embedding, "embedding_scale");
  copy(rules.residual, "residual_scale");
  copy(rules.attention, "attention.scale");
  copy(rules.logits, "logit_scale");
  copy(rules.logits_divisor, "logit_scale");
  copy(rules.attention_softcap, "attn_logit_softcapping");
  copy(rules.logit_softcap, "final_logit_softcapping");
  if (rules.attention_root.key.empty()) return;
  const std::int64_t head_dim = config.at(std::string(family.keys.head_dim)).get<std::int64_t>();
  set(config, rules.attention_root.key,
      gguf_attention_root(family.gguf.arch, metadata.required("block_count"), metadata.required("embedding_length"),
                          metadata.required("attention.head_count"), head_dim));  // checked to be positive
}

void add_norm(Metadata& metadata, const Family& family, Json& config) {
  const auto rms = metadata.number("attention.layer_norm_rms_epsilon");
  const auto layer = metadata.number("attention.layer_norm_epsilon");
  if (const auto epsilon = family.traits.norm == Norm::rms ? rms : layer)
    set(config, family.keys.norm_epsilon, *epsilon);
}

void add_experts(Metadata& metadata, const Family& family, Json& config) {
  if (!family.experts) {
    metadata.must_be("expert_count", 0);
    metadata.must_be("expert_used_count", 0);
    return;
  }
  const ExpertsRule& rule = *family.experts;
  set(config, rule.count_key, metadata.required("expert_count"));
  set(config, rule.active_key, metadata.required("expert_used_count"));
  if (const auto width = metadata.integer("expert_feed_forward_length")) set(config, rule.intermediate_key, *width);
  if (const auto width = metadata.integer("expert_shared_feed_forward_length")) set(config, rule.shared_key, *width);
  set(config, rule.renormalised.key, family.gguf.renormalised);
  if (family.gguf.sparse_steps)
    config["interleave_moe_layer_step"] = metadata.integer("interleave_moe_layer_step").value_or(1);
  if (family.gguf.unnormed_experts != 0)
    set(config, family.traits.qk_norm_used.key, config[std::string(rule.count_key)] != family.gguf.unnormed_experts);
}

// Switches that GGUF does not store: a bias is there or not.
void add_biases(const Family& family, std::span<const TensorInfo> tensors, Json& config) {
  const auto add = [&](const auto& rule, Role role) {
    set(config, rule.key, find_role(family, tensors, 0, role, Part::bias) != nullptr);
  };
  add(family.traits.qkv_bias, has_role(family, Role::qkv) ? Role::qkv : Role::q);
  add(family.traits.o_bias, Role::o);
  if (family.traits.block_configs) add(FlagRule{.key = "qkv_bias"}, Role::q);
  add(family.traits.mlp_bias, family.traits.gated_mlp && has_role(family, Role::gate_up) ? Role::gate_up : Role::up);
}

void add_tokens(const Gguf& gguf, Json& config) {
  for (const char* name : {"bos_token_id", "eos_token_id"})
    if (const auto id = gguf.integer(std::string("tokenizer.ggml.") + name)) config[name] = *id;
}

// The type that a copy of the weights without quantisation would have.
std::string stored_type(std::span<const TensorInfo> tensors) {
  const auto any = [&](const auto& test) { return std::any_of(tensors.begin(), tensors.end(), test); };
  if (any([](const TensorInfo& tensor) { return tensor.dtype == DType::bf16; })) return "bfloat16";
  const bool wide = !any([](const TensorInfo& tensor) { return tensor.dtype != DType::f32; });
  return wide ? "float32" : "float16";
}

}  // namespace

const Family& gguf_family(const Gguf& gguf) {
  const std::string_view arch = gguf.string("general.architecture").value_or("");
  const std::string experts = std::string(arch) + ".expert_count";
  const bool sparse = gguf.integer(experts).value_or(0) > 0;
  if (const Family* family = find_gguf_family(arch, sparse)) return *family;
  if (sparse && find_gguf_family(arch, false) != nullptr)
    fail(ErrorKind::unsupported, gguf.where, ": '", experts, "' is ", *gguf.integer(experts), "; supported is 0");
  std::string known;
  for (const Family* family : families())
    if (!family->gguf.arch.empty() && find_gguf_family(family->gguf.arch, family->experts.has_value()) == family)
      known += (known.empty() ? "" : ", ") + std::string(family->gguf.arch);
  fail(ErrorKind::unsupported, gguf.where, ": the architecture '", arch,
       "' (general.architecture) is not supported; supported are ", known);
}

Json gguf_config(const Gguf& gguf, const Family& family, std::span<const TensorInfo> tensors,
                 const RopeFactors& factors) {
  Metadata metadata(gguf, family.gguf.arch);
  const TensorInfo* embedding = find_role(family, tensors, -1, Role::token_embedding, Part::weight);
  if (embedding == nullptr || embedding->shape.size() != 2)
    fail(ErrorKind::format, gguf.where, ": has no matrix 'token_embd.weight'; does it hold a vocabulary only?");
  Json config = {{"model_type", family.model_types.front()}};
  const std::int64_t hidden = metadata.required("embedding_length");
  set(config, family.keys.hidden, hidden);
  set(config, family.keys.layers, metadata.required("block_count"));
  if (!family.traits.block_configs) set(config, family.keys.intermediate, metadata.required("feed_forward_length"));
  set(config, family.keys.max_positions, metadata.required("context_length"));
  set(config, family.keys.vocab, embedding->shape.front());
  metadata.integer("vocab_size");         // of the tokenizer; the embedding may have more rows
  metadata.string("tensor_data_layout");  // says that q and k are interleaved, as they are in all such files
  add_experts(metadata, family, config);
  add_attention(metadata, family, hidden, config);
  add_scales(metadata, family, config);
  add_norm(metadata, family, config);
  add_biases(family, tensors, config);
  const RopeMetadata rope{.theta = metadata.number("rope.freq_base"),
                          .scaling = metadata.string("rope.scaling.type"),
                          .factor = metadata.number("rope.scaling.factor"),
                          .original = metadata.integer("rope.scaling.original_context_length"),
                          .attention_factor = metadata.number("rope.scaling.attn_factor")};
  metadata.key("rope.scaling.finetuned");
  add_gguf_rope(rope, factors, gguf.where, config);
  if (const auto local = metadata.number("rope.freq_base_swa")) set(config, family.keys.local_rope_theta, *local);
  if (const std::string_view key = family.traits.parallel.key; !key.empty())
    if (const auto parallel = metadata.integer("use_parallel_residual")) config[std::string(key)] = *parallel != 0;
  for (const GivenValue& given : family.gguf.given) set(config, given.key, given.value);
  for (const RequiredValue& required : family.required)
    if (required.needed) set(config, required.key, required.allowed.front());
  config["tie_word_embeddings"] = find_role(family, tensors, -1, Role::head, Part::weight) == nullptr;
  add_tokens(gguf, config);
  config["torch_dtype"] = stored_type(tensors);
  metadata.check_no_other();
  return config;
}

}  // namespace streamline

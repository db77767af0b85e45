// SPDX-License-Identifier: Apache-2.0
#include "support/torch/pico.h"

#include <cmath>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/random.h"
#include "streamline/io/safetensors.h"
#include "support/core/pico_checkpoint.h"

namespace streamline::test {
namespace {

// Matrices keep the size of what they multiply; norms are near one, biases and embeddings visible.
torch::Tensor random_weight(const ExpectedTensor& tensor, std::uint64_t seed) {
  if (tensor.part == Part::bias) return random_tensor(tensor.shape, seed, 0.2);
  if (is_norm_role(tensor.role)) return 1 + random_tensor(tensor.shape, seed, 0.2);
  const bool table = tensor.role == Role::token_embedding || tensor.role == Role::position_embedding;
  return random_tensor(tensor.shape, seed, table ? 1 : 1 / std::sqrt(static_cast<double>(tensor.shape[1])));
}

torch::Tensor as_stored(const ExpectedTensor& tensor, const torch::Tensor& value) {
  return tensor.transposed ? value.t().contiguous() : value;
}

}  // namespace

torch::Tensor random_tensor(std::vector<std::int64_t> shape, std::uint64_t seed, double scale) {
  auto result = torch::empty(shape, torch::kFloat);
  Rng rng(seed);
  auto* data = result.data_ptr<float>();
  for (std::int64_t i = 0; i < result.numel(); ++i) data[i] = static_cast<float>(scale * rng.normal());
  return result;
}

torch::Tensor pico_ids(std::int64_t batch, std::int64_t seq, std::int64_t vocab, std::uint64_t seed) {
  auto ids = torch::empty({batch, seq}, torch::kLong);
  Rng rng(seed);
  auto* data = ids.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i)
    data[i] = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(vocab)));
  return ids;
}

const Family& family_named(std::string_view name) {
  for (const Family* family : families())
    if (family->name == name) return *family;
  fail(ErrorKind::internal, "no family named ", name);
}

Json pico_config(const Family& family, const PicoOptions& options) {
  Json config = Json::object();
  config["model_type"] = std::string(family.model_types.front());
  const ConfigKeys& keys = family.keys;
  set_key(config, keys.hidden, options.hidden);
  set_key(config, keys.layers, options.layers);
  set_key(config, keys.heads, options.heads);
  set_key(config, keys.kv_heads, options.kv_heads);
  set_key(config, keys.head_dim, options.head_dim);
  set_key(config, keys.intermediate, options.intermediate);
  set_key(config, keys.activation, std::string(family.defaults.activation));
  set_key(config, keys.norm_epsilon, 1e-3);
  set_key(config, keys.max_positions, options.max_positions);
  set_key(config, keys.vocab, options.vocab);
  for (const FlagRule& rule : {family.traits.qkv_bias, family.traits.o_bias, family.traits.mlp_bias})
    if (options.biases) set_key(config, rule.key, true);
  set_traits(family, config);
  config.update(options.extra);
  return config;
}

PicoTensors pico_tensors(const Family& family, const PicoOptions& options) {
  const Config config = config_from_json(pico_config(family, options), "pico");
  PicoTensors tensors;
  std::uint64_t seed = options.seed * 1000;
  for (const ExpectedTensor& tensor : expected_tensors(config))
    tensors[tensor.name] = as_stored(tensor, random_weight(tensor, ++seed));
  return tensors;
}

std::shared_ptr<const FileSet> pico_files(const Json& config, const PicoTensors& tensors, DType dtype) {
  std::vector<TensorHeader> headers;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const auto stored = tensor.to(scalar_type(dtype)).contiguous();
    headers.push_back({name, dtype, stored.sizes().vec()});
    data.append(static_cast<const char*>(stored.const_data_ptr()), stored.nbytes());
  }
  return memory_files("pico", {{"config.json", dump_json(config)},
                               {"model.safetensors", safetensors_header(headers, {{"format", "pt"}}) + data}});
}

std::shared_ptr<const Checkpoint> pico_checkpoint(const Family& family, const PicoOptions& options) {
  return Checkpoint::open(pico_files(pico_config(family, options), pico_tensors(family, options), options.dtype));
}

Model pico_model(const Family& family, const PicoOptions& options, Placement placement) {
  return Model::open(pico_checkpoint(family, options), placement);
}

}  // namespace streamline::test

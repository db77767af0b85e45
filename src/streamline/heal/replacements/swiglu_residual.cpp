// SPDX-License-Identifier: Apache-2.0
// The model's own MLP half, y = x + W_down (act(W_gate u) * W_up u), u = norm(x), with W_down = 0 at the start: then it
// is the identity, and training begins where dropping the window ends. It folds as a layer whose attention output is
// zero. Families with a plain MLP get their own kind, for the same reason.
#include "streamline/base/error.h"
#include "streamline/heal/replacement.h"

namespace streamline {
namespace {

LayerConfig shape(const Config& model, std::int64_t first) {
  const LayerConfig& layer = model.layers.at(static_cast<std::size_t>(first));
  if (!layer.mlp || !layer.mlp->norm || !layer.mlp->residual)
    fail(ErrorKind::unsupported, "swiglu-residual: layer ", first,
         " has no MLP with norm and residual to take its shape from; use another replacement");
  return {.attention = {}, .mlp = layer.mlp};
}

// All but the last matrix come from the first cut layer's MLP: features the model has found useful at this depth.
LayerWeights initial(const Model& model, std::int64_t first, Rng&) {
  const LayerWeights source = copy_to(model.layer(first), torch::kCPU, torch::kFloat32);
  LayerWeights weights{.config = shape(model.config(), first), .tensors = {}};
  for (const Role role : {Role::mlp_norm, Role::gate, Role::up})
    if (source.has(role)) weights.tensors[role] = source.at(role);
  const RoleTensors& down = source.at(Role::down);
  weights.tensors[Role::down] = {torch::zeros_like(down.weight),
                                 down.bias.defined() ? torch::zeros_like(down.bias) : torch::Tensor()};
  return weights;
}

Folding folding(const Config&) { return Folding::ordinary_layer; }

}  // namespace

extern const Replacement swiglu_residual_replacement = {
    .name = "swiglu-residual",
    .title = "the MLP half of a layer with its residual, starting as the identity",
    .source = "after LLM-Streamline (arXiv 2403.19135), SwiGLU; with norm, residual and a zero start, so that it folds",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .folding = folding,
};

}  // namespace streamline

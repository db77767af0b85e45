// SPDX-License-Identifier: Apache-2.0
// The model's own MLP half, y = x + W_down (act(W_gate u) * W_up u), u = norm(x), with W_down = 0 at the start: then it
// is the identity, and training begins where dropping the window ends. It folds as a layer whose attention output is
// zero. Families with a plain MLP, with experts or with a norm after the MLP get their own kind, for the same reason; a
// norm after the MLP starts at zero instead of W_down, since a norm has no gradient to speak of around zero. Where
// norms follow the residual sums no attention output leaves the stream as it is: there it is stored as our extension.
#include "streamline/base/error.h"
#include "streamline/heal/initial.h"

namespace streamline::swiglu_residual_replacement {
namespace {

LayerConfig shape(const Config& model, std::int64_t first) {
  const LayerConfig& layer = model.layers.at(static_cast<std::size_t>(first));
  const bool normed = layer.mlp && (layer.mlp->norm || layer.mlp->post_norm || layer.mlp->shared_norm);
  if (!normed || !layer.mlp->residual)
    fail(ErrorKind::unsupported, "swiglu-residual: layer ", first,
         " has no MLP with norm and residual to take its shape from; use another replacement");
  MlpConfig mlp = *layer.mlp;
  if (mlp.shared_norm) mlp.norm = true, mlp.shared_norm = false;
  return {.attention = {}, .mlp = mlp};
}

// All but the last matrix come from the first cut layer's MLP: features the model has found useful at this depth.
LayerWeights initial(const Model& model, std::int64_t first, Rng&) {
  const LayerWeights source = copy_to(model.layer(first), torch::kCPU, torch::kFloat32);
  LayerWeights weights{.config = shape(model.config(), first), .tensors = {}, .experts = source.experts};
  for (const auto& [role, tensors] : source.tensors)
    if (!is_attention_role(role)) weights.tensors[role] = tensors;
  if (source.config.mlp->shared_norm) weights.tensors[Role::mlp_norm] = source.at(Role::attention_norm);
  zero_output(model.config(), weights);
  return weights;
}

constexpr Start kStarts[] = {Start::zero, Start::inherit, Start::random, Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "swiglu-residual",
    .title = "the MLP half of a layer with its residual, starting as the identity",
    .source = "after LLM-Streamline (arXiv 2403.19135), SwiGLU; with norm, residual and a zero start, so that it folds",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::output_matrix,
};

}  // namespace streamline::swiglu_residual_replacement

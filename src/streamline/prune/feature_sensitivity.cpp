// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/feature_sensitivity.h"

#include <array>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/shared_scores.h"

namespace streamline {
namespace {

struct SensitivityName {
  std::string_view name;
  Sensitivity variant;
};
constexpr std::array kSensitivities = {
    SensitivityName{"A", Sensitivity::product}, SensitivityName{"B", Sensitivity::taylor},
    SensitivityName{"C", Sensitivity::wanda}, SensitivityName{"D", Sensitivity::normalised_product}};

torch::Tensor norms_of(const LayerReads& reads, const PlacedTensor& tensor) {
  const auto found = reads.find({read_by(tensor.role), tensor.expert});
  SL_ASSERT(found != reads.end());
  return found->second.norms();
}

// Adds what a matrix says by its gradient to the units of its layer.
void add_matrix(GroupedValues& sums, Sensitivity variant, const PlacedTensor& tensor, const LayerReads& reads,
                const torch::Tensor& gradient) {
  const auto norms = variant == Sensitivity::taylor ? torch::Tensor() : norms_of(reads, tensor);
  sums.add(tensor.role, tensor.part, tensor.expert,
           weight_sensitivity(variant, tensor.value.detach().to(torch::kCPU), norms, gradient));
}

// scores_by_layer() of three at once.
Halved<UnitScores> halved_by_layer(const Model& model,
                                   const std::function<Halved<InsideScores>(std::int64_t layer)>& make) {
  Halved<UnitScores> scores{.first = no_scores(model.config()), .second = no_scores(model.config())};
  scores.all = scores_by_layer(model, [&](std::int64_t i) {
    Halved<InsideScores> made = make(i);
    scores.first[static_cast<std::size_t>(i)] = std::move(made.first);
    scores.second[static_cast<std::size_t>(i)] = std::move(made.second);
    return std::move(made.all);
  });
  for (UnitScores* half : {&scores.first, &scores.second}) sum_scores(model.placement().ranks, *half);
  return scores;
}

}  // namespace

Sensitivity sensitivity(std::string_view name) {
  for (const SensitivityName& known : kSensitivities)
    if (known.name == name) return known.variant;
  fail(ErrorKind::usage, "'", name, "' is none of A, B, C and D");
}

torch::Tensor weight_sensitivity(Sensitivity variant, const torch::Tensor& weight, const torch::Tensor& norms,
                                 const torch::Tensor& gradient) {
  const auto magnitude = weight.to(torch::kDouble).abs();
  if (variant == Sensitivity::wanda) return magnitude * norms;
  const auto slope = gradient.to(torch::kDouble).abs();
  if (variant == Sensitivity::taylor) return magnitude * slope;
  if (variant == Sensitivity::product) return magnitude * norms * slope;
  const double scale = std::sqrt(slope.square().mean().item<double>());
  return magnitude * norms * (scale > 0 ? slope / scale : slope);
}

InsideScores layer_sensitivity(Sensitivity variant, const LayerWeights& weights, const LayerReads& reads,
                               const GradientOfMatrix& gradient) {
  GroupedValues sums(weights.config);
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    if (!is_probed(weights.config, tensor.role, tensor.part, tensor.expert)) continue;
    add_matrix(sums, variant, tensor, reads, variant == Sensitivity::wanda ? torch::Tensor() : gradient(tensor));
  }
  return sums.scores(GroupSum::magnitudes);
}

UnitScores unprobed_sensitivity(const Model& model, const std::vector<LayerReads>& reads) {
  const torch::NoGradGuard no_grad;
  return scores_by_layer(model, [&](std::int64_t i) {
    return layer_sensitivity(Sensitivity::wanda, model.layer(i, Model::Use::once), reads[static_cast<std::size_t>(i)],
                             {});
  });
}

Halved<UnitScores> probed_sensitivity(Sensitivity variant, const Model& model, const std::vector<LayerReads>& reads,
                                      const std::vector<Probe>& probes) {
  const torch::NoGradGuard no_grad;
  return halved_by_layer(model, [&](std::int64_t i) {
    const LayerWeights weights = model.layer(i, Model::Use::once);
    const LayerReads& read = reads[static_cast<std::size_t>(i)];
    GroupedValues all(weights.config), first(weights.config), second(weights.config);
    for (const PlacedTensor& tensor : placed_tensors(weights)) {
      if (!is_probed(weights.config, tensor.role, tensor.part, tensor.expert)) continue;
      const auto gradient = estimated_gradient(probes, i, tensor.role, tensor.expert, tensor.value.sizes());
      add_matrix(all, variant, tensor, read, gradient.all);
      add_matrix(first, variant, tensor, read, gradient.first);
      add_matrix(second, variant, tensor, read, gradient.second);
    }
    return Halved<InsideScores>{.all = all.scores(GroupSum::magnitudes),
                                .first = first.scores(GroupSum::magnitudes),
                                .second = second.scores(GroupSum::magnitudes)};
  });
}

Halved<UnitScores> probed_gates(const Model& model, const std::vector<Probe>& probes) {
  return halved_by_layer(model, [&](std::int64_t i) {
    const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(i)];
    const Gates gates = unit_gates(layer, torch::kFloat);
    const auto slopes = [&](const torch::Tensor& gate, Role role) {
      return gate.defined() ? estimated_gradient(probes, i, role, -1, gate.sizes()) : Halved<torch::Tensor>();
    };
    const auto heads = slopes(gates.heads, Role::o), channels = slopes(gates.channels, Role::down);
    return Halved<InsideScores>{.all = gate_scores(layer, heads.all, channels.all),
                                .first = gate_scores(layer, heads.first, channels.first),
                                .second = gate_scores(layer, heads.second, channels.second)};
  });
}

UnitScores exact_sensitivity(Sensitivity variant, const Model& model, const std::vector<LayerReads>& reads,
                             const torch::Tensor& ids) {
  return gradient_scores(model, ids, GradientOf::weights, [&](std::int64_t layer, const LayerGradients& gradients) {
    LayerWeights slopes = gradients.tensors;
    return layer_sensitivity(variant, gradients.weights, reads[static_cast<std::size_t>(layer)],
                             [&](const PlacedTensor& tensor) {
                               return place(slopes, tensor.role, tensor.part, tensor.expert).to(torch::kCPU);
                             });
  });
}

}  // namespace streamline

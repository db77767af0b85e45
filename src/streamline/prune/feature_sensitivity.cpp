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

std::vector<double> as_doubles(const torch::Tensor& values) {
  const auto plain = values.to(torch::kCPU, torch::kDouble).contiguous();
  return {plain.const_data_ptr<double>(), plain.const_data_ptr<double>() + plain.numel()};
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
    const auto slope = variant == Sensitivity::wanda ? torch::Tensor() : gradient(tensor);
    const auto norms = variant == Sensitivity::taylor ? torch::Tensor() : norms_of(reads, tensor);
    sums.add(tensor.role, tensor.part, tensor.expert,
             weight_sensitivity(variant, tensor.value.detach().to(torch::kCPU), norms, slope));
  }
  return sums.scores(GroupSum::magnitudes);
}

UnitScores probed_sensitivity(Sensitivity variant, const Model& model, const std::vector<LayerReads>& reads,
                              const std::vector<Probe>& probes) {
  const torch::NoGradGuard no_grad;
  return scores_by_layer(model, [&](std::int64_t i) {
    return layer_sensitivity(variant, model.layer(i, Model::Use::once), reads[static_cast<std::size_t>(i)],
                             [&](const PlacedTensor& tensor) {
                               return estimated_gradient(probes, i, tensor.role, tensor.expert, tensor.value.sizes());
                             });
  });
}

UnitScores probed_gates(const Model& model, const std::vector<Probe>& probes) {
  return scores_by_layer(model, [&](std::int64_t i) {
    const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(i)];
    InsideScores scores = no_scores(layer);
    const Gates gates = unit_gates(layer, torch::kFloat);
    if (!scores.heads.empty())
      scores.heads = as_doubles(estimated_gradient(probes, i, Role::o, -1, gates.heads.sizes()).abs());
    if (!gates.channels.defined()) return scores;
    const auto slopes = estimated_gradient(probes, i, Role::down, -1, gates.channels.sizes()).abs();
    for (std::size_t network = 0; network < scores.channels.size(); ++network)
      scores.channels[network] = as_doubles(slopes.dim() == 2 ? slopes[static_cast<std::int64_t>(network)] : slopes);
    return scores;
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

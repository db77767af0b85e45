// SPDX-License-Identifier: Apache-2.0
// Feature map sensitivity (MINI-LLM, Cheng et al., arXiv 2407.11681): a weight's magnitude, what it reads and the
// gradient of the loss in one score. The paper's own formula is not public where this was written; variant A is a
// reconstruction from its description, and the others are what it is compared with.
#pragma once

#include "streamline/prune/inside_statistics.h"
#include "streamline/prune/unit_scores.h"
#include "streamline/prune/zeroth_order.h"

namespace streamline {

enum class Sensitivity {
  product,             // A: |W| ||X_j|| |g|
  taylor,              // B: |W g|
  wanda,               // C: |W| ||X_j||
  normalised_product,  // D: A, the gradient over the root of its mean square in the matrix
};
Sensitivity sensitivity(std::string_view name);  // "A", "B", "C", "D"

// weight: [out, in]; norms: [in]; gradient: [out, in], not looked at by C. fp64.
torch::Tensor weight_sensitivity(Sensitivity variant, const torch::Tensor& weight, const torch::Tensor& norms,
                                 const torch::Tensor& gradient);

// The gradient of one matrix, [out, in].
using GradientOfMatrix = std::function<torch::Tensor(const PlacedTensor& tensor)>;
// Of one layer, a matrix at a time: the sum over each unit's weights. `gradient` is not called by C.
InsideScores layer_sensitivity(Sensitivity variant, const LayerWeights& weights, const LayerReads& reads,
                               const GradientOfMatrix& gradient);

// Without a gradient: variant C.
UnitScores unprobed_sensitivity(const Model& model, const std::vector<LayerReads>& reads);
// From the probes in ProbeSpace::weights: the gradient of each matrix made when it is its turn.
Halved<UnitScores> probed_sensitivity(Sensitivity variant, const Model& model, const std::vector<LayerReads>& reads,
                                      const std::vector<Probe>& probes);
// From the probes in ProbeSpace::gates: the magnitude of each unit's own slope.
Halved<UnitScores> probed_gates(const Model& model, const std::vector<Probe>& probes);
// From exact gradients.
UnitScores exact_sensitivity(Sensitivity variant, const Model& model, const std::vector<LayerReads>& reads,
                             const torch::Tensor& ids);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/read_scores.h"

#include "streamline/prune/shared_scores.h"

namespace streamline {
namespace {

// by_column(W, moments): what each column of a last matrix says, [in] fp64. The group's columns are summed, and of
// heads the sum is divided by `heads_of(attention)`.
template <class ByColumn>
UnitScores last_matrix_scores(const Model& model, const std::vector<LayerReads>& reads, bool mean_over_heads,
                              const ByColumn& by_column) {
  const torch::NoGradGuard no_grad;
  return scores_by_layer(model, [&](std::int64_t i) {
    const LayerWeights weights = model.layer(i, Model::Use::once);
    const LayerConfig& layer = weights.config;
    GroupedValues sums(layer);
    for (const PlacedTensor& tensor : placed_tensors(weights)) {
      const bool last = tensor.role == Role::o || tensor.role == Role::down;
      if (!last || tensor.part != Part::weight) continue;
      const auto found = reads[static_cast<std::size_t>(i)].find({tensor.role, tensor.expert});
      if (found == reads[static_cast<std::size_t>(i)].end()) continue;
      torch::Tensor column = by_column(tensor.value.to(torch::kCPU, torch::kDouble), found->second);
      if (tensor.role == Role::o && mean_over_heads)
        column = column / static_cast<double>(layer.attention->heads / layer.attention->kv_heads);
      sums.add(tensor.role, tensor.part, tensor.expert, column.unsqueeze(0));
    }
    return sums.scores(GroupSum::magnitudes);
  });
}

}  // namespace

UnitScores wanda_scores(const Model& model, const std::vector<LayerReads>& reads) {
  return last_matrix_scores(model, reads, true, [](const torch::Tensor& weight, const ReadMoments& moments) {
    return weight.abs().mean(0) * moments.norms();
  });
}

UnitScores fluctuation_scores(const Model& model, const std::vector<LayerReads>& reads) {
  return last_matrix_scores(model, reads, false, [](const torch::Tensor& weight, const ReadMoments& moments) {
    return weight.square().sum(0) * moments.variance();
  });
}

}  // namespace streamline

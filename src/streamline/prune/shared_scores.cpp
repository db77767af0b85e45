// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/shared_scores.h"

#include <cmath>

#include "streamline/base/error.h"

namespace streamline {
namespace {

template <class Visit>
void each_score(UnitScores& scores, const Visit& visit) {
  for (InsideScores& layer : scores) {
    for (double& head : layer.heads) visit(head);
    for (std::vector<double>& network : layer.channels)
      for (double& channel : network) visit(channel);
  }
}

}  // namespace

UnitScores no_scores(const Config& config) {
  UnitScores scores;
  for (const LayerConfig& layer : config.layers) scores.push_back(no_scores(layer));
  return scores;
}

void sum_scores(const Ranks& ranks, UnitScores& scores) {
  std::vector<double> row;
  each_score(scores, [&](double& score) { row.push_back(score); });
  ranks.sum(row);
  auto next = row.begin();
  each_score(scores, [&](double& score) { score = *next++; });
}

UnitScores scores_by_layer(const Model& model, const std::function<InsideScores(std::int64_t layer)>& make) {
  UnitScores scores = no_scores(model.config());
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
    if (model.placement().ranks.takes(layer)) scores[static_cast<std::size_t>(layer)] = make(layer);
  sum_scores(model.placement().ranks, scores);
  return scores;
}

UnitScores gradient_scores(const Model& model, const torch::Tensor& ids, GradientOf what,
                           const ScoresOfGradients& make) {
  const Ranks& ranks = model.placement().ranks;
  UnitScores scores = no_scores(model.config());
  const double loss = inside_gradients(model, ids, what, [&](std::int64_t layer, const LayerGradients& gradients) {
    if (ranks.takes(layer)) scores[static_cast<std::size_t>(layer)] = make(layer, gradients);
  });
  if (!std::isfinite(loss))
    fail(ErrorKind::numeric, "the loss is NaN or infinite, and so are its gradients; try --dtype float32");
  sum_scores(ranks, scores);
  return scores;
}

}  // namespace streamline

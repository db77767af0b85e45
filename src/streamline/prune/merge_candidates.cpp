// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/merge_candidates.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline {

double output_likeness(const torch::Tensor& a, const torch::Tensor& b, OutputLikeness kind) {
  torch::Tensor x = a.to(torch::kFloat64), y = b.to(torch::kFloat64);
  if (kind == OutputLikeness::flattened) x = x.reshape({1, -1}), y = y.reshape({1, -1});
  if (kind == OutputLikeness::last_token) x = x.slice(0, -1), y = y.slice(0, -1);
  return torch::cosine_similarity(x, y, -1).mean().item<double>();
}

MergeCandidates::MergeCandidates(const Model& model, const TokenBatches& text, const MergeOptions& options)
    : model_(model), options_(options) {
  const torch::NoGradGuard no_gradients;
  for (const auto& sequence : text.sequences) {
    if (std::cmp_equal(sentences_, options.sentences)) break;
    const auto tokens = std::min(options.sentence_tokens, std::ssize(sequence));
    if (tokens == 0) continue;
    const std::size_t sentence = sentences_++;
    if (!model.placement().ranks.takes(static_cast<std::int64_t>(sentence))) continue;
    own_.push_back(sentence);
    const std::vector<std::int64_t> ids(sequence.begin(), sequence.begin() + tokens);
    states_.push_back({model.embed(torch::tensor(ids).unsqueeze(0).to(model.placement().device))});
    positions_.push_back(rope_positions(model.config(), 0, tokens, model.placement().device));
  }
  if (sentences_ == 0) fail(ErrorKind::resource, "laco: no text to compare outputs on; the calibration text is empty");
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    const LayerWeights weights = model.layer(layer);
    for (std::size_t s = 0; s < states_.size(); ++s) states_[s].push_back(run(s, weights, states_[s].back()));
  }
  for (const auto& states : states_) outputs_.push_back(model.final_norm(states.back()));
  reset();
}

void MergeCandidates::reset() {
  groups_.clear();
  folds_.clear();
  for (std::int64_t layer = 0; layer < source_layers(); ++layer) groups_.push_back({layer, layer});
  valid_ = source_layers();
}

LayerWeights MergeCandidates::weights(const Group& group) const {
  return group.weights ? *group.weights : model_.layer(group.first);
}

MergeCandidates::Group MergeCandidates::folded(std::int64_t base, std::int64_t followers) const {
  SL_ASSERT(base >= 0 && followers >= 1 && base + followers < layers());
  std::vector<LayerWeights> layers;
  for (std::int64_t i = base; i <= base + followers; ++i)
    layers.push_back(weights(groups_[static_cast<std::size_t>(i)]));
  return {groups_[static_cast<std::size_t>(base)].first, groups_[static_cast<std::size_t>(base + followers)].last,
          merged(layers, options_.rule, options_.norms)};
}

torch::Tensor MergeCandidates::run(std::size_t sentence, const LayerWeights& layer, const torch::Tensor& x) {
  check_interrupted();
  ++layers_run_;
  return block_forward(model_.config(), layer, x, positions_[sentence]);
}

double MergeCandidates::likeness(std::int64_t base, std::int64_t followers) {
  const torch::NoGradGuard no_gradients;
  SL_ASSERT(base <= valid_);
  std::vector<std::int64_t> key = folds_;  // which decide the weights, and not only what the groups now are
  key.insert(key.end(), {base, followers});
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const LayerWeights layer = *folded(base, followers).weights;
  std::vector<torch::Tensor> x;
  for (std::size_t s = 0; s < own_.size(); ++s) x.push_back(run(s, layer, states_[s][static_cast<std::size_t>(base)]));
  for (std::int64_t i = base + followers + 1; i < layers(); ++i) {
    const LayerWeights above = weights(groups_[static_cast<std::size_t>(i)]);
    for (std::size_t s = 0; s < own_.size(); ++s) x[s] = run(s, above, x[s]);
  }
  std::vector<double> values(sentences_);  // each of one rank, and 0 elsewhere
  for (std::size_t s = 0; s < own_.size(); ++s)
    values[own_[s]] = output_likeness(model_.final_norm(x[s])[0], outputs_[s][0], options_.likeness);
  model_.placement().ranks.sum(values);
  return known_[key] = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(sentences_);
}

void MergeCandidates::fold(std::int64_t base, std::int64_t followers) {
  const torch::NoGradGuard no_gradients;
  Group group = folded(base, followers);
  const auto at = groups_.begin() + base;
  groups_.erase(at, at + followers);
  groups_[static_cast<std::size_t>(base)] = std::move(group);
  folds_.insert(folds_.end(), {base, followers});
  valid_ = base;
}

std::pair<Plan, Replacements> MergeCandidates::plan() const {
  std::vector<LayerRun> runs;
  for (const Group& group : groups_)
    if (group.weights) runs.push_back({group.first, group.last - group.first + 1});
  Plan plan = cut_windows(source_layers(), runs, "layer");
  Replacements replacements;
  std::size_t next = 0;
  for (const Group& group : groups_) {
    if (!group.weights) continue;
    while (plan.segments[next].first != group.first) ++next;
    replacements[static_cast<std::int64_t>(next)] = *group.weights;
  }
  return {std::move(plan), std::move(replacements)};
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// One sweep; the hidden states of a batch are scored sequence by sequence.
#include "streamline/prune/scores.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/pair_statistics.h"
#include "streamline/prune/update_pairs.h"

namespace streamline {
namespace {

constexpr double kMassiveRatio = 10;  // a token is an outlier at all
constexpr double kMassiveJump = 5;    // and this layer made it

LayerNorms norm_statistics(std::span<const double> norms) {
  std::vector<double> sorted(norms.begin(), norms.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  const double median = sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  double sum = 0;
  for (const double norm : sorted) sum += norm;
  // More than half of the tokens zero: the ratio says nothing, and JSON has no infinity.
  return {sum / static_cast<double>(sorted.size()), median > 0 ? sorted.back() / median : 0};
}

void require_finite(const PairStatistics& statistics, std::int64_t sequence) {
  for (std::int64_t i = 0; i < statistics.states; ++i) {
    for (std::int64_t token = 0; token < statistics.tokens; ++token) {
      if (std::isfinite(statistics.norms[static_cast<std::size_t>(i * statistics.tokens + token)])) continue;
      const std::string place = i == 0 ? "the embedding" : "layer " + std::to_string(i - 1);
      fail(ErrorKind::numeric, "the output of ", place, " is NaN or infinite (sequence ", sequence, ", token ", token,
           "); compute in float32, and check the weights of that layer");
    }
  }
}

}  // namespace

ScoreAccumulator::ScoreAccumulator(std::int64_t layers) {
  const auto states = static_cast<std::size_t>(layers + 1);
  sums_.layers = layers;
  sums_.cosine.assign(states * states, 0.0);
  for (std::vector<double>* matrix : {&sums_.relative_l2, &sums_.angular_last, &sums_.angular_all})
    matrix->assign(states * states, 0.0);
  sums_.states.assign(states, {});
}

void ScoreAccumulator::add(std::span<const torch::Tensor> states, const torch::Tensor& normed) {
  SL_ASSERT(states.size() == sums_.states.size());
  const PairStatistics statistics = pair_statistics(states);
  require_finite(statistics, sums_.sequences);
  for (const auto& [sum, matrix] : {std::pair(&sums_.cosine, &statistics.cosine),
                                    {&sums_.relative_l2, &statistics.relative_l2},
                                    {&sums_.angular_last, &statistics.angular_last},
                                    {&sums_.angular_all, &statistics.angular}})
    std::transform(sum->begin(), sum->end(), matrix->begin(), sum->begin(), std::plus<>());
  if (normed.defined() && sums_.layers > 0) {
    const std::vector<torch::Tensor> pair = {states[states.size() - 2], normed};
    sums_.normed_last_cosine = sums_.normed_last_cosine.value_or(0) + pair_statistics(pair).cosine[1];
  }
  const auto tokens = static_cast<std::size_t>(statistics.tokens);
  for (std::size_t i = 0; i < sums_.states.size(); ++i) {
    const LayerNorms norms = norm_statistics(std::span(statistics.norms).subspan(i * tokens, tokens));
    sums_.states[i].mean += norms.mean;
    sums_.states[i].largest_over_median += norms.largest_over_median;
  }
  sums_.sequences += 1;
  sums_.tokens += statistics.tokens;
}

void ScoreAccumulator::add_layer(const LayerConfig& layer, std::int64_t index, const torch::Tensor& in,
                                 const torch::Tensor& middle, const torch::Tensor& out) {
  const auto at = static_cast<std::size_t>(index), layers = static_cast<std::size_t>(sums_.layers);
  sums_.layer_updates.resize(layers);
  sums_.attention_updates.resize(layers);
  sums_.mlp_updates.resize(layers);
  const bool halves = has_scored_halves(layer);
  const bool parallel = layer.residual == Residual::parallel;
  std::vector<StatePair> pairs;
  for (std::int64_t row = 0; row < in.size(0); ++row) {
    pairs.push_back({in[row], out[row]});
    if (!halves) continue;
    pairs.push_back({in[row], middle[row]});
    pairs.push_back(parallel ? StatePair{in[row], in[row] + (out[row] - middle[row])}
                             : StatePair{middle[row], out[row]});
  }
  const std::vector<UpdateStatistics> updates = update_statistics(pairs);
  const auto add = [at](std::vector<std::optional<UpdateStatistics>>& sums, const UpdateStatistics& update) {
    if (!sums[at]) sums[at].emplace();
    *sums[at] += update;
  };
  for (std::size_t p = 0; p < updates.size(); ++p) {
    if (!halves || p % 3 == 0) sums_.layer_updates[at] += updates[p];
    if (halves && p % 3 == 1) add(sums_.attention_updates, updates[p]);
    if (halves && p % 3 == 2) add(sums_.mlp_updates, updates[p]);
  }
}

Scores ScoreAccumulator::finish() const {
  if (sums_.sequences == 0) fail(ErrorKind::resource, "no tokens to score layers on; the calibration text is empty");
  Scores scores = sums_;
  const double sequences = static_cast<double>(scores.sequences);
  for (std::vector<double>* matrix : {&scores.cosine, &scores.relative_l2, &scores.angular_last, &scores.angular_all})
    for (double& value : *matrix) value /= sequences;
  if (scores.normed_last_cosine) *scores.normed_last_cosine /= sequences;
  for (UpdateStatistics& update : scores.layer_updates) update /= sequences;
  for (auto* updates : {&scores.attention_updates, &scores.mlp_updates})
    for (std::optional<UpdateStatistics>& update : *updates)
      if (update) *update /= sequences;
  for (LayerNorms& norms : scores.states) norms = {norms.mean / sequences, norms.largest_over_median / sequences};
  return scores;
}

bool has_scored_halves(const LayerConfig& layer) {
  return layer.whole() && layer.residual != Residual::norm_after_sum && layer.mlp->residual;
}

Scores unmeasured_updates(const Config& config) {
  Scores scores;
  scores.layer_updates.resize(config.layers.size());
  for (const LayerConfig& layer : config.layers) {
    const auto update = has_scored_halves(layer) ? std::optional<UpdateStatistics>(UpdateStatistics{}) : std::nullopt;
    scores.attention_updates.push_back(update);
    scores.mlp_updates.push_back(update);
  }
  return scores;
}

Scores score_layers(const Model& model, const TokenBatches& batches, const SweepOptions& options) {
  ScoreAccumulator accumulator(model.layer_count());
  SweepOptions shared = options;
  shared.shared = true;
  const auto score_batch = [&](const SweepBatch& batch, std::span<const torch::Tensor> states) {
    if (batch.ids.size(1) <= batch.skip_first) return;
    const torch::Tensor normed = model.final_norm(states.back());
    for (std::int64_t row = 0; row < batch.ids.size(0); ++row) {
      std::vector<torch::Tensor> rows;  // [seq - skip_first, hidden] each
      for (const torch::Tensor& state : states) rows.push_back(state[row].slice(0, batch.skip_first));
      accumulator.add(rows, normed[row].slice(0, batch.skip_first));
    }
  };
  const auto score_layer = [&](const SweepBatch& batch, const LayerStep& step) {
    if (batch.ids.size(1) <= batch.skip_first) return;
    const auto tokens = [&](const torch::Tensor& state) { return state.slice(1, batch.skip_first); };
    accumulator.add_layer(step.weights.config, step.layer, tokens(step.input), tokens(step.middle),
                          tokens(step.output));
  };
  sweep(model, batches, shared, {.layer = score_layer, .states = score_batch, .middle = true});
  accumulator.sum_over(model.placement().ranks);
  Scores scores = accumulator.finish();
  scores.calibration_digest = batches.digest;
  return scores;
}

std::vector<std::int64_t> massive_activation_layers(const Scores& scores) {
  std::vector<std::int64_t> found;
  double largest_before = 0;
  for (std::int64_t layer = 0; layer < scores.layers; ++layer) {
    const auto at = static_cast<std::size_t>(layer);
    largest_before = std::max(largest_before, scores.states[at].largest_over_median);
    const double after = scores.states[at + 1].largest_over_median;
    if (after >= kMassiveRatio && after >= kMassiveJump * largest_before) found.push_back(layer);
  }
  return found;
}

std::vector<Window> ranked_windows(const Scores& scores, std::int64_t count, const std::vector<std::int64_t>& protect) {
  if (count < 1 || count > scores.layers) {
    fail(ErrorKind::usage, "a window of ", count, " layers: the model has ", scores.layers, ", give 1 to ",
         scores.layers);
  }
  std::vector<Window> windows;
  for (std::int64_t start = 0; start + count <= scores.layers; ++start) {
    if (!holds_any(protect, start, count)) windows.push_back({start, count, scores.window_cosine(start, count)});
  }
  if (windows.empty()) {
    fail(ErrorKind::usage, "every window of ", count, " layers holds a protected layer; protect fewer or cut fewer");
  }
  std::stable_sort(windows.begin(), windows.end(),
                   [](const Window& a, const Window& b) { return a.cosine > b.cosine; });
  return windows;
}

}  // namespace streamline

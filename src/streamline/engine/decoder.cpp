// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/decoder.h"

#include <array>
#include <numeric>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/value_named.h"
#include "streamline/nn/attention.h"
#include "streamline/nn/halves.h"
#include "streamline/nn/norms.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 3> kCutIns = {"everywhere", "decode", "prefill"};

std::vector<std::int64_t> own_layers(const Model& model) {
  std::vector<std::int64_t> layers(static_cast<std::size_t>(model.layer_count()));
  std::iota(layers.begin(), layers.end(), std::int64_t{0});
  return layers;
}

void check_only_drops(const Plan& plan) {
  for (const Segment& segment : plan.segments)
    if (segment.action == Action::replace)
      fail(ErrorKind::usage, "--cut-in takes plans that only take layers or halves out; this one puts '",
           segment.replacement, "' in place of layers ", segment.first, "..", segment.last,
           ", which has read no prompt");
  if (!plan.slices.empty())
    fail(ErrorKind::usage,
         "--cut-in takes plans that only take layers or halves out; this one slices layers, whose "
         "keys and values are then those of fewer heads");
  if (plan.masks)
    fail(ErrorKind::usage, "--cut-in takes plans that only take layers or halves out; this one masks weights");
}

// Keys and values of a layer whose attention is left out, of the stream as it is.
void cache_unread(const Config& config, const LayerWeights& layer, const torch::Tensor& x, const Positions& positions,
                  LayerCache& cache) {
  const bool normed = layer.config.attention->norm && layer.config.residual != Residual::norm_after_sum;
  cache_keys(config, layer, normed ? norm(config, layer.at(Role::attention_norm), x) : x, positions, cache);
}

torch::Tensor run_in_part(const Config& config, const LayerWeights& layer, Action action, torch::Tensor x,
                          const Positions& positions, LayerCache& cache) {
  if (action == Action::keep) return block_forward(config, layer, x, positions, &cache);
  if (action == Action::drop_mlp) return block_forward(config, kept_halves(layer, true, false), x, positions, &cache);
  if (layer.config.attention) cache_unread(config, layer, x, positions, cache);
  return action == Action::drop_attention ? block_forward(config, kept_halves(layer, false, true), x, positions) : x;
}

}  // namespace

CutIn parse_cut_in(const std::string& name) { return value_named<CutIn>(kCutIns, name, "--cut-in"); }

PhasedModel::PhasedModel(const Model& model) : prefill_(model), decode_(model), reads_(own_layers(model)) {}

PhasedModel::PhasedModel(const Model& source, const Plan& plan, const Replacements& replacements, CutIn cut_in)
    : PhasedModel(cut_in == CutIn::everywhere ? source.view(plan, replacements) : source) {
  if (cut_in == CutIn::everywhere) return;
  check_only_drops(plan);
  const Model view = source.view(plan, replacements);
  if (cut_in == CutIn::prefill) {
    for (const Segment& segment : plan.segments)
      skips_.insert(skips_.end(), static_cast<std::size_t>(segment.count()), segment.action);
    return;
  }
  decode_ = view;
  reads_.clear();
  for (const OutputLayer& layer : output_layers(source.config(), plan))
    reads_.push_back(layer.attention ? layer.source : -1);
  SL_ASSERT(std::ssize(reads_) == decode_.layer_count());
}

Decoder::Decoder(const PhasedModel& model) : model_(model) {}

torch::Tensor Decoder::read_prompt(torch::Tensor x, const Positions& positions) {
  const Model& model = model_.prefill_;
  std::vector<LayerCache> caches(static_cast<std::size_t>(model.layer_count()));
  RouteWalk route(model.route());
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const Action action = model_.skips_.empty() ? Action::keep : model_.skips_[at];
    x = run_in_part(model.config(), model.layer(i), action, route.enter(i, x), positions, caches[at]);
  }
  for (const std::int64_t layer : model_.reads_)
    caches_.push_back(layer < 0 ? LayerCache{} : std::move(caches[static_cast<std::size_t>(layer)]));
  return x;
}

torch::Tensor Decoder::read(const torch::Tensor& ids) {
  check_interrupted();
  const bool prompt = position_ == 0;
  const Model& model = prompt ? model_.prefill_ : model_.decode_;
  const std::int64_t count = ids.size(1);
  torch::Tensor x = model.embed(ids, position_);
  const Positions positions = rope_positions(model.config(), position_, count, model.placement().device);
  if (prompt) {
    x = read_prompt(x, positions);
  } else {
    RouteWalk route(model.route());
    for (std::int64_t i = 0; i < model.layer_count(); ++i)
      x = block_forward(model.config(), model.layer(i), route.enter(i, x), positions,
                        &caches_[static_cast<std::size_t>(i)]);
  }
  position_ += count;
  return model.logits(x.narrow(1, count - 1, 1));
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/policy_units.h"

#include <algorithm>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/read_scores.h"
#include "streamline/prune/zeroth_order.h"

namespace streamline {
namespace {

bool stays_whole(const PolicySettings& settings, std::int64_t layer) {
  return std::ranges::find(settings.protect, layer) != settings.protect.end();
}

// What a metric says each unit is worth.
std::vector<double> metric_scores(const UnitPool& pool, const UnitScores& inside, const Scores& coarse) {
  std::vector<double> scores;
  for (const PolicyUnit& unit : pool.units) {
    const auto layer = static_cast<std::size_t>(unit.layer), index = static_cast<std::size_t>(unit.index);
    const auto half = [&](const std::vector<std::optional<UpdateStatistics>>& updates) {
      return updates.size() > layer && updates[layer] ? 1 - updates[layer]->cosine : 0.0;
    };
    switch (unit.kind) {
      case UnitKind::head_group:
        scores.push_back(inside[layer].heads[index]);
        break;
      case UnitKind::channel:
        scores.push_back(inside[layer].channels.front()[index]);
        break;
      case UnitKind::attention:
        scores.push_back(half(coarse.attention_updates));
        break;
      case UnitKind::mlp:
        scores.push_back(half(coarse.mlp_updates));
        break;
      case UnitKind::layer:
        scores.push_back(coarse.block_influence(unit.layer));
        break;
    }
  }
  return scores;
}

bool is_inside(UnitKind kind) { return kind == UnitKind::head_group || kind == UnitKind::channel; }

// Where the units of another layer begin: all that a layer has lie side by side, in order.
std::size_t end_of_half(const UnitPool& pool, std::size_t first) {
  std::size_t end = first;
  while (end < pool.units.size() && pool.units[end].layer == pool.units[first].layer) ++end;
  return end;
}

// The gates of a pool of heads or channels: views of one tensor, which goes to the device at once.
void add_gates(const Placement& placement, const UnitPool& pool, const UnitMask& mask,
               std::map<std::int64_t, Gates>& gates) {
  auto kept = torch::empty({std::ssize(mask)}, torch::kFloat);
  std::ranges::copy(mask, kept.data_ptr<float>());
  kept = kept.to(placement.device, placement.dtype);
  for (std::size_t first = 0; first < mask.size();) {
    const std::size_t end = end_of_half(pool, first);
    const PolicyUnit& unit = pool.units[first];
    Gates& layer = gates[unit.layer];
    (unit.kind == UnitKind::head_group ? layer.heads : layer.channels) =
        kept.narrow(0, static_cast<std::int64_t>(first), static_cast<std::int64_t>(end - first));
    first = end;
  }
}

// Inside layers each layer's own mean is `keep`; layers and halves are one list.
Probabilities initial_probabilities(const UnitPool& pool, const std::vector<double>& scores) {
  Probabilities s;
  for (std::size_t first = 0; first < scores.size();) {
    const std::size_t end = is_inside(pool.units[first].kind) ? end_of_half(pool, first) : scores.size();
    const Probabilities part = sigmoid_map(std::span(scores).subspan(first, end - first), pool.keep);
    s.insert(s.end(), part.begin(), part.end());
    first = end;
  }
  return s;
}

}  // namespace

UnitPools pools_of(const Model& model, const PolicySettings& settings) {
  UnitPool heads{.name = "heads"}, channels{.name = "channels"}, coarse{.name = settings.over};
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    if (stays_whole(settings, i)) continue;
    const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(i)];
    const InsideScores inside = no_scores(layer);
    if (layer.mlp && layer.mlp->experts && (settings.over == "inside" || settings.over == "channels"))
      fail(ErrorKind::unsupported, "policy-gradient: the channels of experts are not masked one by one; take --over ",
           "heads, halves or layers");
    for (std::int64_t head = 0; head < std::ssize(inside.heads); ++head)
      heads.units.push_back({UnitKind::head_group, i, head});
    if (layer.mlp)
      for (std::int64_t channel = 0; channel < layer.mlp->intermediate; ++channel)
        channels.units.push_back({UnitKind::channel, i, channel});
    if (settings.over == "layers") coarse.units.push_back({UnitKind::layer, i});
    if (settings.over == "halves" && layer.attention) coarse.units.push_back({UnitKind::attention, i});
    if (settings.over == "halves" && layer.mlp) coarse.units.push_back({UnitKind::mlp, i});
  }
  UnitPools pools;
  if (!settings.inside()) pools.push_back(std::move(coarse));
  if (settings.over == "inside" || settings.over == "heads") pools.push_back(std::move(heads));
  if (settings.over == "inside" || settings.over == "channels") pools.push_back(std::move(channels));
  std::erase_if(pools, [](const UnitPool& pool) { return pool.units.empty(); });
  if (pools.empty()) fail(ErrorKind::usage, "policy-gradient: there is nothing that could go; protect fewer layers");
  for (UnitPool& pool : pools) pool.keep = settings.keep;
  return pools;
}

void start(UnitPools& pools, const PruneContext& context, const PolicySettings& settings) {
  UnitScores inside;
  Scores coarse;
  if (settings.init == "metric" && settings.inside())
    inside = wanda_scores(context.model, read_moments(context.model, context.calibration, context.sweep));
  if (settings.init == "metric" && !settings.inside()) coarse = scores_for(context);
  Rng rng(context.seed + 1);
  for (UnitPool& pool : pools) {
    std::vector<double> scores(pool.units.size());
    if (settings.init == "metric") scores = metric_scores(pool, inside, coarse);
    if (settings.init == "random")
      for (double& score : scores) score = rng.normal();
    pool.s = projected(initial_probabilities(pool, scores), pool.budget());
  }
}

MaskedLayers masked_layers(const Model& model, const UnitPools& pools, const PoolMasks& masks) {
  MaskedLayers masked;
  for (std::size_t p = 0; p < pools.size(); ++p) {
    const UnitPool& pool = pools[p];
    if (is_inside(pool.units.front().kind)) {
      add_gates(model.placement(), pool, masks[p], masked.gates);
      continue;
    }
    for (std::size_t u = 0; u < pool.units.size(); ++u) {
      if (masks[p][u]) continue;
      const PolicyUnit& unit = pool.units[u];
      if (unit.kind != UnitKind::mlp) masked.no_attention.push_back(unit.layer);
      if (unit.kind != UnitKind::attention) masked.no_mlp.push_back(unit.layer);
    }
  }
  return masked;
}

double masked_loss(const Model& model, const UnitPools& pools, const PoolMasks& masks, const torch::Tensor& ids) {
  const MaskedLayers masked = masked_layers(model, pools, masks);
  if (masked.no_attention.empty() && masked.no_mlp.empty()) return mean_loss(model.gated(masked.gates), ids);
  try {
    return mean_loss(model.view(drop_halves(model.layer_count(), masked.no_attention, masked.no_mlp), {}), ids);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::mismatch) throw;
    return std::numeric_limits<double>::quiet_NaN();
  }
}

std::map<std::int64_t, LayerSlice> kept_by_masks(const Model& model, const UnitPools& pools, const PoolMasks& masks) {
  std::map<std::int64_t, LayerSlice> slices;
  for (std::size_t p = 0; p < pools.size(); ++p)
    for (std::size_t u = 0; u < masks[p].size(); ++u) {
      const PolicyUnit& unit = pools[p].units[u];
      LayerSlice& slice = slices[unit.layer];
      const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(unit.layer)];
      if (unit.kind == UnitKind::head_group) {
        if (!slice.kv_heads) slice.kv_heads = KeptUnits{.of = layer.attention->kv_heads};
        if (masks[p][u]) slice.kv_heads->kept.push_back(unit.index);
      } else {
        if (slice.channels.empty()) slice.channels = {KeptUnits{.of = layer.mlp->intermediate}};
        if (masks[p][u]) slice.channels.front().kept.push_back(unit.index);
      }
    }
  return slices;
}

}  // namespace streamline

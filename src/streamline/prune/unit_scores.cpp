// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/unit_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/arch/layer_slice.h"
#include "streamline/base/error.h"
#include "streamline/nn/host_values.h"

namespace streamline {
namespace {

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> result(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && values[order[last + 1]] == values[order[first]]) ++last;
    for (std::size_t i = first; i <= last; ++i) result[order[i]] = static_cast<double>(first + last) / 2;
    first = last + 1;
  }
  return result;
}

bool has_removable_heads(const LayerConfig& layer) {
  return layer.attention && layer.attention->qk_norm != QkNorm::whole;
}

}  // namespace

Json to_json(const UnitScores& scores) {
  Json json = Json::array();
  for (const InsideScores& layer : scores) json.push_back({{"heads", layer.heads}, {"channels", layer.channels}});
  return json;
}

UnitScores unit_scores_from_json(const Json& json, const std::string& where) {
  try {
    UnitScores scores;
    for (const Json& layer : json)
      scores.push_back({.heads = layer.at("heads").get<std::vector<double>>(),
                        .channels = layer.at("channels").get<std::vector<std::vector<double>>>()});
    return scores;
  } catch (const Json::exception& error) {
    fail(ErrorKind::format, where, ": are no scores of heads and channels (", error.what(), ")");
  }
}

InsideScores no_scores(const LayerConfig& layer) {
  InsideScores scores;
  if (has_removable_heads(layer)) scores.heads.resize(static_cast<std::size_t>(layer.attention->kv_heads));
  if (layer.mlp)
    scores.channels.assign(layer.mlp->experts ? static_cast<std::size_t>(layer.mlp->experts->count) : 1,
                           std::vector<double>(static_cast<std::size_t>(layer.mlp->intermediate)));
  return scores;
}

InsideScores gate_scores(const LayerConfig& layer, const torch::Tensor& heads, const torch::Tensor& channels) {
  InsideScores scores = no_scores(layer);
  if (!scores.heads.empty() && heads.defined()) scores.heads = to_doubles(heads.abs());
  for (std::size_t network = 0; network < scores.channels.size() && channels.defined(); ++network)
    scores.channels[network] =
        to_doubles((channels.dim() == 2 ? channels[static_cast<std::int64_t>(network)] : channels).abs());
  return scores;
}

std::optional<UnitOwners> unit_owners(const LayerConfig& layer, Role role, Part part, std::int64_t expert) {
  const bool of_heads = is_attention_role(role);
  if (of_heads ? !layer.attention : !layer.mlp) return std::nullopt;
  const std::int64_t units = of_heads ? layer.attention->kv_heads : layer.mlp->intermediate;
  std::vector<std::int64_t> owners;
  UnitOwners result;
  for (std::int64_t unit = 0; unit < units; ++unit) {
    const KeptUnits one{.of = units, .kept = {unit}};
    LayerSlice slice;
    if (of_heads)
      slice.kv_heads = one;
    else
      slice.channels = {one};
    const auto cut = tensor_cut(layer, slice, role, part, expert);
    if (!cut) return std::nullopt;
    result.dimension = cut->dimension;
    for (const std::int64_t index : cut->indices) {
      if (index >= static_cast<std::int64_t>(owners.size())) owners.resize(static_cast<std::size_t>(index) + 1);
      owners[static_cast<std::size_t>(index)] = unit;
    }
  }
  result.owners = torch::tensor(owners, torch::kLong);
  return result;
}

GroupedValues::GroupedValues(const LayerConfig& layer) : layer_(layer) {
  const InsideScores zeros = no_scores(layer);
  if (!zeros.heads.empty()) heads_ = torch::zeros({static_cast<std::int64_t>(zeros.heads.size())}, torch::kDouble);
  for (const auto& network : zeros.channels)
    channels_.push_back(torch::zeros({static_cast<std::int64_t>(network.size())}, torch::kDouble));
}

void GroupedValues::add(Role role, Part part, std::int64_t expert, const torch::Tensor& values) {
  const std::optional<UnitOwners> owners = unit_owners(layer_, role, part, expert);
  if (!owners || (is_attention_role(role) && !heads_.defined())) return;
  const auto by_line = values.dim() == 2 ? values.sum(1 - owners->dimension, /*keepdim=*/false, torch::kDouble)
                                         : values.to(torch::kDouble);
  torch::Tensor& sums = is_attention_role(role) ? heads_ : channels_[expert < 0 ? 0 : static_cast<std::size_t>(expert)];
  sums.index_add_(0, owners->owners, by_line.to(torch::kCPU));
}

InsideScores GroupedValues::scores(GroupSum sum) const {
  const auto values = [&](const torch::Tensor& sums) {
    return to_doubles(sum == GroupSum::signed_sum ? sums.abs() : sums);
  };
  InsideScores result;
  if (heads_.defined()) result.heads = values(heads_);
  for (const torch::Tensor& network : channels_) result.channels.push_back(values(network));
  return result;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  SL_ASSERT(a.size() == b.size());
  const std::vector<double> x = ranks(a), y = ranks(b);
  const double mean = (static_cast<double>(x.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx == 0 || yy == 0 ? 0 : xy / std::sqrt(xx * yy);
}

std::vector<double> all_scores(const UnitScores& scores) {
  std::vector<double> all;
  for (const InsideScores& layer : scores) all.insert(all.end(), layer.heads.begin(), layer.heads.end());
  for (const InsideScores& layer : scores)
    for (const auto& network : layer.channels) all.insert(all.end(), network.begin(), network.end());
  return all;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/inside_statistics.h"

#include <array>
#include <cmath>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/nn/column_sums.h"

namespace streamline {
namespace {

// Which matrices any of the ranks has seen, and the widths of what they read: [layer, role, expert, width] each.
std::set<std::array<std::int64_t, 4>> seen_by_any(const Ranks& ranks, const std::vector<LayerReads>& reads) {
  std::set<std::array<std::int64_t, 4>> seen;
  for (std::size_t i = 0; i < reads.size(); ++i)
    for (const auto& [place, moments] : reads[i])
      seen.insert(
          {static_cast<std::int64_t>(i), static_cast<std::int64_t>(place.first), place.second, moments.sum.numel()});
  for (const std::string& list : ranks.gather(Json(seen).dump()))
    seen.merge(parse_json(list, "a rank's list of matrices").get<std::set<std::array<std::int64_t, 4>>>());
  return seen;
}

// What all ranks have seen together.
void sum_over(const Ranks& ranks, std::vector<LayerReads>& reads) {
  std::vector<torch::Tensor> sums;
  std::vector<double> tokens;
  const auto seen = seen_by_any(ranks, reads);
  for (const auto& [layer, role, expert, width] : seen) {
    ReadMoments& moments = reads[static_cast<std::size_t>(layer)][{static_cast<Role>(role), expert}];
    for (torch::Tensor* sum : {&moments.sum, &moments.squares}) {
      if (!sum->defined()) *sum = torch::zeros({width}, torch::kDouble);
      sums.push_back(*sum);
    }
    tokens.push_back(static_cast<double>(moments.tokens));
  }
  ranks.sum(sums);
  ranks.sum(tokens);
  auto next = tokens.begin();
  for (const auto& [layer, role, expert, width] : seen)
    reads[static_cast<std::size_t>(layer)][{static_cast<Role>(role), expert}].tokens = std::llround(*next++);
}

void fill_unseen(const LayerConfig& layer, std::int64_t hidden, LayerReads& reads) {
  const auto fill = [&](Role role, std::int64_t expert, std::int64_t width) {
    ReadMoments& moments = reads[{role, expert}];
    if (moments.sum.defined()) return;
    moments.sum = torch::zeros({width}, torch::kDouble);
    moments.squares = torch::zeros({width}, torch::kDouble);
    moments.tokens = 1;
  };
  if (!layer.mlp || !layer.mlp->experts) return;
  for (std::int64_t expert = 0; expert < layer.mlp->experts->count; ++expert) {
    fill(Role::up, expert, hidden);
    fill(Role::down, expert, layer.mlp->intermediate);
  }
}

}  // namespace

void ReadMoments::add(const torch::Tensor& read) {
  add_column_sums(read, sum, squares);
  tokens += read.numel() / read.size(-1);
}

std::vector<LayerReads> read_moments(const Model& model, const TokenBatches& text, const SweepOptions& options) {
  std::vector<LayerReads> reads(static_cast<std::size_t>(model.layer_count()));
  SweepOptions shared = options;
  shared.shared = true;
  sweep(model, text, shared,
        {.inner = [&](const SweepBatch& batch, std::int64_t layer, Role role, std::int64_t expert,
                      const torch::Tensor& inner) {
          const bool placed = inner.dim() == 3;
          const auto seen = placed ? inner.narrow(1, batch.skip_first, inner.size(1) - batch.skip_first) : inner;
          if (seen.numel() > 0) reads[static_cast<std::size_t>(layer)][{role, expert}].add(seen);
        }});
  sum_over(model.placement().ranks, reads);
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const LayerConfig& layer = model.config().layers[i];
    fill_unseen(layer, model.config().hidden, reads[i]);
    if (layer.attention && reads[i].count({Role::o, -1}) == 0)
      fail(ErrorKind::resource, "the text has no tokens to measure what layers read; give more of it");
  }
  return reads;
}

Role read_by(Role role) {
  switch (role) {
    case Role::q:
    case Role::k:
    case Role::v:
    case Role::qkv:
      return Role::q;
    case Role::gate:
    case Role::up:
    case Role::gate_up:
    case Role::stacked_gate_up:
      return Role::up;
    case Role::stacked_down:
      return Role::down;
    case Role::shared_gate:
    case Role::shared_up:
      return Role::shared_up;
    default:
      return role;
  }
}

}  // namespace streamline

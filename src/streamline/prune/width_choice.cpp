// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/width_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/allocation.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/spectra.h"
#include "streamline/prune/unit_search.h"

namespace streamline {
namespace {

constexpr std::int64_t kRatioSteps = 1000;  // that a share of parameters is looked for in

// The channels of a layer as units that all its experts have: by rank in each, worth the mean over them.
struct RankedChannels {
  std::vector<std::vector<std::size_t>> order = {};  // by network, the least first
  std::vector<double> worth = {};                    // by rank
};

std::vector<std::size_t> rising(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return values[i]; });
  return order;
}

RankedChannels ranked_channels(const std::vector<std::vector<double>>& networks) {
  RankedChannels ranked;
  if (networks.empty()) return ranked;
  ranked.worth.resize(networks.front().size());
  for (const std::vector<double>& network : networks) {
    ranked.order.push_back(rising(network));
    for (std::size_t rank = 0; rank < network.size(); ++rank)
      ranked.worth[rank] += network[ranked.order.back()[rank]] / static_cast<double>(networks.size());
  }
  return ranked;
}

KeptUnits without_first(const std::vector<std::size_t>& order, std::int64_t removed) {
  KeptUnits units{.of = std::ssize(order)};
  for (std::size_t i = static_cast<std::size_t>(removed); i < order.size(); ++i)
    units.kept.push_back(static_cast<std::int64_t>(order[i]));
  std::ranges::sort(units.kept);
  return units;
}

std::int64_t share_of(std::int64_t units, double ratio) {
  // Not below what the decimal number says: 0.3 * 10 is 3.
  return std::min(units, static_cast<std::int64_t>(std::floor(static_cast<double>(units) * ratio + 1e-9)));
}

// Of several layers' lists, each rising, how many of the first of each go so that `removed` go in all.
std::vector<std::int64_t> removed_globally(const std::vector<std::vector<double>>& lists, std::int64_t removed) {
  struct Unit {
    double worth;
    std::size_t list, rank;
  };
  std::vector<Unit> units;
  for (std::size_t list = 0; list < lists.size(); ++list) {
    double sum = 0, count = 0;
    for (const double worth : lists[list])
      if (worth >= 0) sum += worth, ++count;
    const double mean = sum > 0 ? sum / count : 1;
    for (std::size_t rank = 0; rank < lists[list].size(); ++rank) {
      const double worth = lists[list][rank];
      units.push_back({worth < 0 ? worth : worth / mean, list, rank});
    }
  }
  std::ranges::stable_sort(units, {}, &Unit::worth);
  std::vector<std::int64_t> counts(lists.size());
  for (std::int64_t i = 0; i < removed; ++i) ++counts[units[static_cast<std::size_t>(i)].list];
  return counts;
}

bool is_protected(const WidthRequest& request, std::size_t layer) {
  return std::ranges::find(request.protect, static_cast<std::int64_t>(layer)) != request.protect.end();
}

// The share that each layer loses where it does not go by what single units are worth.
std::vector<double> layer_shares(const Config& config, const WidthRequest& request, double ratio) {
  if (request.scope != Scope::alpha) return std::vector<double>(config.layers.size(), ratio);
  std::vector<std::size_t> layers;  // that may lose any
  std::vector<AllocationPart> parts;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    if (is_protected(request, i)) continue;
    layers.push_back(i);
    parts.push_back({.metric = request.exponents.at(i),
                     .size = std::max<std::int64_t>(1, layer_parameters(config, config.layers[i]))});
  }
  std::vector<double> shares(config.layers.size());
  if (parts.empty()) return shares;
  const Allocation allocation = allocate(parts, {.ratio = ratio, .spread = request.spread, .clip = true});
  for (std::size_t i = 0; i < layers.size(); ++i) shares[layers[i]] = allocation.ratios[i];
  return shares;
}

// Whether one layer, or chance, decides the shares.
std::string doubt_about_shares(const WidthRequest& request) {
  std::vector<double> exponents;
  std::vector<std::int64_t> layers;
  for (std::size_t i = 0; i < request.exponents.size(); ++i) {
    if (is_protected(request, i)) continue;
    exponents.push_back(request.exponents[i]);
    layers.push_back(static_cast<std::int64_t>(i));
  }
  return doubt_about_exponents(exponents, {}, layers);
}

// How many of each layer's units go; empty lists lose none.
std::vector<std::int64_t> removed_units(const std::vector<std::vector<double>>& lists, double ratio,
                                        const std::vector<double>& shares, Scope scope) {
  if (scope == Scope::global) {
    std::int64_t units = 0;
    for (const auto& list : lists) units += std::ssize(list);
    return removed_globally(lists, share_of(units, ratio));
  }
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < lists.size(); ++i) counts.push_back(share_of(std::ssize(lists[i]), shares[i]));
  return counts;
}

void fix_counts(std::vector<std::int64_t>& counts, const std::vector<std::vector<double>>& lists,
                const std::vector<std::int64_t>& kept) {
  if (kept.empty()) return;
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = std::max<std::int64_t>(0, std::ssize(lists[i]) - kept[i]);
}

// By layer; computed once where the context remembers.
std::vector<double> exponents_of(const PruneContext& context) {
  const auto make = [&] {
    return layer_exponents(spectra(context.model, {.seed = context.seed}), context.model.layer_count());
  };
  if (!context.memory) return make();
  return context.memory->fact(kExponentsFact, [&] { return Json(make()); }).get<std::vector<double>>();
}

// What of the parameters does not change what units are worth.
Json without_sizes(Json params) {
  for (const char* size : {"ratio", "sparsity", "keep-heads", "keep-channels", "inside", "scope", "spread", "protect"})
    params.erase(size);
  return params;
}

// Counts that say nothing, contradict what may go, or split groups of heads. Errors: usage.
void check_counts(const Config& config, WidthRequest& request, const std::optional<std::int64_t>& heads,
                  const std::string& inside) {
  if (heads && inside == "channels") fail(ErrorKind::usage, "--keep-heads beside --inside channels: no head may go");
  if (request.channels && inside == "heads")
    fail(ErrorKind::usage, "--keep-channels beside --inside heads: no channel may go");
  std::int64_t most_heads = 0, most_channels = 0;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    if (layer.attention) most_heads = std::max(most_heads, layer.attention->heads);
    if (layer.mlp) most_channels = std::max(most_channels, layer.mlp->intermediate);
    if (!heads) continue;
    std::int64_t kept = layer.attention ? layer.attention->kv_heads : 0;
    if (layer.attention && *heads < layer.attention->heads && !is_protected(request, i))
      kept = kv_heads_of(*layer.attention, *heads, "--keep-heads", ErrorKind::usage);
    request.kv_heads.push_back(kept);
  }
  const auto check = [](const char* option, const std::optional<std::int64_t>& kept, std::int64_t most) {
    if (kept && *kept >= most)
      fail(ErrorKind::usage, option, " ", *kept, ": no layer has more than ", most, ", so that nothing would go");
  };
  check("--keep-channels", request.channels, most_channels);
  if (!request.channels || heads > most_heads) check("--keep-heads", heads, most_heads);
}

}  // namespace

Params width_params(const char* scope) {
  return {{.name = "ratio",
           .type = ParamType::number,
           .help = "share of the groups of heads and of the channels that goes, between 0 and 1",
           .minimum = 0,
           .maximum = 1},
          sparsity_param(),
          {.name = "keep-heads",
           .type = ParamType::integer,
           .help = "query heads that each layer keeps: whole groups of those that share keys and values",
           .minimum = 1},
          {.name = "keep-channels",
           .type = ParamType::integer,
           .help = "channels of its MLP that each layer keeps",
           .minimum = 1},
          {.name = "inside",
           .type = ParamType::text,
           .help = "what may go inside layers",
           .default_value = "both",
           .choices = {"both", "heads", "channels"}},
          {.name = "scope",
           .type = ParamType::text,
           .help = "local: every layer loses the same share; global: what is worth least of all, each layer's scores "
                   "over their mean; alpha: shares by the spectra of the layers' matrices (AlphaPruning)",
           .default_value = scope,
           .choices = {"local", "global", "alpha"},
           .goes_with = {{"ratio"}, {"sparsity"}}},
          {.name = "spread",
           .type = ParamType::number,
           .help = "of scope alpha: how far the shares of layers may differ, between 0 and 1",
           .default_value = 0.3,
           .minimum = 0,
           .maximum = 1,
           .goes_with = {{"scope", {"alpha"}}}},
          protect_param()};
}

WidthRequest read_width_request(const PruneContext& context, const Json& params, std::string_view method) {
  WidthRequest request{.ratio = optional_value<double>(params, "ratio"),
                       .channels = optional_value<std::int64_t>(params, "keep-channels"),
                       .protect = params.at("protect").get<std::vector<std::int64_t>>()};
  const auto heads = optional_value<std::int64_t>(params, "keep-heads");
  const bool counts = heads || request.channels;
  const int given = (request.ratio ? 1 : 0) + (params.at("sparsity").is_null() ? 0 : 1) + (counts ? 1 : 0);
  if (given != 1)
    fail(ErrorKind::usage, method, " needs exactly one of --ratio, --sparsity and --keep-heads / --keep-channels; ",
         given, " are given",
         given == 0 ? ": say how much goes, e.g. --ratio 0.2, or what is left, e.g. --budget params=0.8x" : "");
  if (!params.at("sparsity").is_null()) request.sparsity = read_sparsity(params, method, {"sparsity"});
  const std::string inside = params.at("inside").get<std::string>();
  request.heads = inside != "channels" && (!counts || heads);
  request.mlps = inside != "heads" && (!counts || request.channels);
  check_counts(context.model.config(), request, heads, inside);
  if (request.ratio.value_or(0) >= 1 && request.heads && request.mlps && request.protect.empty())
    fail(ErrorKind::usage, "--ratio ", *request.ratio, " takes everything; give less, or --inside heads or channels");
  const std::string scope = params.at("scope").get<std::string>();
  request.scope = scope == "global" ? Scope::global : scope == "alpha" ? Scope::alpha : Scope::local;
  request.spread = params.at("spread").get<double>();
  if (request.scope == Scope::alpha && request.ratio.value_or(0) >= 1)
    fail(ErrorKind::usage, "--scope alpha divides what goes among the layers, and --ratio ", *request.ratio,
         " takes all of every one; give less, or --scope local");
  if (request.scope == Scope::alpha) request.exponents = exponents_of(context);
  check_protected(request.protect, context.model.layer_count());
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, method, " takes heads and channels and leaves layers where they are: nothing can be put in ",
         "their place; leave out --replace");
  return request;
}

std::map<std::int64_t, LayerSlice> kept_units(const Config& config, const UnitScores& scores,
                                              const WidthRequest& request, double ratio) {
  SL_ASSERT(std::ssize(scores) == config.layer_count());
  std::vector<std::vector<std::size_t>> head_order(scores.size());
  std::vector<RankedChannels> channels(scores.size());
  std::vector<std::vector<double>> heads(scores.size()), worth(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (is_protected(request, i)) continue;
    if (request.heads) {
      head_order[i] = rising(scores[i].heads);
      for (const std::size_t head : head_order[i]) heads[i].push_back(scores[i].heads[head]);
    }
    if (request.mlps) channels[i] = ranked_channels(scores[i].channels);
    worth[i] = channels[i].worth;
  }
  const std::vector<double> shares = layer_shares(config, request, ratio);
  std::vector<std::int64_t> less_heads = removed_units(heads, ratio, shares, request.scope),
                            less_channels = removed_units(worth, ratio, shares, request.scope);
  fix_counts(less_heads, heads, request.kv_heads);
  if (request.channels) fix_counts(less_channels, worth, std::vector<std::int64_t>(worth.size(), *request.channels));
  std::map<std::int64_t, LayerSlice> slices;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    LayerSlice slice;
    if (less_heads[i] > 0) slice.kv_heads = without_first(head_order[i], less_heads[i]);
    if (less_channels[i] > 0)
      for (const auto& order : channels[i].order) slice.channels.push_back(without_first(order, less_channels[i]));
    if (!slice.empty()) slices[static_cast<std::int64_t>(i)] = std::move(slice);
  }
  return slices;
}

double resolved_ratio(const PruneContext& context, const UnitScores& scores, const WidthRequest& request) {
  if (!request.sparsity) return request.ratio.value_or(0);
  const Model& model = context.model;
  const auto saved = [&](std::int64_t step) {
    const auto slices =
        kept_units(model.config(), scores, request, static_cast<double>(step) / static_cast<double>(kRatioSteps));
    const Plan plan = with_slices(model.config(), keep_all(model.layer_count()), slices).plan;
    return static_cast<double>(parameters_saved(context, plan)) / static_cast<double>(model.parameters());
  };
  std::int64_t below = 0, above = kRatioSteps - 1;
  if (saved(above) < *request.sparsity)
    fail(ErrorKind::usage, "--sparsity ", *request.sparsity, ": heads and channels are ", saved(above),
         " of all parameters");
  while (below + 1 < above) {
    const std::int64_t middle = (below + above) / 2;
    (saved(middle) < *request.sparsity ? below : above) = middle;
  }
  const bool nearer_below = below > 0 && *request.sparsity - saved(below) < saved(above) - *request.sparsity;
  return static_cast<double>(nearer_below ? below : above) / static_cast<double>(kRatioSteps);
}

Proposal width_proposal(const PruneContext& context, std::string_view method, const Json& params,
                        const UnitScores& scores, const WidthRequest& request) {
  const Config& config = context.model.config();
  const double ratio = resolved_ratio(context, scores, request);
  const auto slices = kept_units(config, scores, request, ratio);
  if (slices.empty() && (!request.kv_heads.empty() || request.channels))
    fail(ErrorKind::usage, method, ": the layers that may be cut have no more heads and channels than are kept");
  if (slices.empty())
    fail(ErrorKind::usage, method, ": a ratio of ", ratio, " takes no head and no channel; take a larger one",
         request.scope == Scope::local ? ", or --scope global" : "");
  SlicedPlan made = with_slices(config, keep_all(context.model.layer_count()), slices);
  Proposal proposal;
  proposal.plan = std::move(made.plan);
  proposal.warnings = std::move(made.notes);
  if (request.heads && request.mlps && ratio > 0 &&
      std::ranges::none_of(slices, [](const auto& entry) { return entry.second.kv_heads.has_value(); }))
    proposal.warnings.push_back("no head goes: a share of " + Json(ratio).dump() +
                                " of a layer's groups of heads is less than one (--scope global weighs the layers "
                                "against one another)");
  if (request.scope == Scope::alpha)
    if (const std::string doubt = doubt_about_shares(request); !doubt.empty())
      proposal.warnings.push_back(doubt + "; compare with --scope local");
  proposal.plan.scores = {{"ratio", ratio}};
  proposal.plan.scores.update(savings(context, proposal.plan));
  sign(proposal.plan, context, method, params);
  return proposal;
}

UnitScores remembered_scores(const PruneContext& context, std::string_view method, const Json& params,
                             const std::function<UnitScores()>& make, std::map<std::string, double>* beside) {
  Json key = search_key(context, method, params);
  key["parameters"] = without_sizes(params);
  UnitScores scores;
  const auto read = [&](const Json& known) {
    scores = unit_scores_from_json(known.at("scores"), "the state");
    if (beside) *beside = known.at("beside").get<std::map<std::string, double>>();
  };
  if (restore(context, key, read) && std::ssize(scores) == context.model.layer_count()) return scores;
  scores = make();
  Json state = {{"scores", to_json(scores)}};
  if (beside) state["beside"] = *beside;
  keep(context, key, state);
  return scores;
}

}  // namespace streamline

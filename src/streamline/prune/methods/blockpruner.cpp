// SPDX-License-Identifier: Apache-2.0
// BlockPruner (Zhong et al., "BlockPruner: Fine-grained Pruning for Large Language Models", arXiv 2406.10594): take out
// attentions and MLPs one by one, each time the one without which the perplexity is lowest.
#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/prune/half_choice.h"
#include "streamline/prune/half_losses.h"
#include "streamline/prune/method.h"
#include "streamline/prune/proposal.h"

namespace streamline {
namespace {

enum class Kind { mixed, attention, mlp };

struct Request {
  std::int64_t halves = 0;      // to take out; 0: until `parameters` are gone
  std::int64_t parameters = 0;  // of the whole model
  Kind kind = Kind::mixed;
  std::vector<std::int64_t> protect = {};
  bool stop_early = false;
};

// One half that was taken out.
struct Taken {
  Half half;
  double loss = 0;                  // of the model without it
  std::optional<double> runner_up;  // loss of the second best candidate, if it was read to its end
};

struct Search {
  double whole = 0;  // loss of the model at the start
  std::vector<Half> active;
  std::vector<Taken> taken;
  std::vector<std::pair<Half, double>> last_losses;  // of the last round
  HalfCounter counter;
};

std::int64_t half_parameters(const Config& config, const Half& half) {
  LayerConfig layer = config.layers[static_cast<std::size_t>(half.layer)];
  const bool alone = !layer.attention || !layer.mlp;
  if (half.attention)
    layer.mlp.reset();
  else
    layer.attention.reset();
  return layer_parameters(config, alone ? config.layers[static_cast<std::size_t>(half.layer)] : layer);
}

Request read_request(const PruneContext& context, const Json& params) {
  const auto given = [&](const char* name) { return !params.at(name).is_null(); };
  const int sizes = (given("layers") ? 1 : 0) + (given("halves") ? 1 : 0) + (given("sparsity") ? 1 : 0);
  if (sizes != 1)
    fail(ErrorKind::usage, "blockpruner needs exactly one of --layers, --halves and --sparsity; ", sizes, " are given");
  if (context.replacement.name != "none")
    fail(ErrorKind::usage,
         "blockpruner takes out halves of layers, and nothing is trained in their place; use "
         "--replace none");
  const Config& config = context.model.config();
  Request request{.protect = params.at("protect").get<std::vector<std::int64_t>>(),
                  .stop_early = params.at("early-stop").get<bool>()};
  const std::string kind = params.at("kind").get<std::string>();
  request.kind = kind == "attention" ? Kind::attention : kind == "mlp" ? Kind::mlp : Kind::mixed;
  if (given("halves")) request.halves = params.at("halves").get<std::int64_t>();
  if (given("sparsity")) {
    const double share = params.at("sparsity").get<double>();
    if (!(share > 0 && share < 1)) fail(ErrorKind::usage, "--sparsity ", share, ": must lie between 0 and 1");
    request.parameters =
        static_cast<std::int64_t>(std::llround(share * static_cast<double>(context.model.parameters())));
  }
  if (given("layers")) {
    const std::int64_t layers = params.at("layers").get<std::int64_t>();
    if (layers >= config.layer_count())
      fail(ErrorKind::usage, "--layers ", layers, ": the model has ", config.layer_count());
    std::int64_t all = 0;
    for (const LayerConfig& layer : config.layers) all += layer_parameters(config, layer);
    request.parameters = all * layers / config.layer_count();
  }
  return request;
}

// Whether the next half is still to be taken out: a budget in parameters is met when taking one more would lead
// farther from it.
bool goes_on(const Config& config, const Request& request, const Search& search, const Half& next) {
  if (request.halves > 0) return std::ssize(search.taken) < request.halves;
  std::int64_t gone = 0;
  for (const Taken& taken : search.taken) gone += half_parameters(config, taken.half);
  const std::int64_t with_next = gone + half_parameters(config, next);
  return std::abs(request.parameters - with_next) < std::abs(request.parameters - gone);
}

// In the order of algorithm 1: attentions, then MLPs, each by depth.
std::vector<Half> candidates(const Request& request, const Search& search) {
  std::vector<Half> result;
  for (const bool attention : {true, false})
    for (const Half& half : search.active) {
      const bool wanted = request.kind == Kind::mixed || (request.kind == Kind::attention) == attention;
      const bool guarded = std::ranges::find(request.protect, half.layer) != request.protect.end();
      if (half.attention == attention && wanted && !guarded) result.push_back(half);
    }
  return result;
}

// The likely winner first, so that hopeless ones are given up early; the choice does not depend on it.
std::vector<Half> by_last_losses(std::vector<Half> halves, const Search& search) {
  const auto last = [&](const Half& half) {
    for (const auto& [known, loss] : search.last_losses)
      if (known == half) return loss;
    return std::numeric_limits<double>::max();
  };
  std::ranges::stable_sort(halves, [&](const Half& a, const Half& b) { return last(a) < last(b); });
  return halves;
}

// The best half to take out next, with the losses of all; nothing when no candidate is left.
std::optional<Taken> best_candidate(const PruneContext& context, const Request& request, Search& search) {
  const std::vector<Half> in_order = candidates(request, search);
  if (in_order.empty()) return std::nullopt;
  const std::vector<Half> tried = by_last_losses(in_order, search);
  const std::string label = "round " + std::to_string(search.taken.size() + 1);
  const HalfLosses losses = half_losses(context.model, search.active, tried, context.calibration,
                                        {.batch_tokens = context.sweep.batch_tokens,
                                         .stop_early = request.stop_early,
                                         .label = context.sweep.label.empty() ? "" : label},
                                        search.counter);
  if (search.taken.empty()) search.whole = losses.whole;
  search.last_losses.clear();
  for (std::size_t i = 0; i < tried.size(); ++i) search.last_losses.emplace_back(tried[i], losses.without[i]);
  const auto loss_of = [&](const Half& half) {
    return losses.without[static_cast<std::size_t>(std::ranges::find(tried, half) - tried.begin())];
  };
  Taken best{.half = in_order.front(), .loss = loss_of(in_order.front()), .runner_up = {}};
  for (const Half& half : in_order)
    if (loss_of(half) < best.loss) best = {.half = half, .loss = loss_of(half), .runner_up = {}};
  for (const Half& half : in_order)
    if (half != best.half && std::isfinite(loss_of(half)))
      best.runner_up = std::min(best.runner_up.value_or(loss_of(half)), loss_of(half));
  return best;
}

void take(Search& search, const Taken& best) {
  std::erase(search.active, best.half);
  search.taken.push_back(best);
}

Search run(const PruneContext& context, const Request& request) {
  Search search;
  search.active = all_halves(context.model);
  const auto all = std::ssize(search.active);
  if (request.halves >= all)
    fail(ErrorKind::usage, "--halves ", request.halves, ": the model has ", all, ", and one must stay");
  for (;;) {
    if (request.halves > 0 && std::ssize(search.taken) == request.halves) return search;
    const std::optional<Taken> best = best_candidate(context, request, search);
    if (!best) {
      if (request.halves > 0)
        fail(ErrorKind::usage, "--halves ", request.halves, ": only ", search.taken.size(), " may be taken out");
      return search;
    }
    if (!goes_on(context.model.config(), request, search, best->half)) return search;
    take(search, *best);
    log_detail("took out " + name(best->half) + ": perplexity " + std::to_string(std::exp(best->loss)));
  }
}

Action action_without(bool attention_gone, bool mlp_gone) {
  if (attention_gone && mlp_gone) return Action::drop;
  if (attention_gone) return Action::drop_attention;
  return mlp_gone ? Action::drop_mlp : Action::keep;
}

// Layers of which nothing is left are dropped; runs of the same action are one segment.
Plan to_plan(const PruneContext& context, const std::vector<Half>& active) {
  Plan plan = keep_all(context.model.layer_count());
  plan.segments.clear();
  for (std::int64_t layer = 0; layer < plan.base.layers; ++layer) {
    const LayerConfig& config = context.model.config().layers[static_cast<std::size_t>(layer)];
    const auto gone = [&](bool attention) { return std::ranges::find(active, Half{layer, attention}) == active.end(); };
    const bool whole = config.attention && config.mlp;
    const Action action = whole ? action_without(gone(true), gone(false))
                                : (gone(config.attention.has_value()) ? Action::drop : Action::keep);
    if (!plan.segments.empty() && plan.segments.back().action == action)
      plan.segments.back().last = layer;
    else
      plan.segments.push_back({.first = layer, .last = layer, .action = action});
  }
  return plan;
}

Json summary_of(const PruneContext& context, const Search& search) {
  Json rounds = Json::array();
  std::int64_t saved = 0;
  for (const Taken& taken : search.taken) {
    Json round = {{"half", name(taken.half)}, {"perplexity", std::exp(taken.loss)}};
    if (taken.runner_up) round["margin"] = *taken.runner_up - taken.loss;  // nats a token
    rounds.push_back(std::move(round));
    saved += half_parameters(context.model.config(), taken.half);
  }
  return {{"perplexity", std::exp(search.whole)},
          {"rounds", rounds},
          {"evaluations", search.counter.evaluations},
          {"halves_executed", search.counter.halves},
          {"parameters_saved", saved},
          {"sparsity", static_cast<double>(saved) / static_cast<double>(context.model.parameters())}};
}

Proposal propose(PruneContext& context, const Json& params) {
  const Request request = read_request(context, params);
  const Search search = run(context, request);
  if (search.taken.empty())
    fail(ErrorKind::usage, "blockpruner: the budget is less than the smallest half; nothing would be taken out");
  Proposal proposal;
  proposal.scores = scores_for(context);
  proposal.plan = to_plan(context, search.active);
  sign(proposal.plan, context, "blockpruner", params);
  proposal.plan.scores = summary_of(context, search);
  return proposal;
}

// Halves by number, layers, or share of the parameters, and what is this method's own.
Params parameters() {
  Params params = half_params();
  for (Param& param : params)
    if (param.name == "layers") param.help = "as many parameters as so many layers have";
  params.push_back({.name = "kind",
                    .type = ParamType::text,
                    .help = "what may be taken out: mixed, attention, mlp",
                    .default_value = "mixed",
                    .choices = {"mixed", "attention", "mlp"}});
  params.push_back({.name = "early-stop",
                    .type = ParamType::boolean,
                    .help =
                        "give up candidates that are certain not to be the best; the choice stays the same, and the "
                        "time is less where many are far worse",
                    .default_value = false});
  return params;
}

}  // namespace

extern const Method blockpruner_method;
const Method blockpruner_method = {
    .name = "blockpruner",
    .title = "BlockPruner: attentions and MLPs one by one, by the perplexity without them",
    .paper = "Zhong et al., Findings of ACL 2025, arXiv 2406.10594",
    .params = parameters(),
    .propose = propose};

}  // namespace streamline

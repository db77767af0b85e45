// SPDX-License-Identifier: Apache-2.0
// BlockPruner (Zhong et al., "BlockPruner: Fine-grained Pruning for Large Language Models", arXiv 2406.10594): take out
// attentions and MLPs one by one, each time the one without which the perplexity is lowest.
#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/half_choice.h"
#include "streamline/prune/half_losses.h"
#include "streamline/prune/method.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/unit_search.h"

namespace streamline::blockpruner_method {
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

Plan plan_of(const Config& config, const std::vector<Half>& halves) {
  std::vector<StackPart> parts;
  for (const Half& half : halves)
    parts.push_back({.layer = half.layer, .attention = half.attention, .mlp = !half.attention});
  return plan_without(config, parts);
}

Request read_request(const PruneContext& context, const Json& params) {
  const std::optional<double> sparsity = read_sparsity(params, "blockpruner", {"layers", "halves", "sparsity"});
  if (context.replacement.name != "none")
    fail(ErrorKind::usage,
         "blockpruner takes out halves of layers, and nothing is trained in their place; use --replace none");
  const Config& config = context.model.config();
  Request request{.halves = optional_value<std::int64_t>(params, "halves").value_or(0),
                  .protect = params.at("protect").get<std::vector<std::int64_t>>(),
                  .stop_early = params.at("early-stop").get<bool>()};
  check_protected(request.protect, config.layer_count());
  const std::string kind = params.at("kind").get<std::string>();
  request.kind = kind == "attention" ? Kind::attention : kind == "mlp" ? Kind::mlp : Kind::mixed;
  if (sparsity)
    request.parameters =
        static_cast<std::int64_t>(std::llround(*sparsity * static_cast<double>(context.model.parameters())));
  if (const auto layers = optional_value<std::int64_t>(params, "layers")) {
    if (*layers >= config.layer_count())
      fail(ErrorKind::usage, "--layers ", *layers, ": the model has ", config.layer_count());
    std::int64_t all = 0;
    for (const LayerConfig& layer : config.layers) all += layer_parameters(config, layer);
    request.parameters = all * *layers / config.layer_count();
  }
  return request;
}

std::vector<Half> taken_halves(const Search& search) {
  std::vector<Half> halves;
  for (const Taken& taken : search.taken) halves.push_back(taken.half);
  return halves;
}

// Whether a budget in parameters is met better with one half more.
bool comes_closer(const PruneContext& context, const Request& request, const Search& search, const Half& next) {
  std::vector<Half> halves = taken_halves(search);
  const auto distance = [&] {
    const Plan plan = plan_of(context.model.config(), halves);
    return std::abs(request.parameters - parameters_saved(context, plan));
  };
  const std::int64_t before = distance();
  halves.push_back(next);
  return distance() < before;
}

// In the order of algorithm 1: attentions, then MLPs, each by depth.
std::vector<Half> candidates(const Request& request, const Search& search) {
  std::vector<Half> result;
  for (const bool attention : {true, false})
    for (const Half& half : search.active) {
      const bool wanted = request.kind == Kind::mixed || (request.kind == Kind::attention) == attention;
      if (half.attention == attention && wanted && !holds_any(request.protect, half.layer, 1)) result.push_back(half);
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
  const std::string label =
      "round " + std::to_string(search.taken.size() + 1) +
      (search.taken.empty() ? "" : ", perplexity so far " + perplexity_text(std::exp(search.taken.back().loss)));
  const HalfLosses losses = half_losses(context.model, search.active, tried, context.calibration,
                                        {.batch_tokens = context.sweep.batch_tokens,
                                         .stop_early = request.stop_early,
                                         .label = context.sweep.label.empty() ? "" : label,
                                         .prefixes = context.prefixes},
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

Json to_json(const Taken& taken) {
  Json json = {{"layer", taken.half.layer}, {"attention", taken.half.attention}, {"loss", taken.loss}};
  if (taken.runner_up) json["runner_up"] = *taken.runner_up;
  return json;
}

Taken taken_from_json(const Json& json) {
  Taken taken{.half = {json.at("layer").get<std::int64_t>(), json.at("attention").get<bool>()},
              .loss = json.at("loss").get<double>(),
              .runner_up = {}};
  if (json.contains("runner_up")) taken.runner_up = json.at("runner_up").get<double>();
  return taken;
}

// The rounds of an earlier run of this search, as far as it came.
std::vector<Taken> remembered(const PruneContext& context, const Json& key, Search& search) {
  std::vector<Taken> rounds;
  restore(context, key, [&](const Json& known) {
    std::vector<Half> there = search.active;
    for (const Json& round : known.at("rounds")) {
      rounds.push_back(taken_from_json(round));
      if (std::erase(there, rounds.back().half) != 1) fail_broken_state(name(rounds.back().half) + " is not there");
    }
    search.whole = known.at("whole").get<double>();
    search.counter = {.halves = known.at("halves_executed"), .evaluations = known.at("evaluations")};
  });
  return rounds;
}

void remember(const PruneContext& context, const Json& key, const std::vector<Taken>& rounds, const Search& search) {
  Json json = Json::array();
  for (const Taken& taken : rounds) json.push_back(to_json(taken));
  keep(context, key,
       {{"rounds", json},
        {"whole", search.whole},
        {"halves_executed", search.counter.halves},
        {"evaluations", search.counter.evaluations}});
}

void take(Search& search, const Taken& best) {
  std::erase(search.active, best.half);
  search.taken.push_back(best);
}

Search run(const PruneContext& context, const Request& request, const Json& key) {
  Search search;
  search.active = all_halves(context.model);
  const auto all = std::ssize(search.active);
  if (request.halves >= all)
    fail(ErrorKind::usage, "--halves ", request.halves, ": the model has ", all, ", and one must stay");
  std::vector<Taken> rounds = remembered(context, key, search);
  for (;;) {
    if (request.halves > 0 && std::ssize(search.taken) == request.halves) return search;
    std::optional<Taken> best;
    if (search.taken.size() < rounds.size()) {
      best = rounds[search.taken.size()];
    } else if ((best = best_candidate(context, request, search))) {
      rounds.push_back(*best);
      remember(context, key, rounds, search);
    }
    if (!best) {
      if (request.halves > 0)
        fail(ErrorKind::usage, "--halves ", request.halves, ": only ", search.taken.size(), " may be taken out");
      return search;
    }
    if (request.halves == 0 && !comes_closer(context, request, search, best->half)) return search;
    take(search, *best);
    log_detail("took out " + name(best->half) + ": perplexity " + perplexity_text(std::exp(best->loss)));
  }
}

Json summary_of(const PruneContext& context, const Search& search, const Plan& plan) {
  Json rounds = Json::array();
  for (const Taken& taken : search.taken) {
    Json round = {{"half", name(taken.half)}, {"perplexity", std::exp(taken.loss)}};
    if (taken.runner_up) round["margin"] = *taken.runner_up - taken.loss;  // nats a token
    rounds.push_back(std::move(round));
  }
  Json summary = {{"perplexity", std::exp(search.whole)},
                  {"rounds", rounds},
                  {"evaluations", search.counter.evaluations},
                  {"halves_executed", search.counter.halves}};
  summary.update(savings(context, plan));
  return summary;
}

Proposal propose(PruneContext& context, const Json& params) {
  const Request request = read_request(context, params);
  const Search search = run(context, request, search_key(context, "blockpruner", params));
  if (search.taken.empty())
    fail(ErrorKind::usage, "blockpruner: the budget is less than the smallest half; nothing would be taken out");
  Proposal proposal;
  proposal.scores = scores_for(context);
  proposal.plan = plan_of(context.model.config(), taken_halves(search));
  sign(proposal.plan, context, "blockpruner", params);
  proposal.plan.scores = summary_of(context, search, proposal.plan);
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

extern const Method kMethod;
const Method kMethod = {
    .name = "blockpruner",
    .title = "BlockPruner: attentions and MLPs one by one, by the perplexity without them",
    .paper = "Zhong et al., Findings of ACL 2025, arXiv 2406.10594",
    .params = parameters(),
    .propose = propose,
    .keeps_state = true,
    .keeps_prefixes = true,
};

}  // namespace streamline::blockpruner_method

// SPDX-License-Identifier: Apache-2.0
// MINI-LLM (Cheng et al., "Memory-Efficient Structured Pruning for Large Language Models", arXiv 2407.11681): heads and
// channels by magnitude, activation and a gradient that forward passes estimate. What is not public of it is
// reconstructed (docs/methods/mini-llm.md).
#include <cmath>
#include <cstdio>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/feature_sensitivity.h"
#include "streamline/prune/taylor_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::mini_llm_method {
namespace {

constexpr double kStableRanks = 0.3;

struct Settings {
  Sensitivity variant = Sensitivity::product;
  ProbeSpace space = ProbeSpace::gates;
  bool exact = false;
  std::int64_t probes = 0, iterations = 1;
  double eps = 0;
};

Settings settings_of(const Json& params) {
  Settings settings{.variant = sensitivity(params.at("fms").get<std::string>()),
                    .space = params.at("zo-space") == "weights" ? ProbeSpace::weights : ProbeSpace::gates,
                    .exact = params.at("gradient") == "exact",
                    .probes = params.at("probes").get<std::int64_t>(),
                    .iterations = params.at("iterations").get<std::int64_t>(),
                    .eps = params.at("zo-eps").get<double>()};
  if (!(settings.eps > 0) || !std::isfinite(settings.eps))
    fail(ErrorKind::usage, "--zo-eps ", settings.eps, ": must be a positive number");
  return settings;
}

// Units of the model as it was, of scores of what is left of it: those that went are worth less than nothing.
InsideScores of_whole_layer(const LayerConfig& layer, const LayerSlice& slice, const InsideScores& scores) {
  const auto spread = [](const KeptUnits& units, const std::vector<double>& kept) {
    std::vector<double> all(static_cast<std::size_t>(units.of), -1.0);
    for (std::size_t i = 0; i < kept.size(); ++i) all[static_cast<std::size_t>(units.kept[i])] = kept[i];
    return all;
  };
  InsideScores whole = scores;
  if (slice.kv_heads && !scores.heads.empty()) whole.heads = spread(*slice.kv_heads, scores.heads);
  if (!slice.channels.empty())
    for (std::size_t i = 0; i < scores.channels.size(); ++i)
      whole.channels[i] = spread(slice.channels[slice.channels.size() == 1 ? 0 : i], scores.channels[i]);
  SL_ASSERT(!layer.mlp || whole.channels.empty() || std::ssize(whole.channels.front()) == layer.mlp->intermediate);
  return whole;
}

class Estimate {
 public:
  Estimate(const PruneContext& context, const Settings& settings, const Json& params)
      : context_(context), settings_(settings), ids_(gradient_tokens(context.model, context.calibration, params)) {}

  UnitScores scores(const Model& model, std::uint64_t seed) {
    std::vector<LayerReads> reads;
    const bool by_weights = settings_.exact || settings_.space == ProbeSpace::weights;
    if (by_weights && settings_.variant != Sensitivity::taylor)
      reads = read_moments(model, context_.calibration, context_.sweep);
    else
      reads.resize(static_cast<std::size_t>(model.layer_count()));
    if (settings_.exact) return exact_sensitivity(settings_.variant, model, reads, ids_);
    if (by_weights && settings_.variant == Sensitivity::wanda)
      return probed_sensitivity(settings_.variant, model, reads, {});
    values_ = probed_values(model, settings_.space);
    const std::vector<Probe> probes = probed(model, seed);
    const auto scored = [&](const std::vector<Probe>& some) {
      return by_weights ? probed_sensitivity(settings_.variant, model, reads, some) : probed_gates(model, some);
    };
    const auto half = static_cast<std::ptrdiff_t>(probes.size() / 2);
    if (half > 0)
      agreement_ = spearman(all_scores(scored({probes.begin(), probes.begin() + half})),
                            all_scores(scored({probes.begin() + half, probes.end()})));
    return scored(probes);
  }

  // How alike two halves of the last probes rank the units; absent where there were none.
  std::optional<double> agreement() const { return agreement_; }
  // Values whose slopes the last probes estimated; 0 where there were none.
  std::int64_t values() const { return values_; }

 private:
  std::vector<Probe> probed(const Model& model, std::uint64_t seed) const {
    std::optional<Progress> progress;
    if (!context_.sweep.label.empty()) progress.emplace("probing", settings_.probes, "probes");
    const Ranks& ranks = model.placement().ranks;
    std::int64_t losses = 0;
    return probe_slopes(
        [&](std::uint64_t along, double step) {
          const double loss = loss_along(model, ids_, settings_.space, along, step);
          if (!std::isfinite(loss))
            fail(ErrorKind::numeric, "a loss of a perturbed model is NaN or infinite; try a smaller --zo-eps, or ",
                 "--dtype float32");
          if (progress && ++losses % 2 == 0) progress->advance(ranks.size());
          return loss;
        },
        settings_.probes, settings_.eps, seed, ranks);
  }

  const PruneContext& context_;
  Settings settings_;
  torch::Tensor ids_;
  std::optional<double> agreement_;
  std::int64_t values_ = 0;
};

// The last of several rounds, each of which takes its part of what goes and looks at what is left.
UnitScores scores_of_rounds(const PruneContext& context, const Settings& settings, const WidthRequest& request,
                            Estimate& estimate) {
  const Model& model = context.model;
  UnitScores scores = estimate.scores(model, context.seed);
  const double ratio = settings.iterations > 1 ? resolved_ratio(context, scores, request) : 0;
  for (std::int64_t round = 1; round < settings.iterations; ++round) {
    const double so_far = ratio * static_cast<double>(round) / static_cast<double>(settings.iterations);
    const auto slices = kept_units(model.config(), scores, request, so_far);
    const Plan plan = with_slices(model.config(), keep_all(model.layer_count()), slices).plan;
    if (plan.segments.size() != 1)
      fail(ErrorKind::usage, "mini-llm: a half of a layer would go before the last of --iterations; take fewer, or ",
           "--scope local");
    const UnitScores left = estimate.scores(model.view(plan, {}), context.seed + static_cast<std::uint64_t>(round));
    for (std::size_t i = 0; i < scores.size(); ++i)
      scores[i] = of_whole_layer(model.config().layers[i], slice_of(plan, static_cast<std::int64_t>(i)), left[i]);
  }
  return scores;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

// How noisy the estimate is, in the plan's scores and to the user.
void tell_noise(Proposal& proposal, const Settings& settings, const Estimate& estimate) {
  const double error = relative_error(estimate.values(), settings.probes);
  Json& scores = proposal.plan.scores;
  scores.update({{"probes", settings.probes}, {"probed_values", estimate.values()}, {"relative_error", error}});
  std::string text = "the slopes of " + std::to_string(estimate.values()) +
                     (settings.space == ProbeSpace::gates ? " factors" : " weights") + " are estimated from " +
                     std::to_string(settings.probes) + " random directions: the standard error of one is " +
                     rounded(error) + " times a typical slope";
  if (estimate.agreement()) {
    scores["rank_agreement"] = *estimate.agreement();
    text += "; two halves of the directions rank the units with a Spearman correlation of " +
            rounded(*estimate.agreement());
  }
  log_info(text);
}

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "mini-llm");
  const Settings settings = settings_of(params);
  if (settings.iterations > 1 && (request.kv_heads || request.channels))
    fail(ErrorKind::usage, "mini-llm: --iterations goes with --ratio or --sparsity");
  Estimate estimate(context, settings, params);
  const auto make = [&] { return scores_of_rounds(context, settings, request, estimate); };
  // Several rounds depend on how much goes in all.
  const UnitScores scores = settings.iterations > 1 ? make() : remembered_scores(context, "mini-llm", params, make);
  Proposal proposal = width_proposal(context, "mini-llm", params, scores, request);
  if (estimate.values() > 0) tell_noise(proposal, settings, estimate);
  if (!estimate.agreement()) return proposal;
  if (*estimate.agreement() < kStableRanks)
    proposal.warnings.push_back(
        "the gradient is mostly noise: two halves of the probes rank the units with a Spearman "
        "correlation of " +
        rounded(*estimate.agreement()) + "; take more --probes, --zo-space gates, or --gradient exact");
  if (settings.space == ProbeSpace::weights && context.model.placement().dtype != torch::kFloat)
    proposal.warnings.emplace_back("weights moved by --zo-eps are rounded in this --dtype; float32 is exact enough");
  return proposal;
}

Params params() {
  Params params = width_params();
  const Params own = {
      {.name = "gradient",
       .type = ParamType::text,
       .help = "zo: estimated from losses alone; exact: a layer at a time, which says what the estimate loses",
       .default_value = "zo",
       .choices = {"zo", "exact"}},
      {.name = "zo-space",
       .type = ParamType::text,
       .help = "what is perturbed: weights as in the paper, or a factor on each head and channel, far less noisy",
       .default_value = "gates",
       .choices = {"weights", "gates"},
       .goes_with = {{"gradient", {"zo"}}}},
      {.name = "fms",
       .type = ParamType::text,
       .help = "of weights: A |W| ||X|| |g|, B |W g|, C |W| ||X|| (Wanda), D A with g over its root mean square",
       .default_value = "A",
       .choices = {"A", "B", "C", "D"},
       .goes_with = {{"zo-space", {"weights"}}, {"gradient", {"exact"}}}},
      {.name = "probes",
       .type = ParamType::integer,
       .help = "random directions, two losses each",
       .default_value = 256,
       .minimum = 1,
       .goes_with = {{"gradient", {"zo"}}}},
      {.name = "zo-eps",
       .type = ParamType::number,
       .help = "how far they are followed",
       .default_value = 1e-3,
       .goes_with = {{"gradient", {"zo"}}}},
      {.name = "iterations",
       .type = ParamType::integer,
       .help = "rounds in which what goes is taken, each looking at what is left",
       .default_value = 1,
       .minimum = 1}};
  params.insert(params.end(), own.begin(), own.end());
  for (Param& param : gradient_params()) params.push_back(std::move(param));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "mini-llm",
    .title = "MINI-LLM: heads and channels by magnitude, activation and a gradient from forward passes",
    .paper = "Cheng et al., arXiv 2407.11681",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::mini_llm_method

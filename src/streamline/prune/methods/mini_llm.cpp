// SPDX-License-Identifier: Apache-2.0
// MINI-LLM (Cheng et al., "Memory-Efficient Structured Pruning for Large Language Models", arXiv 2407.11681): heads and
// channels by magnitude, activation and a gradient that forward passes estimate. What is not public of it is
// reconstructed (docs/methods/mini-llm.md).
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/feature_sensitivity.h"
#include "streamline/prune/taylor_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::mini_llm_method {
namespace {

constexpr double kStableRanks = 0.3;
// How far directions are followed. Half precision has steps of its own around 1, where factors lie: there 0.1 finds
// nine tenths of the channels that float32 finds at 0.001, and 0.001 no more than chance (docs/methods/mini-llm.md).
constexpr double kStep = 1e-3, kStepOfRoundedFactors = 0.1;

// Between 1 and the next number; 0 of types in which any sensible step counts.
double spacing(torch::ScalarType type) {
  return type == torch::kBFloat16 ? 0x1p-7 : type == torch::kHalf ? 0x1p-10 : 0;
}

// How noisy scores are: figures by their names in the plan.
using Noise = std::map<std::string, double>;

struct Settings {
  Sensitivity variant = Sensitivity::product;
  ProbeSpace space = ProbeSpace::gates;
  bool exact = false;
  std::int64_t probes = 0, iterations = 1;
  double eps = 0;

  bool probes_weights() const { return space == ProbeSpace::weights; }
};

Settings settings_of(const Json& params, torch::ScalarType type) {
  Settings settings{.variant = sensitivity(params.at("fms").get<std::string>()),
                    .space = params.at("zo-space") == "weights" ? ProbeSpace::weights : ProbeSpace::gates,
                    .exact = params.at("gradient") == "exact",
                    .probes = params.at("probes").get<std::int64_t>(),
                    .iterations = params.at("iterations").get<std::int64_t>(),
                    .eps = kStep};
  if (!settings.probes_weights() && spacing(type) > 0) settings.eps = kStepOfRoundedFactors;
  settings.eps = optional_value<double>(params, "zo-eps").value_or(settings.eps);
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

// How noisy an estimate is: values whose slopes were estimated, and how alike two halves of the directions rank the
// units, which a single direction does not say.
constexpr const char *kValues = "probed_values", *kAgreement = "rank_agreement";

class Estimate {
 public:
  Estimate(const PruneContext& context, const Settings& settings, const Json& params)
      : context_(context), settings_(settings), ids_(gradient_tokens(context.model, context.calibration, params)) {}

  UnitScores scores(const Model& model, std::uint64_t seed) {
    std::vector<LayerReads> reads;
    const bool by_weights = settings_.exact || settings_.probes_weights();
    if (by_weights && settings_.variant != Sensitivity::taylor)
      reads = read_moments(model, context_.calibration, context_.sweep);
    else
      reads.resize(static_cast<std::size_t>(model.layer_count()));
    if (settings_.exact) return exact_sensitivity(settings_.variant, model, reads, ids_);
    if (by_weights && settings_.variant == Sensitivity::wanda) return unprobed_sensitivity(model, reads);
    const std::vector<Probe> probes = probed(model, seed);
    const Halved<UnitScores> found =
        by_weights ? probed_sensitivity(settings_.variant, model, reads, probes) : probed_gates(model, probes);
    noise_[kValues] = static_cast<double>(probed_values(model, settings_.space));
    if (probes.size() > 1) noise_[kAgreement] = spearman(all_scores(found.first), all_scores(found.second));
    return found.all;
  }

  // Of the last probes; empty where there were none.
  const Noise& noise() const { return noise_; }

 private:
  std::vector<Probe> probed(const Model& model, std::uint64_t seed) const {
    std::optional<Progress> progress;
    if (!context_.sweep.label.empty()) progress.emplace("probing", settings_.probes, "probes");
    const Ranks& ranks = model.placement().ranks;
    return probe_slopes(
        [&](std::uint64_t along, double eps) {
          const EndLosses losses = losses_along(model, ids_, settings_.space, along, eps);
          if (!std::isfinite(losses.above) || !std::isfinite(losses.below))
            fail(ErrorKind::numeric, "a loss of a perturbed model is NaN or infinite; try a smaller --zo-eps, or ",
                 "--dtype float32");
          if (progress) progress->advance(ranks.size());
          return losses;
        },
        settings_.probes, settings_.eps, seed, ranks);
  }

  const PruneContext& context_;
  Settings settings_;
  torch::Tensor ids_;
  Noise noise_;
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

void log_noise(const Settings& settings, const Noise& noise) {
  const auto values = static_cast<std::int64_t>(noise.at(kValues));
  const double error = relative_error(values, settings.probes);
  std::string text = "the slopes of " + std::to_string(values) + (settings.probes_weights() ? " weights" : " factors") +
                     " are estimated from " + std::to_string(settings.probes) +
                     " random directions: the standard error of one is " + fixed(error, 2) + " times a typical slope";
  if (const auto agreement = noise.find(kAgreement); agreement != noise.end())
    text +=
        "; two halves of the directions rank the units with a Spearman correlation of " + fixed(agreement->second, 2);
  log_info(text);
}

void record_noise(Proposal& proposal, const Settings& settings, const Noise& noise) {
  const auto values = static_cast<std::int64_t>(noise.at(kValues));
  proposal.plan.scores.update({{"probes", settings.probes},
                               {"zo_eps", settings.eps},
                               {kValues, values},
                               {"relative_error", relative_error(values, settings.probes)}});
  const auto agreement = noise.find(kAgreement);
  if (agreement == noise.end()) return;
  proposal.plan.scores[kAgreement] = agreement->second;
  if (agreement->second < kStableRanks)
    proposal.warnings.push_back(
        "the gradient is mostly noise: two halves of the probes rank the units with a Spearman correlation of " +
        fixed(agreement->second, 2) + "; take more --probes, --zo-space gates, or --gradient exact");
}

void warn_of_rounding(Proposal& proposal, const Settings& settings, torch::ScalarType type) {
  if (spacing(type) == 0) return;
  if (settings.probes_weights())
    proposal.warnings.emplace_back("weights moved by --zo-eps are rounded in this --dtype; float32 is exact enough");
  else if (settings.eps < 4 * spacing(type))
    proposal.warnings.push_back("factors moved by --zo-eps " + Json(settings.eps).dump() +
                                " are mostly rounded away in this --dtype; take " + Json(kStepOfRoundedFactors).dump() +
                                ", or --dtype float32");
}

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "mini-llm");
  const torch::ScalarType type = context.model.placement().dtype;
  const Settings settings = settings_of(params, type);
  if (settings.iterations > 1 && (!request.kv_heads.empty() || request.channels))
    fail(ErrorKind::usage, "mini-llm: --iterations goes with --ratio or --sparsity");
  Estimate estimate(context, settings, params);
  Noise noise;
  const auto make = [&] {
    UnitScores scores = scores_of_rounds(context, settings, request, estimate);
    noise = estimate.noise();
    if (noise.contains(kValues)) log_noise(settings, noise);
    return scores;
  };
  // Several rounds depend on how much goes in all.
  const UnitScores scores =
      settings.iterations > 1 ? make() : remembered_scores(context, "mini-llm", params, make, &noise);
  Proposal proposal = width_proposal(context, "mini-llm", params, scores, request);
  if (!noise.contains(kValues)) return proposal;
  record_noise(proposal, settings, noise);
  warn_of_rounding(proposal, settings, type);
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
       .help = "how far they are followed; default: 0.001, of gates in half precision 0.1",
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

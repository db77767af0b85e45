// SPDX-License-Identifier: Apache-2.0
// LaCo (Yang et al., "LaCo: Large Language Model Pruning via Layer Collapse", arXiv 2402.11187): fold groups of layers
// into their first, from above downwards, as long as what the model says of a few sentences stays alike.
#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/layer_collapse.h"
#include "streamline/prune/merge_candidates.h"
#include "streamline/prune/proposal.h"

namespace streamline::laco_method {
namespace {

constexpr int kThresholdSteps = 12;  // of the search for the threshold: 0.0005 of the range -1 … 1

struct Outcome {
  std::vector<CollapseStep> steps = {};
  double threshold = 0;
};

MergeOptions merge_options(const Json& params) {
  const auto rule = params.at("merge").get<std::string>(), likeness = params.at("similarity").get<std::string>();
  return {.rule = rule == "telescoped"  ? MergeRule::telescoped
                  : rule == "equation1" ? MergeRule::equation1
                                        : MergeRule::mean,
          .norms = params.at("norms") == "first" ? MergeNorms::first : MergeNorms::last,
          .likeness = likeness == "flattened" ? OutputLikeness::flattened
                      : likeness == "tokens"  ? OutputLikeness::tokens
                                              : OutputLikeness::last_token,
          .sentences = params.at("sentences").get<std::int64_t>(),
          .sentence_tokens = params.at("sentence-tokens").get<std::int64_t>()};
}

CollapseOptions collapse_options(const PruneContext& context, const Json& params) {
  const std::int64_t layers = context.model.layer_count();
  CollapseOptions options{.combine = params.at("combine").get<std::int64_t>(),
                          .interval = params.at("interval").get<std::int64_t>(),
                          .lowest = params.at("lowest").get<std::int64_t>(),
                          .highest = optional_value<std::int64_t>(params, "highest").value_or(layers - 1),
                          .paper_clamp = params.at("clamp") == "paper"};
  if (options.highest > layers)
    fail(ErrorKind::usage, "--highest ", options.highest, ": the model has ", layers, " layers");
  if (const auto target = optional_value<std::int64_t>(params, "layers")) {
    check_count(*target, context);
    options.most = *target;
    options.combine = std::min(options.combine, *target + 1);
  }
  if (options.highest - options.combine < options.lowest)
    fail(ErrorKind::usage, "laco: no group of ", options.combine, " layers lies between --lowest ", options.lowest,
         " and --highest ", options.highest);
  return options;
}

Outcome run(MergeCandidates& candidates, CollapseOptions options, double threshold) {
  candidates.reset();
  options.threshold = threshold;
  return {collapse(
              candidates.layers(), options,
              [&](std::int64_t base, std::int64_t followers) { return candidates.likeness(base, followers); },
              [&](std::int64_t base, std::int64_t followers) { candidates.fold(base, followers); }),
          threshold};
}

// The highest threshold, to 0.0005, at which the layers are lost that are asked for.
Outcome reach(MergeCandidates& candidates, const CollapseOptions& options) {
  const auto lost = [&] { return candidates.source_layers() - candidates.layers(); };
  const auto at = [&](double threshold) { return run(candidates, options, threshold); };
  double reaches = -1, fails = 1;
  Outcome outcome = at(reaches);
  if (lost() < options.most)
    fail(ErrorKind::usage, "laco cannot lose ", options.most, " layers with these settings; the closest is ", lost());
  for (int step = 0; step < kThresholdSteps; ++step) {
    const double middle = (reaches + fails) / 2;
    at(middle);
    (lost() < options.most ? fails : reaches) = middle;
  }
  return at(reaches);
}

Json summary(const PruneContext& context, const Proposal& proposal, const Outcome& outcome) {
  Json json = {{"threshold", outcome.threshold}};
  json.update(savings(context, proposal.plan, proposal.replacements));
  for (const CollapseStep& step : outcome.steps) {
    json["steps"].push_back({{"base", step.base},
                             {"followers", step.followers},
                             {"similarity", step.likeness},
                             {"accepted", step.accepted}});
    if (step.accepted) json["similarity"] = step.likeness;
  }
  return json;
}

Proposal propose(PruneContext& context, const Json& params) {
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, "laco merges layers, in whose place nothing else can be put: --replace none");
  const auto threshold = optional_value<double>(params, "threshold");
  if (threshold.has_value() == !params.at("layers").is_null())
    fail(ErrorKind::usage, "laco needs exactly one of --layers and --threshold");
  const CollapseOptions options = collapse_options(context, params);
  MergeCandidates candidates(context.model, context.calibration, merge_options(params));
  const Outcome outcome = threshold ? run(candidates, options, *threshold) : reach(candidates, options);
  Proposal proposal;
  if (context.scores) proposal.scores = *context.scores;
  std::tie(proposal.plan, proposal.replacements) = candidates.plan();
  if (proposal.replacements.empty())
    proposal.warnings.emplace_back("no group of layers could be merged above the threshold; nothing was cut");
  sign(proposal.plan, context, "laco", params);
  proposal.plan.scores = summary(context, proposal, outcome);
  return proposal;
}

Params params() {
  return {
      {.name = "layers",
       .type = ParamType::integer,
       .help = "layers fewer in the result: the highest threshold that loses so many is searched for",
       .minimum = 1},
      {.name = "threshold",
       .type = ParamType::number,
       .help = "T: a merge is kept where the similarity of the outputs is above it",
       .minimum = -1,
       .maximum = 1},
      {.name = "combine",
       .type = ParamType::integer,
       .help = "C: layers that become one",
       .default_value = 4,
       .minimum = 2},
      {.name = "interval",
       .type = ParamType::integer,
       .help = "I: steps down after a merge",
       .default_value = 2,
       .minimum = 1},
      {.name = "lowest",
       .type = ParamType::integer,
       .help = "L: lowest layer that others are merged into",
       .default_value = 0,
       .minimum = 0},
      {.name = "highest",
       .type = ParamType::integer,
       .help = "H: the first merge is into layer H - C; default: the last layer",
       .minimum = 2},
      {.name = "merge",
       .type = ParamType::text,
       .help = "telescoped: the last layer's matrices, as the released code computes; equation1: as the paper writes; "
               "mean: the mean of the layers that follow",
       .default_value = "telescoped",
       .choices = {"telescoped", "equation1", "mean"}},
      {.name = "norms",
       .type = ParamType::text,
       .help = "whose norms a merged layer has: first or last of its group",
       .default_value = "first",
       .choices = {"first", "last"}},
      {.name = "similarity",
       .type = ParamType::text,
       .help = "of the outputs of a sentence: flattened, one cosine of all its states, as the released code has it; "
               "tokens, the mean cosine of its tokens; last, that of its last token",
       .default_value = "flattened",
       .choices = {"flattened", "tokens", "last"}},
      {.name = "clamp",
       .type = ParamType::text,
       .help = "where to go on after a merge near the top: released, as the code does, or paper",
       .default_value = "released",
       .choices = {"released", "paper"}},
      {.name = "sentences",
       .type = ParamType::integer,
       .help = "sequences of the text that are looked at",
       .default_value = 10,
       .minimum = 1},
      {.name = "sentence-tokens",
       .type = ParamType::integer,
       .help = "tokens of each",
       .default_value = 64,
       .minimum = 1}};
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "laco",
    .title = "LaCo: groups of layers folded into one while the output stays alike",
    .paper = "Yang et al., EMNLP 2024 Findings, arXiv 2402.11187",
    .params = params(),
    .propose = propose,
    .merges = true,
};

}  // namespace streamline::laco_method

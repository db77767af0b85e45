// SPDX-License-Identifier: Apache-2.0
// Policy gradient (Gao et al., arXiv 2406.10576): every unit has a probability of being kept; masks are drawn, losses
// of the masked model say which draws were good, and the probabilities follow within a budget.
#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/policy_training.h"

namespace streamline::policy_gradient_method {
namespace {

PolicySettings settings_of(const PruneContext& context, const Json& params) {
  PolicySettings settings{.over = params.at("over").get<std::string>(),
                          .init = params.at("start-from").get<std::string>(),
                          .steps = params.at("steps").get<std::int64_t>(),
                          .batch = params.at("batch").get<std::int64_t>(),
                          .length = params.at("length").get<std::int64_t>(),
                          .window = params.at("baseline-window").get<std::int64_t>(),
                          .every = params.at("check-every").get<std::int64_t>(),
                          .form = params.at("score") == "exact" ? ScoreForm::exact : ScoreForm::root,
                          .leave_one_out = params.at("baseline") == "leave-one-out",
                          .antithetic = params.at("antithetic").get<bool>(),
                          .best = params.at("take") == "best",
                          .protect = params.at("protect").get<std::vector<std::int64_t>>()};
  const auto ratio = optional_value<double>(params, "ratio");
  if (!ratio || !(*ratio > 0 && *ratio < 1))
    fail(ErrorKind::usage, "policy-gradient needs --ratio, between 0 and 1, or a --budget");
  settings.keep = 1 - *ratio;
  // Layers and halves are few: larger steps, and more masks in each (a suggestion; the paper's setting is not known).
  settings.rate = optional_value<double>(params, "rate").value_or(settings.inside() ? 2e-3 : 2e-2);
  settings.samples = optional_value<std::int64_t>(params, "masks").value_or(settings.inside() ? 2 : 4);
  if (settings.leave_one_out && settings.samples < 2)
    fail(ErrorKind::usage, "policy-gradient: a leave-one-out baseline needs two --masks or more");
  if (settings.antithetic && settings.samples < 2)
    fail(ErrorKind::usage, "policy-gradient: --antithetic mirrors every second mask; take two --masks or more");
  if (settings.leave_one_out && settings.antithetic && settings.samples < 3)
    fail(ErrorKind::usage, "policy-gradient: a mask's mirror image is no baseline for it; with --antithetic a ",
         "leave-one-out baseline needs two pairs, so take four --masks");
  check_protected(settings.protect, context.model.layer_count());
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, "policy-gradient puts nothing in the place of what it takes; leave out --replace");
  return settings;
}

Proposal propose(PruneContext& context, const Json& params) {
  return learnt_proposal(context, settings_of(context, params), params);
}

Param count_of(const char* name, const char* help, const Json& default_value, double minimum = 1) {
  return {.name = name, .type = ParamType::integer, .help = help, .default_value = default_value, .minimum = minimum};
}
Param choice_of(const char* name, const char* help, std::vector<std::string> choices) {
  return {.name = name,
          .type = ParamType::text,
          .help = help,
          .default_value = choices.front(),
          .choices = std::move(choices)};
}

Params params() {
  return {{.name = "ratio",
           .type = ParamType::number,
           .help = "share of the groups of heads and of the channels that goes, between 0 and 1",
           .minimum = 0,
           .maximum = 1},
          choice_of("over", "the units: heads and channels inside layers (inside), one of these, halves, or layers",
                    {"inside", "heads", "channels", "halves", "layers"}),
          choice_of("start-from",
                    "probabilities to begin with: by a metric (wanda-sp inside layers, block influence otherwise), all "
                    "alike, or random",
                    {"metric", "uniform", "random"}),
          count_of("steps", "steps of learning", 300, 0),
          count_of("batch", "sequences whose loss each step takes", 8),
          count_of("length", "tokens of each of them", 128, 2),
          count_of("masks", "masks drawn in each step; default: 2, of layers and halves 4", nullptr),
          {.name = "rate",
           .type = ParamType::number,
           .help = "learning rate at the start; default: 0.002, of layers and halves 0.02"},
          choice_of("score", "the estimator: root as released, which divides by the root of s(1-s), or exact",
                    {"root", "exact"}),
          choice_of("baseline", "what losses are compared with: the average of the last ones, or the other masks' mean",
                    {"moving", "leave-one-out"}),
          {.name = "baseline-window",
           .type = ParamType::integer,
           .help = "losses in the moving average",
           .default_value = 5,
           .minimum = 1,
           .goes_with = {{"baseline", {"moving"}}}},
          {.name = "antithetic",
           .type = ParamType::boolean,
           .help = "draw masks in mirrored pairs",
           .default_value = false},
          count_of("check-every", "steps between two looks at what is likeliest to stay", 50),
          choice_of("take", "the best of these looks, or the last as released", {"best", "last"}),
          protect_param()};
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "policy-gradient",
    .title = "keep-probabilities of heads, channels, halves or layers, learnt from losses of masked models",
    .paper = "Gao et al., arXiv 2406.10576",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::policy_gradient_method

// SPDX-License-Identifier: Apache-2.0
#include "cut_choice.h"

#include <algorithm>
#include <utility>

#include "kept_choice.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/nn/type_name.h"
#include "streamline/prune/budget.h"
#include "streamline/surgery/widths.h"

namespace streamline::cli {
namespace {

void check_takes_layers(const Method& method) {
  if (takes_layers(method)) return;
  fail(ErrorKind::usage, method.name, " takes no whole layers, so that --layers says nothing to it; give --budget, as ",
       "params=0.8x");
}

Choice search(const Method& method, const OpenedModel& source, Chooser& chooser, const SweepSize& size,
              const SearchTerms& terms) {
  const Stopwatch watch;
  PruneContext context{
      .model = source.model, .calibration = chooser.tokens, .seed = chooser.draw, .prefixes = terms.prefixes};
  if (chooser.scores) context.scores = &*chooser.scores;
  context.sweep.label = "scoring";
  context.sweep.beyond_positions = true;
  context.memory = &chooser.memory;
  const auto propose = [&](const Json& params) {
    Proposal proposal =
        method.propose(context, resolve_params(method.params, params, "--method " + std::string(method.name)));
    if (!chooser.scores && proposal.scores.layers > 0) {
      chooser.scores = std::move(proposal.scores);
      context.scores = &*chooser.scores;
    }
    return proposal;
  };
  Proposal proposal;
  if (size.budget.empty()) {
    check_takes_layers(method);
    proposal = propose({{"layers", size.layers}});
  } else {
    const auto view = [&](const Proposal& cut) { return as_written(source.model, cut, terms); };
    proposal = smallest_cut(method, Json::object(), source.model, parse_budgets(size.budget),
                            {.propose = propose, .view = view})
                   .proposal;
  }
  return {.proposal = std::move(proposal), .seconds = watch.seconds()};
}

// What decides a choice: the model, what looks at it, and how much is to go.
Json choice_key(const Method& method, const OpenedModel& source, const Chooser& chooser, const SweepSize& size,
                LayerForm form) {
  const Placement& placement = source.model.placement();
  Json key = {{"method", method.name},
              {"size", size.text()},
              {"model", source.model.checkpoint().digest()},
              {"dtype", type_name(placement.dtype)},
              {"calibration", chooser.tokens.digest},
              {"seed", chooser.draw},
              {"version", program_version()}};
  if (!size.budget.empty()) key["format"] = form_name(form);
  if (!size.budget.empty() && any_measured(parse_budgets(size.budget)))
    key["machine"] = {
        {"processor", processor_name()}, {"threads", torch::get_num_threads()}, {"device", placement.device.str()}};
  return key;
}

}  // namespace

bool takes_layers(const Method& method) {
  return std::ranges::any_of(method.params, [](const Param& param) { return param.name == "layers"; });
}

Model as_written(const Model& source, const Proposal& proposal, const SearchTerms& terms) {
  return written_view(source, proposal.plan, proposal.replacements, terms.form);
}

Choice choose_cut(const std::string& keep, const Method& method, const OpenedModel& source, Chooser& chooser,
                  const SweepSize& size, const SearchTerms& terms) {
  if (keep.empty()) return search(method, source, chooser, size, terms);
  const Json key = choice_key(method, source, chooser, size, terms.form);
  if (std::optional<KeptChoice> kept = kept_choice(keep, key)) {
    log_info("what " + std::string(method.name) + " chose is in " + keep + " already");
    Proposal proposal;
    proposal.plan = std::move(kept->plan);
    proposal.warnings = std::move(kept->warnings);
    return {.proposal = std::move(proposal), .seconds = kept->seconds};
  }
  Choice choice = search(method, source, chooser, size, terms);
  if (choice.proposal.replacements.empty())  // else the plan is not all of it
    keep_choice(keep, key,
                {.plan = choice.proposal.plan, .warnings = choice.proposal.warnings, .seconds = choice.seconds});
  return choice;
}

}  // namespace streamline::cli

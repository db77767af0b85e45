// SPDX-License-Identifier: Apache-2.0
// Iterative: what a one-sweep method takes out at once, one by one, and all that is left is scored again after each
// cut.
#include <algorithm>

#include "streamline/prune/proposal.h"
#include "streamline/prune/rescoring.h"
#include "streamline/prune/unit_search.h"

namespace streamline::iterative_method {
namespace {

// One unit that was taken out.
struct Cut {
  std::size_t unit = 0;
  double importance = 0, runner_up = 0;  // in the round that took it; of the last unit there is no runner-up
  bool alone = false;
};

Json to_json(const Cut& cut) {
  Json json = {{"unit", cut.unit}, {"importance", cut.importance}};
  if (!cut.alone) json["runner_up"] = cut.runner_up;
  return json;
}

Cut cut_from_json(const Json& json) {
  Cut cut{.unit = json.at("unit").get<std::size_t>(), .importance = json.at("importance").get<double>()};
  cut.alone = !json.contains("runner_up");
  if (!cut.alone) cut.runner_up = json.at("runner_up").get<double>();
  return cut;
}

class Search {
 public:
  Search(PruneContext& context, const Json& params)
      : context_(context),
        units_(read_unit_search(context, params, "iterative")),
        score_(part_score(params.at("score").get<std::string>(), params.at("relative-to") == "in")),
        key_(search_key(context, units_.method, params)) {
    restore(context, key_, [&](const Json& known) {
      UnitSet out;
      for (const Json& round : known.at("rounds")) {
        cuts_.push_back(cut_from_json(round));
        out.push_back(cuts_.back().unit);
      }
      std::ranges::sort(out);
      unit_set(units_, out, cuts_.size());  // each once, and all of them there
      counter_.parts = known.at("parts_executed").get<std::int64_t>();
    });
  }

  Proposal run(const Json& params) {
    const UnitSet out = search_rounds(context_, units_, [&](std::int64_t count) { return round(count); });
    Json rounds = Json::array();
    for (std::size_t i = 0; i < out.size(); ++i) {
      Json entry = {{"unit", name(units_.unit(cuts_[i].unit))}, {"importance", cuts_[i].importance}};
      if (!cuts_[i].alone) entry["margin"] = cuts_[i].runner_up - cuts_[i].importance;
      rounds.push_back(std::move(entry));
    }
    return search_proposal(context_, units_, out, params,
                           {{"score", params.at("score")}, {"rounds", rounds}, {"parts_executed", counter_.parts}});
  }

 private:
  std::optional<UnitSet> round(std::int64_t count) {
    if (std::ssize(cuts_) < count) {
      const std::optional<Cut> cut = least_important();
      if (!cut) return std::nullopt;
      cuts_.push_back(*cut);
      Json rounds = Json::array();
      for (const Cut& known : cuts_) rounds.push_back(to_json(known));
      keep(context_, key_, {{"rounds", rounds}, {"parts_executed", counter_.parts}});
    }
    UnitSet out;
    for (std::int64_t i = 0; i < count; ++i) out.push_back(cuts_[static_cast<std::size_t>(i)].unit);
    std::ranges::sort(out);
    return out;
  }

  // Of what is left, scored without all that went before.
  std::optional<Cut> least_important() {
    UnitSet out;
    for (const Cut& cut : cuts_) out.push_back(cut.unit);
    if (!scored_)
      scored_.emplace(context_.model, units_.stack.parts, context_.calibration,
                      RescoringOptions{.batch_tokens = context_.sweep.batch_tokens, .prefixes = context_.prefixes},
                      counter_);
    scored_->run(parts_without(units_, out));
    std::optional<Cut> best;
    for (std::size_t unit = 0; unit < units_.stack.units.size(); ++unit) {
      if (std::ranges::find(out, unit) != out.end()) continue;
      const double importance = score_(scored_->update(units_.stack.units[unit]));
      if (!best)
        best = {.unit = unit, .importance = importance, .alone = true};
      else if (importance < best->importance)
        best = {.unit = unit, .importance = importance, .runner_up = best->importance};
      else if (best->alone || importance < best->runner_up)
        best->runner_up = importance, best->alone = false;
    }
    return best;
  }

  PruneContext& context_;
  UnitSearch units_;
  PartScore score_;
  Json key_;
  std::vector<Cut> cuts_;
  PartCounter counter_;
  std::optional<Rescoring> scored_;
};

Proposal propose(PruneContext& context, const Json& params) { return Search(context, params).run(params); }

Params params() {
  Params params = search_params();
  params.push_back(part_score_param("score", "cosine"));
  params.push_back(relative_to_param("score"));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "iterative",
    .title = "Iterative: the layer or half that changes the stream least, one by one, scored again after each",
    .paper = "this program; the scores are those of arXiv 2403.03853, 2403.17887, 2406.15786 and 2407.16286",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
    .keeps_prefixes = true,
};

}  // namespace streamline::iterative_method

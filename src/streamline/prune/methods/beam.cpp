// SPDX-License-Identifier: Apache-2.0
// Beam: take out layers or halves one by one as BlockPruner does (arXiv 2406.10594), but go on from the best few sets
// of each round instead of from the best alone.
#include <algorithm>
#include <cmath>
#include <set>

#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/unit_search.h"

namespace streamline::beam_method {
namespace {

// Units that are out together, and what the text says of the model without them.
struct Candidate {
  UnitSet out;
  double value = 0;
};

using Round = std::vector<Candidate>;  // the best, by rising value

Json to_json(const Round& round) {
  Json json = Json::array();
  for (const Candidate& candidate : round) json.push_back({{"out", candidate.out}, {"value", candidate.value}});
  return json;
}

class Search {
 public:
  Search(PruneContext& context, const Json& params)
      : context_(context),
        units_(read_unit_search(context, params, "beam")),
        width_(params.at("width").get<std::size_t>()),
        measure_(text_measure(params.at("measure").get<std::string>())),
        key_(search_key(context, units_.method, params)) {
    restore(context, key_, [&](const Json& known) {
      for (const Json& round : known.at("rounds")) rounds_.push_back(round_from_json(round));
      counter_ = {.parts = known.at("parts_executed"), .evaluations = known.at("evaluations")};
    });
  }

  Proposal run(const Json& params) {
    const UnitSet out = search_rounds(context_, units_, [&](std::int64_t count) { return best_of_round(count); });
    Json rounds = Json::array();
    for (std::size_t i = 0; i < out.size(); ++i) {
      Json names = Json::array();
      for (const std::size_t unit : rounds_[i].front().out) names.push_back(name(units_.unit(unit)));
      rounds.push_back({{"out", names}, {"value", rounds_[i].front().value}});
    }
    return search_proposal(context_, units_, out, params,
                           {{"measure", params.at("measure")},
                            {"rounds", rounds},
                            {"evaluations", counter_.evaluations},
                            {"parts_executed", counter_.parts}});
  }

 private:
  Round round_from_json(const Json& json) const {
    Round round;
    json.at(0);  // at least one
    for (const Json& candidate : json)
      round.push_back({unit_set(units_, candidate.at("out"), rounds_.size() + 1), candidate.at("value").get<double>()});
    return round;
  }

  std::optional<UnitSet> best_of_round(std::int64_t count) {
    if (std::ssize(rounds_) < count) {
      Round next = next_round();
      if (next.empty()) return std::nullopt;
      rounds_.push_back(std::move(next));
      Json rounds = Json::array();
      for (const Round& round : rounds_) rounds.push_back(to_json(round));
      keep(context_, key_,
           {{"rounds", rounds}, {"parts_executed", counter_.parts}, {"evaluations", counter_.evaluations}});
    }
    return rounds_[static_cast<std::size_t>(count - 1)].front().out;
  }

  // Every set of the last round with one unit more, each once: those of the best first.
  std::vector<UnitSet> extensions() const {
    const Round first = {{}};
    std::vector<UnitSet> result;
    std::set<UnitSet> seen;
    for (const Candidate& candidate : rounds_.empty() ? first : rounds_.back())
      for (const std::size_t unit : in_turn()) {
        UnitSet out = candidate.out;
        const auto place = std::ranges::lower_bound(out, unit);
        if (place != out.end() && *place == unit) continue;
        out.insert(place, unit);
        if (seen.insert(out).second) result.push_back(std::move(out));
      }
    return result;
  }

  // Attentions before MLPs, each by depth: BlockPruner's order, which decides ties.
  UnitSet in_turn() const {
    UnitSet order;
    for (std::size_t unit = 0; unit < units_.stack.units.size(); ++unit) order.push_back(unit);
    std::ranges::stable_partition(order, [&](std::size_t unit) { return units_.unit(unit).attention; });
    return order;
  }

  Round next_round() {
    const std::vector<UnitSet> sets = extensions();
    std::vector<PartSet> parts;
    parts.reserve(sets.size());
    for (const UnitSet& out : sets) parts.push_back(parts_without(units_, out));
    if (text_.empty()) text_ = text_batches(context_.model, context_.calibration, context_.sweep.batch_tokens);
    const std::string label = "round " + std::to_string(rounds_.size() + 1) +
                              (rounds_.empty() ? "" : best_so_far(rounds_.back().front().value));
    const std::vector<double> values = part_set_values(
        context_.model, units_.stack.parts, parts, text_,
        {.measure = measure_, .label = context_.sweep.label.empty() ? "" : label, .prefixes = context_.prefixes},
        counter_);
    Round round;
    for (std::size_t i = 0; i < sets.size(); ++i)
      if (std::isfinite(values[i])) round.push_back({sets[i], values[i]});
    if (round.empty() && !sets.empty())
      fail(ErrorKind::numeric, "beam: what the text says is NaN or infinite for every candidate; try --dtype float32");
    std::ranges::stable_sort(round, {}, &Candidate::value);
    round.resize(std::min(round.size(), width_));
    return round;
  }

  PruneContext& context_;
  UnitSearch units_;
  std::size_t width_;
  TextMeasure measure_;
  Json key_;
  std::vector<Round> rounds_;
  std::vector<TextBatch> text_;
  PartCounter counter_;
};

Proposal propose(PruneContext& context, const Json& params) { return Search(context, params).run(params); }

Params params() {
  Params params = search_params();
  params.push_back({.name = "width",
                    .type = ParamType::integer,
                    .help = "sets of each round that the next goes on from",
                    .default_value = 4,
                    .minimum = 1});
  params.push_back(measure_param("loss"));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "beam",
    .title = "Beam: layers or halves one by one, by the loss without them, going on from the best few of each round",
    .paper = "this program; of width 1 it is Zhong et al., arXiv 2406.10594",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
    .keeps_prefixes = true,
};

}  // namespace streamline::beam_method

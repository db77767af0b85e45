// SPDX-License-Identifier: Apache-2.0
// Evolve: evolutionary search over which layers or halves are out, by level switches that keep the budget (Sieberling
// et al., "EvoPress: Accurate Dynamic Model Compression via Evolutionary Search", arXiv 2410.14649): one parent, many
// offspring, of which a little text picks a few that all of it then judges.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/unit_search.h"

namespace streamline::evolve_method {
namespace {

constexpr std::int64_t kMostSwitches = 3;    // of one mutation; the smaller of two draws, so that one is most likely
constexpr std::int64_t kFirstLookShare = 8;  // of the sequences, one in so many is read by all offspring
constexpr std::int64_t kTriesEach = 20;      // draws for a new offspring before fewer must do

// Units that may take each other's place: of one kind and size.
using Kinds = std::vector<UnitSet>;

std::int64_t unit_parameters(const Config& config, const StackPart& part) {
  LayerConfig layer = config.layers[static_cast<std::size_t>(part.layer)];
  if (!part.attention) layer.attention.reset();
  if (!part.mlp) layer.mlp.reset();
  return layer_parameters(config, layer);
}

Kinds kinds_of(const PruneContext& context, const UnitSearch& search) {
  Kinds kinds;
  for (std::size_t unit = 0; unit < search.stack.units.size(); ++unit) {
    const StackPart& part = search.unit(unit);
    const auto alike = [&](const UnitSet& kind) {
      const StackPart& other = search.unit(kind.front());
      return other.attention == part.attention && other.mlp == part.mlp &&
             unit_parameters(context.model.config(), other) == unit_parameters(context.model.config(), part);
    };
    const auto kind = std::ranges::find_if(kinds, alike);
    if (kind == kinds.end())
      kinds.push_back({unit});
    else
      kind->push_back(unit);
  }
  return kinds;
}

bool holds(const UnitSet& set, std::size_t unit) { return std::ranges::binary_search(set, unit); }

// The best of what has been tried.
struct Parent {
  UnitSet out;
  double value = std::numeric_limits<double>::infinity();
};

class Search {
 public:
  Search(PruneContext& context, const Json& params)
      : context_(context),
        units_(read_unit_search(context, params, "evolve")),
        kinds_(kinds_of(context, units_)),
        measure_(text_measure(params.at("measure").get<std::string>())),
        generations_(params.at("generations").get<std::int64_t>()),
        offspring_(params.at("offspring").get<std::int64_t>()),
        survivors_(std::min(offspring_, params.at("survivors").get<std::int64_t>())),
        rng_(context.seed),
        key_(search_key(context, units_.method, params)) {
    key_.at("parameters").erase("generations");
  }

  Proposal run(const Json& params) {
    const std::vector<std::int64_t> counts = counts_of_kinds();
    key_["counts"] = counts;
    if (!resume(std::reduce(counts.begin(), counts.end()))) begin(counts);
    while (std::ssize(parents_) <= generations_) next_generation();
    const Parent& best = parents_[static_cast<std::size_t>(generations_)];
    std::vector<double> values;
    for (std::int64_t i = 0; i <= generations_; ++i) values.push_back(parents_[static_cast<std::size_t>(i)].value);
    Json scores = {{"measure", params.at("measure")},
                   {"value", best.value},
                   {"best_of_generations", values},
                   {"evaluations", counter_.evaluations},
                   {"parts_executed", counter_.parts}};
    return search_proposal(context_, units_, best.out, params, std::move(scores));
  }

 private:
  // How many units of each kind are out: taken in turn from the kinds until the size is met.
  std::vector<std::int64_t> counts_of_kinds() const {
    std::vector<std::int64_t> counts(kinds_.size(), 0);
    const auto round = [&](std::int64_t) -> std::optional<UnitSet> {
      std::size_t next = kinds_.size();
      for (std::size_t kind = 0; kind < kinds_.size(); ++kind)
        if (counts[kind] < std::ssize(kinds_[kind]) && (next == kinds_.size() || counts[kind] < counts[next]))
          next = kind;
      if (next == kinds_.size()) return std::nullopt;
      ++counts[next];
      return first_units(counts);
    };
    const UnitSet out = search_rounds(context_, units_, round);
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind)
      counts[kind] = std::ranges::count_if(out, [&](std::size_t unit) { return holds(kinds_[kind], unit); });
    return counts;
  }

  UnitSet first_units(const std::vector<std::int64_t>& counts) const {
    UnitSet out;
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind)
      out.insert(out.end(), kinds_[kind].begin(), kinds_[kind].begin() + counts[kind]);
    std::ranges::sort(out);
    return out;
  }

  UnitSet drawn(const std::vector<std::int64_t>& counts) {
    UnitSet out;
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
      const std::vector<std::int64_t> order = permutation(std::ssize(kinds_[kind]), rng_);
      for (std::int64_t i = 0; i < counts[kind]; ++i)
        out.push_back(kinds_[kind][static_cast<std::size_t>(order[static_cast<std::size_t>(i)])]);
    }
    std::ranges::sort(out);
    return out;
  }

  // A level switch: one unit comes back, another of its kind goes. The same set where that cannot be.
  UnitSet switched(UnitSet out) {
    const std::size_t back = out[rng_.below(out.size())];
    UnitSet there;
    for (const UnitSet& kind : kinds_)
      if (holds(kind, back))
        for (const std::size_t unit : kind)
          if (!holds(out, unit)) there.push_back(unit);
    if (there.empty()) return out;
    std::erase(out, back);
    out.push_back(there[rng_.below(there.size())]);
    std::ranges::sort(out);
    return out;
  }

  UnitSet mutated(UnitSet out) {
    const auto draw = [&] { return static_cast<std::int64_t>(1 + rng_.below(kMostSwitches)); };
    const std::int64_t first = draw(), second = draw();
    for (std::int64_t i = 0; i < std::min(first, second); ++i) out = switched(std::move(out));
    return out;
  }

  // Distinct sets that `make` draws, none of them the parent's.
  std::vector<UnitSet> distinct(const std::function<UnitSet()>& make) const {
    std::set<UnitSet> seen;
    if (!parents_.empty()) seen.insert(parents_.back().out);
    std::vector<UnitSet> result;
    for (std::int64_t tries = 0; tries < kTriesEach * offspring_ && std::ssize(result) < offspring_; ++tries)
      if (UnitSet out = make(); seen.insert(out).second) result.push_back(std::move(out));
    return result;
  }

  std::vector<double> values(const std::vector<UnitSet>& sets, std::span<const TextBatch> text,
                             const std::string& label) {
    std::vector<PartSet> parts;
    parts.reserve(sets.size());
    for (const UnitSet& out : sets) parts.push_back(parts_without(units_, out));
    return part_set_values(
        context_.model, units_.stack.parts, parts, text,
        {.measure = measure_, .label = context_.sweep.label.empty() ? "" : label, .prefixes = context_.prefixes},
        counter_);
  }

  // The few that a share of the text likes best; another share in each generation.
  std::vector<UnitSet> first_look(const std::vector<UnitSet>& sets, const std::string& label) {
    const auto sequences = std::ssize(context_.calibration.sequences);
    const std::int64_t share = std::max<std::int64_t>(1, sequences / kFirstLookShare);
    if (share == sequences || std::ssize(sets) <= survivors_) return sets;
    TokenBatches some;
    for (std::int64_t i = 0; i < share; ++i) {
      const std::int64_t at = (std::ssize(parents_) * share + i) % sequences;
      some.sequences.push_back(context_.calibration.sequences[static_cast<std::size_t>(at)]);
    }
    const std::vector<double> found =
        values(sets, text_batches(context_.model, some, context_.sweep.batch_tokens), label);
    std::vector<std::size_t> order(sets.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return found[i]; });
    std::vector<UnitSet> best;
    for (std::int64_t i = 0; i < survivors_; ++i) best.push_back(sets[order[static_cast<std::size_t>(i)]]);
    return best;
  }

  // The best of these and the parent by all of the text becomes the next parent.
  void select(const std::vector<UnitSet>& sets) {
    const std::string label =
        "generation " + std::to_string(parents_.size()) + (parents_.empty() ? "" : best_so_far(parents_.back().value));
    const std::vector<UnitSet> survivors = first_look(sets, label);
    if (text_.empty()) text_ = text_batches(context_.model, context_.calibration, context_.sweep.batch_tokens);
    const std::vector<double> found = values(survivors, text_, label);
    Parent best = parents_.empty() ? Parent{} : parents_.back();
    for (std::size_t i = 0; i < survivors.size(); ++i)
      if (found[i] < best.value) best = {survivors[i], found[i]};
    if (best.out.empty())
      fail(ErrorKind::numeric, "evolve: what the text says is NaN or infinite for all that was tried; try ",
           "--dtype float32, or a smaller cut");
    parents_.push_back(std::move(best));
    remember();
  }

  void begin(const std::vector<std::int64_t>& counts) {
    select(distinct([&] { return drawn(counts); }));
  }
  void next_generation() {
    select(distinct([&] { return mutated(parents_.back().out); }));
  }

  void remember() {
    Json parents = Json::array();
    for (const Parent& parent : parents_) parents.push_back({{"out", parent.out}, {"value", parent.value}});
    keep(context_, key_,
         {{"parents", parents},
          {"random", rng_.state()},
          {"parts_executed", counter_.parts},
          {"evaluations", counter_.evaluations}});
  }

  bool resume(std::int64_t count) {
    return restore(context_, key_, [&](const Json& known) {
      known.at("parents").at(0);  // at least one
      for (const Json& parent : known.at("parents"))
        parents_.push_back(
            {unit_set(units_, parent.at("out"), static_cast<std::size_t>(count)), parent.at("value").get<double>()});
      rng_ = Rng(known.at("random").get<std::uint64_t>());
      counter_ = {.parts = known.at("parts_executed"), .evaluations = known.at("evaluations")};
    });
  }

  PruneContext& context_;
  UnitSearch units_;
  Kinds kinds_;
  TextMeasure measure_;
  std::int64_t generations_, offspring_, survivors_;
  Rng rng_;
  Json key_;
  std::vector<Parent> parents_;  // of each generation, the first of those drawn
  std::vector<TextBatch> text_;
  PartCounter counter_;
};

Proposal propose(PruneContext& context, const Json& params) { return Search(context, params).run(params); }

Param count_param(const char* name, const char* help, std::int64_t default_value, double minimum) {
  return {.name = name, .type = ParamType::integer, .help = help, .default_value = default_value, .minimum = minimum};
}

Params params() {
  Params params = search_params();
  params.push_back(measure_param("kl"));
  params.push_back(count_param("generations", "times that the best set is mutated", 16, 0));
  params.push_back(count_param("offspring", "mutations of it that are tried in each", 16, 1));
  params.push_back(count_param("survivors", "of them that all of the text judges, after a share of it", 4, 1));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "evolve",
    .title = "EvoPress: evolutionary search over the layers or halves that are out, by switches that keep the budget",
    .paper = "Sieberling et al., arXiv 2410.14649",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
    .keeps_prefixes = true,
};

}  // namespace streamline::evolve_method

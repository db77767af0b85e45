// SPDX-License-Identifier: Apache-2.0
// Searches that take out layers or halves round by round, looking at the text again in each: how much they take, what
// the plan is, and what they remember.
#pragma once

#include "streamline/prune/part_sets.h"
#include "streamline/prune/unit_choice.h"

namespace streamline {

// The parameters layers, halves, sparsity, protect and units.
Params search_params();

// Units are numbered by their place in `stack.units`, which leaves out what is protected.
struct UnitSearch {
  std::string method;
  UnitStack stack = {};
  std::int64_t count = 0;       // units to take out; 0: as many as come closest to `parameters`
  std::int64_t parameters = 0;  // to save

  const StackPart& unit(std::size_t index) const { return stack.parts[stack.units[index]]; }
};
// Errors: usage unless exactly one size is given, for sizes that cannot be had, and where something is to be put back.
UnitSearch read_unit_search(const PruneContext& context, const Json& params, std::string_view method);

using UnitSet = std::vector<std::size_t>;  // numbers of units, rising

// The parts that are there without these units.
PartSet parts_without(const UnitSearch& search, const UnitSet& out);
// Layers that lose all they have are dropped. Errors: mismatch when nothing is left.
Plan plan_without(const Config& config, std::span<const StackPart> parts);
Plan plan_without(const PruneContext& context, const UnitSearch& search, const UnitSet& out);

// What round `count`, counted from 1, would take out altogether; nothing when no unit is left.
using SearchRound = std::function<std::optional<UnitSet>(std::int64_t count)>;
// Rounds until the size is met: so many units, or until one more leads farther away from the parameters to save.
// Errors: usage when too few units can go, and when a budget is less than the smallest.
UnitSet search_rounds(const PruneContext& context, const UnitSearch& search, const SearchRound& round);

// For the label of its progress: ", best so far 3.412".
std::string best_so_far(double value);

// What a search depends on but how much it takes: the key under which its rounds are remembered.
Json search_key(const PruneContext& context, std::string_view method, const Json& params);
// The part of that key that is known with the model.
Json search_of_model(const Model& model, std::string_view method, std::uint64_t seed);
// What `make` gives, which no size and no protected layer changes: made once for all of them where the context
// remembers, in memory only.
Json made_once(const PruneContext& context, std::string_view method, const Json& params,
               const std::function<Json()>& make);
// Hands what is remembered to `read`; false when nothing is. Errors: those of SearchMemory::recall(); format where
// `read` does not find what it looks for (Json::exception).
bool restore(const PruneContext& context, const Json& key, const std::function<void(const Json&)>& read);
[[noreturn]] void fail_broken_state(const std::string& what);  // format
// A set of so many units from what was remembered. Errors: format for one that is none.
UnitSet unit_set(const UnitSearch& search, const Json& json, std::size_t count);
// Remembers; without a memory in the context it does nothing.
void keep(const PruneContext& context, const Json& key, const Json& state);

// The signed plan of a search, with the parameters it saves in its scores.
Proposal search_proposal(const PruneContext& context, const UnitSearch& search, const UnitSet& out, const Json& params,
                         Json scores);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// What --units says: whole layers or halves of them, chosen in one shot by a number that each has.
#pragma once

#include "streamline/prune/half_choice.h"
#include "streamline/prune/stack_parts.h"

namespace streamline {

// The parameters layers, cut, halves, sparsity, protect and units.
Params unit_params();

// What units names.
struct Units {
  std::string name = {};  // "layers", "attention", "mlp", "both"
  HalfKinds halves = {};  // of what halves, where not of layers

  bool layers() const { return name == "layers"; }
};
Units units_of(const Json& params);

// Parts of the model in order of computation, and which of them the units are: those of which one can be taken out
// alone. Errors: unsupported, for halves, as half_parts(); usage, naming the method, when there are none.
struct UnitStack {
  std::vector<StackPart> parts = {};
  std::vector<std::size_t> units = {};  // indices into it, rising
};
UnitStack unit_stack(const Model& model, const Units& units, std::string_view method);

// A unit with its importance; the lowest go first.
struct ScoredUnit {
  StackPart part;
  double importance = 0;
};

// Errors of drop_least_important_units() that can be known before anything is computed.
void check_sizes(const PruneContext& context, const Json& params, std::string_view method,
                 const std::vector<ScoredUnit>& units);
void check_sizes(const PruneContext& context, const Json& params, std::string_view method, const UnitStack& stack);

// The plan that drops the units of lowest importance, as layer_choice.h and half_choice.h have it. `importance` names
// the number. Everything of the proposal but its scores and its signature.
// Errors: usage for sizes that do not go with the units, or cannot be had.
Proposal drop_least_important_units(const PruneContext& context, const Json& params, std::string_view method,
                                    std::string_view importance, const std::vector<ScoredUnit>& units);

}  // namespace streamline

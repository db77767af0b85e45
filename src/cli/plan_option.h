// SPDX-License-Identifier: Apache-2.0
// A plan from the command line, with the weights of what it puts in.
#pragma once

#include <memory>
#include <string>

#include "arguments.h"
#include "streamline/engine/decoder.h"
#include "streamline/plan/plan.h"
#include "streamline/surgery/apply.h"

namespace streamline::cli {

struct PlannedSurgery {
  Plan plan;
  Replacements replacements;
  std::shared_ptr<const WeightChange> masks = {};  // the plan's

  // The source with these masks, of which the plan is to be taken: its view, or apply_plan().
  Model on(const Model& source) const { return masks ? source.changed(masks) : source; }
};
// Replacements that were never trained get their initial weights, with a warning. Errors: as read_plan_bundle.
PlannedSurgery open_plan(const std::string& path, const Model& source, std::uint64_t seed,
                         AnyWeights any_weights = AnyWeights::no);

// Gives the segments that are replaced and have no weights their initial ones. Returns those segments.
std::vector<std::int64_t> fill_initial_weights(const Model& source, std::uint64_t seed, PlannedSurgery& surgery);

// SHA-256 of the plan and of all weights that it puts in.
std::string digest(const PlannedSurgery& surgery);
// Of what makes the model alone: plans of two methods that cut, slice and put in the same have the same.
std::string digest_of_effect(const Plan& plan, const Replacements& replacements);

// The model itself when `path` is empty; cut_in: see parse_cut_in(). Errors: usage for a cut in one phase without a
// plan.
PhasedModel phased_view(const Model& source, const std::string& path, const std::string& cut_in, std::uint64_t seed);
void add_cut_in(Arguments& arguments, std::string& cut_in);

}  // namespace streamline::cli

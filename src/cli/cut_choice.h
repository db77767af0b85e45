// SPDX-License-Identifier: Apache-2.0
// What one method chooses at one size by one text: searched, or kept by an earlier run.
#pragma once

#include <optional>
#include <string>

#include "options.h"
#include "streamline/prune/method.h"
#include "streamline/surgery/format.h"

namespace streamline::cli {

// One text, or one draw from it, by which methods choose.
struct Chooser {
  std::string text;
  std::uint64_t draw = 0;
  TokenBatches tokens = {};
  std::optional<Scores> scores = {};
  SearchMemory memory = {};  // what methods found: of one size it serves the next
};

// How much each method takes: so many layers, or as little as meets a budget.
struct SweepSize {
  std::int64_t layers = 0;
  std::string budget = {};

  std::string text() const { return budget.empty() ? std::to_string(layers) : budget; }
};

// What is the same for all searches.
struct SearchTerms {
  PrefixLimits prefixes = {};
  LayerForm form = LayerForm::ordinary;  // that sizes are of
};

struct Choice {
  Proposal proposal;
  double seconds = 0;  // that it took; what an earlier method or size needed too is in that one's
};

bool takes_layers(const Method& method);  // whether a number of layers says something to it

// What a proposal leaves of the source, as large as it would be written.
Model as_written(const Model& source, const Proposal& proposal, const SearchTerms& terms);

// What a method proposes, from folder `keep` where an earlier run left it there; empty: nothing is kept. The chooser
// keeps the scores that were made for it, and what the method found. Errors: those of the method; usage for a number of
// layers given to a method that takes none.
Choice choose_cut(const std::string& keep, const Method& method, const OpenedModel& source, Chooser& chooser,
                  const SweepSize& size, const SearchTerms& terms);

}  // namespace streamline::cli

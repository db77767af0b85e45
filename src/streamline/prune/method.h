// SPDX-License-Identifier: Apache-2.0
// A pruning method: name, paper, parameters, and one function that proposes a plan. Registered in methods.def.
#pragma once

#include <functional>
#include <span>

#include "streamline/base/params.h"
#include "streamline/prune/prefix_states.h"
#include "streamline/prune/scores.h"
#include "streamline/prune/search_memory.h"

namespace streamline {

// What goes in the place of the layers that are cut; "none" puts back nothing.
struct ReplacementUse {
  std::string name = "none";  // of a registered replacement
  std::int64_t layers = 0;    // ordinary layers it counts as: 1 for a decoder layer, else 0 (LLM-Streamline, section 3)
  std::int64_t before = 0;    // layers before the window that it takes in too, and that therefore must be there
  // Parameters it adds in place of a window that begins at layer `first`; empty: none.
  std::function<std::int64_t(std::int64_t first)> parameters = {};

  std::int64_t parameters_at(std::int64_t first) const { return parameters ? parameters(first) : 0; }
};

// Multiple-choice questions that a method may ask of candidates, where a user gave any.
struct Questionnaire {
  std::int64_t count = 0;
  // Which of the questions first … first+count-1 a view of the model answers rightly.
  std::function<std::vector<bool>(const Model& view, std::int64_t first, std::int64_t count)> right = {};
};

struct PruneContext {
  const Model& model;
  const TokenBatches& calibration;
  ReplacementUse replacement = {};
  std::uint64_t seed = 0;
  const Scores* scores = nullptr;  // of this model and calibration when already there
  SweepOptions sweep = {};
  Questionnaire questions = {};
  SearchMemory* memory = nullptr;  // of searches that go on where they were; empty: they do not
  PrefixLimits prefixes = {};      // of searches that keep what their candidates share
  bool means_stay = false;         // the mean of what goes is put into biases afterwards, as FLAP does
};

struct Proposal {
  Plan plan;
  Replacements replacements;  // weights of its replaced segments, where the method makes them itself; else none
  Scores scores;
  std::vector<Window> windows;        // of the chosen length, best first
  std::vector<std::string> warnings;  // what a user must hear before trusting the plan
};

// Halves of layers.
struct HalfKinds {
  bool attention = false, mlp = false;
};

struct Method {
  std::string_view name, title, paper;
  Params params;
  std::string_view replacement = "none";  // what its paper trains in the place of what is cut
  // `params` as resolve_params returns them for Method::params. The model's ranks share the work, and all come to the
  // same proposal. Errors: usage for what contradicts itself or the model.
  Proposal (*propose)(PruneContext& context, const Json& params);
  bool keeps_state = false;     // what it finds goes into PruneContext::memory, and it goes on from there
  bool keeps_prefixes = false;  // what its candidates share, within PruneContext::prefixes
  bool merges = false;          // it puts merged layers in the place of those that it cuts
  HalfKinds halves = {};        // that it drops by themselves, where none of its parameters says which
};

std::span<const Method* const> methods();
const Method& find_method(std::string_view name);  // usage error that lists what exists

}  // namespace streamline

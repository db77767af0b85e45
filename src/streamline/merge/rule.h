// SPDX-License-Identifier: Apache-2.0
// How several models become one: the rules, as data. A task vector is what a model has beyond the base that it was
// trained from (Ilharco et al., arXiv 2212.04089).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace streamline::merge {

enum class Combine {
  task_vectors,  // base + a combination of task vectors
  average,       // of the weights themselves
  slerp,         // along the great circle between two models' tensors
  passthrough,   // one model, perhaps scaled
};

// Which entries of a task vector take part.
enum class Keep {
  all,
  largest,  // a share of them, by magnitude (TIES: Yadav et al., arXiv 2306.01708)
  random,   // a share of them (DARE: Yu et al., arXiv 2311.03099)
};

struct Rule {
  std::string_view name, summary;
  std::string_view mergekit;  // its merge_method; empty: it has none
  Combine combine = Combine::task_vectors;
  Keep keep = Keep::all;
  bool elect = false;       // of each entry only the task vectors with the sign of their sum take part
  bool normalise = false;   // divided by the weights that took part
  double density = 1;       // share of entries that are kept, where none is given
  bool needs_base = false;  // it has no meaning without one
};

std::span<const Rule> rules();
// Errors: usage, listing them.
const Rule& find_rule(std::string_view name);

// What brings the entries that are kept back to the size of all of them.
enum class Rescale {
  none,
  density,  // 1 / density, as in the paper of DARE
  l1,       // the sum of magnitudes before over that after, as mergekit does
};

// Where the threshold of Keep::largest is taken over.
enum class Threshold {
  model,   // all tensors of a task vector, ties kept; as the code of TIES does
  tensor,  // each tensor, exactly the share kept, of ties the first; as mergekit does
};

// One tensor's parameters, the rule's defaults filled in.
struct Parameters {
  std::vector<double> weights, densities;  // one an operand
  bool normalise = false;
  Rescale rescale = Rescale::none;
  double scale = 1;  // of the merged task vector (mergekit's lambda), or of what is passed through
  double t = 0.5;    // of Combine::slerp: 0 is the first model, 1 the second
  double depth = 1;  // of the merged task vector, by the tensor's depth (lines.h)
};

}  // namespace streamline::merge

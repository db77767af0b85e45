// SPDX-License-Identifier: Apache-2.0
// Which chip is kept, and with it how many layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/chip/chip.h"

namespace streamline::chip {

struct TrainedChip;

enum class Rule {
  best,      // the highest accuracy on the validation texts; of equals the first, linear chips before MLPs
  earliest,  // the first layer with a chip within so much of the highest; of its chips the better one
  fixed,     // the better chip behind a given layer
};
std::string_view name(Rule rule);        // "best", "earliest", "fixed"
Rule rule_named(std::string_view word);  // errors: usage

struct SelectOptions {
  Rule rule = Rule::best;
  double within = 0.01;           // of earliest: accuracy
  std::int64_t layer = -1;        // of fixed
  std::optional<Kind> kind = {};  // only chips of this kind
};

struct Choice {
  std::size_t chip = 0;  // index
  std::int64_t layer = 0;
  Kind kind = Kind::linear;
  std::string rule = {};  // in words: "earliest within 0.01"
};

// Looks at validation texts alone. Errors: usage when no chip fits (a layer without one; no chip of the kind).
Choice select_chip(const std::vector<TrainedChip>& chips, const SelectOptions& options);

}  // namespace streamline::chip

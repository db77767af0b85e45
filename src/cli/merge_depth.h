// SPDX-License-Identifier: Apache-2.0
// The options of `streamline merge` that scale with depth, and what they give.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/merge/merge_plan.h"

namespace streamline::cli {

struct DepthOptions {
  std::string alpha, beta, outside, index = "position";  // alpha empty: nothing is scaled; "auto": found from norms

  bool given() const { return !alpha.empty(); }
  bool automatic() const { return alpha == "auto"; }
};

// A number as a word of the command line. Errors: usage, naming the option.
double parse_number(const std::string& word, const char* option);

// Errors: usage for numbers that are none.
void check_depth(const DepthOptions& options);

// `tuned`: how many models are merged. Errors: usage where several have no beta.
void check_beta(const DepthOptions& options, std::int64_t tuned);

// The factors; `norms` by layer are looked at where alpha is found from them. Errors: those of check_beta() and
// count_original_depths().
merge::Lines depth_lines(const DepthOptions& options, std::int64_t tuned, const merge::MergePlan& plan,
                         const std::vector<merge::Norms>& norms);

Json to_json(const merge::Lines& lines, const DepthOptions& options);

// Each layer's task vector, and what it is scaled by.
Json depth_table(const merge::MergePlan& plan, const std::vector<merge::Norms>& norms,
                 const std::optional<merge::Lines>& lines);

}  // namespace streamline::cli

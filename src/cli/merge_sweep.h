// SPDX-License-Identifier: Apache-2.0
// Coefficients of a merge tried one after the other, each measured as a view, nothing written.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "merge_depth.h"
#include "options.h"
#include "streamline/merge/merge_plan.h"

namespace streamline::cli {

struct SweepOptions {
  std::string values;                // "alpha=0,0.3,1" or "scale=0.1:1:0.1"; empty: there is no sweep
  std::vector<std::string> targets;  // text of what was learnt: one for all models, or one each
  std::string control;               // text of what shall not be forgotten; empty: none
  double target_weight = 2;          // of the targets beside the control, in the score
  std::int64_t window = 0, windows = 64;
  CorpusOptions corpus;
};

struct Sweep {
  std::string name;  // alpha, beta, scale or t
  std::vector<double> values;
};
// Errors: usage.
Sweep parse_sweep(const std::string& text);

// What is measured, and against what.
struct SweepResult {
  Json json;             // the table, and the models it is held against
  std::size_t best = 0;  // among the values: the first with the highest score
};

// `at(value)` is the plan with the coefficient set. The score of a merged model is
// weight * mean over targets of P(tuned) / P + P(base) / P on the control, P being perplexities. Errors: usage for
// targets that do not fit the models; those of view() and perplexity().
SweepResult run_sweep(const SweepOptions& options, const Sweep& sweep, const merge::MergePlan& plan,
                      const std::function<merge::MergePlan(double)>& at, const Placement& placement);

std::string sweep_text(const Json& sweep);

}  // namespace streamline::cli

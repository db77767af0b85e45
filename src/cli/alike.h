// SPDX-License-Identifier: Apache-2.0
// Which of several models these questions, or this text, do not tell apart.
#pragma once

#include <vector>

#include "evaluation.h"

namespace streamline::cli {

// Adds to each of `models` (of a comparison's record, in the order of the evaluations) "alike": the names of those that
// differ from it by no more than noise. Of the first text's perplexities the ratio, with the paired windows' error, is
// within 1.96 standard errors of 1; none where the windows are not the same, or fewer than kFewestPairs. Without a
// text, but with answers to questions, all in the same order: McNemar's exact p over all of them is 0.05 or more.
void add_alike(const std::vector<Evaluation>& evaluations, Json& models);

}  // namespace streamline::cli

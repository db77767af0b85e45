// SPDX-License-Identifier: Apache-2.0
// What a model loses without one of its parts, for every part at once.
#pragma once

#include "streamline/prune/text_measure.h"

namespace streamline {

// Work that was done, in parts over one sequence.
struct PartCounter {
  std::int64_t parts = 0;        // executed
  std::int64_t evaluations = 0;  // sequences whose output was judged
};

// Adds to `counter` what all ranks have done.
void add_counts(const Ranks& ranks, const PartCounter& own, PartCounter& counter);

struct LeaveOneOutOptions {
  TextMeasure measure = TextMeasure::loss;
  std::int64_t batch_tokens = 0;  // that run together; 0: default_batch_tokens()
  std::string label = {};         // of the progress line; empty: none
};

// By sequence of the text, those that predict nothing left out.
struct LeaveOneOut {
  std::vector<double> whole;                 // of the model itself
  std::vector<std::vector<double>> without;  // [part of `left_out`][sequence]
};

// `stack` in order of computation; `left_out`: indices into it, rising. All candidates go through a part together with
// the whole model: those without an earlier part read other states, the candidate without this very part takes the
// whole model's. Of N parts, all left out, N + N(N-1)/2 are executed a sequence instead of N + N(N-1), and the head N +
// 1 times (Siddiqui et al., arXiv 2407.16286, section 7 of whose cost this is the sum). Errors: numeric, naming the
// part, for a value that is none; that of the whole model too.
LeaveOneOut leave_one_out(const Model& model, std::span<const StackPart> stack, std::span<const std::size_t> left_out,
                          const TokenBatches& text, const LeaveOneOutOptions& options, PartCounter& counter);

// The paper's influence of each unit from its mean loss L_i without it: what the runs without it lose more than those
// with it, N/(N-1) * (L_i - mean of all); their sum is 0. Zeros for fewer than two.
std::vector<double> influences(std::span<const double> losses);

}  // namespace streamline

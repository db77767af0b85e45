// SPDX-License-Identifier: Apache-2.0
// What one model answered to the questions of a benchmark, and how often it was right.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/base/stats.h"
#include "streamline/tasks/task.h"

namespace streamline {

// One question. Style::lm_eval: sums over the continuation's tokens; Style::opencompass: over the whole text's T - 1
// predicted tokens, and tokens holds T. Other programs' files leave some of it out: where the number of tokens is not
// known, tokens is empty, and Style::opencompass's log_likelihoods are then already divided by it.
struct Answer {
  std::string id = {};
  std::size_t gold = 0;
  std::vector<double> log_likelihoods = {};   // summed, nats, one a choice
  std::vector<std::int64_t> tokens = {};      // one a choice
  std::vector<std::int64_t> characters = {};  // code points of the choices (TaskItem); empty: not known
  std::vector<bool> greedy = {};              // every scored token was the model's first choice; empty: not known
};

// The answers of one set (TaskSet), and what they are answers to.
struct TaskAnswers {
  std::string name = {}, group = {};
  Style style = Style::lm_eval;
  Rule rule = Rule::choices;
  std::vector<std::string> metrics = {}, labels = {};
  std::int64_t shots = 0, items_in_data = 0;
  std::int64_t truncated = 0;  // questions of which a text was too long for the model, and lost its beginning
  std::string source = {}, digest = {};
  std::vector<Answer> answers = {};
};

// The sets of each task together, in order of appearance.
std::vector<std::vector<TaskAnswers>> by_group(std::span<const TaskAnswers> sets);
// What sets of one task are called together: the task's name; where there is but one of them, that set's.
std::string benchmark_name(std::span<const TaskAnswers> sets);

// Indices of choices; the first one wins a tie. most_likely: lm-evaluation-harness's acc; most_likely_a_character: its
// acc_norm (log likelihood / code points of the choice); lowest_mean_nll: OpenCompass's (-log likelihood / T).
std::size_t most_likely(const Answer& answer);
std::size_t most_likely_a_character(const Answer& answer);
std::size_t lowest_mean_nll(const Answer& answer);
// As the style predicts: most_likely, lowest_mean_nll.
std::size_t prediction(const Answer& answer, Style style);
// By the set's rule and style: what "acc" counts.
bool is_right(const TaskAnswers& set, const Answer& answer);

// A named figure over the answers: "acc" (as `style` predicts), "acc_norm", "perplexity" (e to the mean negative log
// likelihood of a question; its error by the delta method). The standard error is the sample's deviation / sqrt(n); of
// one question there is none. Errors: internal for an unknown name or no answers.
Estimate metric(const TaskAnswers& set, std::string_view name);

// The same over several sets. weighted: every question counts the same, and the error is that of
// lm-evaluation-harness's groups (the variance inside the sets, pooled); else every set counts the same (the paper,
// OpenCompass), and the sets' errors are independent. Without an error where a set has none, as in the harness.
// Errors: internal as metric, and for no sets.
Estimate group_metric(std::span<const TaskAnswers> sets, std::string_view name, bool weighted);
// The same of a benchmark's sets in the manner of their style: questions count the same in lm_eval, sets in
// opencompass.
Estimate benchmark_metric(std::span<const TaskAnswers> sets, std::string_view name);

// Whether benchmarks have a mean of it: shares have one, perplexities of different questions have none.
bool has_mean(std::string_view metric);
// By name, the mean over those of the benchmarks (by_group) that have it, each counted the same.
std::map<std::string, Estimate> benchmark_means(std::span<const std::vector<TaskAnswers>> benchmarks);

}  // namespace streamline

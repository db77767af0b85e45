// SPDX-License-Identifier: Apache-2.0
// What an evaluation leaves in --out, and takes from there when it is repeated.
#pragma once

#include <optional>
#include <string>

#include "evaluation.h"
#include "streamline/eval/perplexity_file.h"

namespace streamline::cli {

// Before the work: that what is there may stay or be replaced. Errors: io for another model's figures and for a file
// that is damaged, both unless `keep.overwrite`; they say what to do.
void check_kept(const Keep& keep, const Workload& workload);

// A set's answers, a text's figures, if they are there under the same key. Errors: as check_kept.
std::optional<TaskAnswers> kept_answers(const Keep& keep, const Workload& workload, const TaskSet& set);
void keep_answers(const Keep& keep, const Workload& workload, const TaskSet& set, const TaskAnswers& answers);

// `source`: the key of the model that the divergence is from; null without one.
std::optional<KeptPerplexity> kept_perplexity(const Keep& keep, const Workload& workload, const EvaluationText& text,
                                              const Json& source);
// `kept.key` is filled in.
void keep_perplexity(const Keep& keep, const Workload& workload, const EvaluationText& text, const Json& source,
                     KeptPerplexity kept);

// What the training of a model that is compared came to: its record and its warning, {"record": …, "warning": …}.
std::optional<Json> kept_training(const Keep& keep);
void keep_training(const Keep& keep, const Json& training);

// Whether nothing is left to measure. `source` as above.
bool all_kept(const Keep& keep, const Workload& workload, const Json& source);

}  // namespace streamline::cli

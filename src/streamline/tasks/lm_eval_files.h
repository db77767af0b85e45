// SPDX-License-Identifier: Apache-2.0
// Results as lm-evaluation-harness 0.4.13 stores them: FOLDER/MODEL/results_TIME.json and, with a line a question,
// samples_TASK_TIME.jsonl.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/tasks/answers.h"
#include "streamline/tasks/task_set.h"

namespace streamline {

struct LmEvalRun {
  std::string model;   // as the user named it
  Json config = {};    // what is known of the file's "config": model_args, model_dtype, batch_size, limit, …
  double started = 0;  // seconds since 1970, UTC
  double seconds = 0;  // the evaluation took
};

// FOLDER/lm-eval/MODEL/…; TIME is the time of `started`; sets have the harness's names. Answers answer the questions in
// their order; all are of Style::lm_eval. A task of several sets becomes a group, in which every question counts the
// same. Errors: io; internal.
void write_lm_eval(const std::filesystem::path& folder, std::span<const TaskAnswers> answers,
                   std::span<const TaskSet> questions, const LmEvalRun& run);

// One file of samples of a task that scores choices ("multiple_choice") or one answer ("loglikelihood"). Questions are
// called by their doc_id. Numbers of tokens are not known. Errors: io; format, naming file and line, also where the
// right answer is not said in a way that this program understands, or "acc" is not what the likelihoods say.
TaskAnswers read_lm_eval_samples(const std::filesystem::path& file);

// The newest samples of every task in a model's folder, or in the folder of one such. Errors: as above; io when there
// are none.
std::vector<TaskAnswers> read_lm_eval_folder(const std::filesystem::path& folder);

}  // namespace streamline

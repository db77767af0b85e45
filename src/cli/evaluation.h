// SPDX-License-Identifier: Apache-2.0
// What `eval` measures of one model and `compare` of several: perplexities, divergence from the source, tasks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gate.h"
#include "options.h"
#include "streamline/eval/divergence.h"
#include "streamline/eval/task_scoring.h"
#include "streamline/tasks/answers.h"
#include "streamline/tasks/task_set.h"

namespace streamline::cli {

struct EvaluationOptions {
  std::vector<std::string> texts;  // --perplexity
  CorpusOptions corpus;
  PerplexityOptions perplexity;
  std::string bos = "auto";
  bool allow_long = false;
  bool shipped = false;  // the text is the one that comes with the program (shipped_text.h), not a given one

  std::vector<std::string> tasks;
  std::string task_dir, data_dir, style = "lm-eval";
  std::int64_t limit = 0, shots = -1, max_tokens = 0;
  std::string out;         // folder of the results; empty: none are written
  bool overwrite = false;  // replace what another model left there
};
void add_evaluation_options(Arguments& arguments, EvaluationOptions& options);

// What is measured on, in one tokenizer's tokens.
struct Workload {
  PerplexityOptions perplexity;
  std::optional<TokenId> bos;
  std::vector<EvaluationText> texts;
  std::vector<TaskSet> sets;
  TaskScoringOptions scoring;
};
// Errors: usage when neither a text nor a task is given; those of the parts.
Workload load_workload(const EvaluationOptions& options, const OpenedModel& opened, std::uint64_t seed);

// One model's figures. Texts and sets as in the workload.
struct Evaluation {
  std::vector<PerplexityResult> perplexities;
  std::vector<Divergence> divergences;  // empty without a source
  std::vector<TaskAnswers> answers;
  std::vector<std::string> warnings;  // what a reader of the figures must know
  double seconds = 0;

  void warn(const std::string& message);  // also to the log
};

// A source that other models are held against.
struct Source {
  const Model* model = nullptr;
  Json key;                                                   // model_key()
  std::vector<std::string> texts;                             // digests of their tokens
  std::int64_t window = 0;                                    // tokens that it reads at once
  std::vector<std::optional<SourcePredictions>> predictions;  // one a text, when they are first needed
};

// Where finished figures are kept, and taken from when an evaluation is repeated.
struct Keep {
  std::string folder;  // empty: nowhere
  Json key;            // model_key()
  bool overwrite = false;
};

// What figures depend on beside questions and texts; `plan_digest` is empty without a plan.
Json model_key(const Model& model, const std::string& plan_digest, std::uint64_t seed);

// The source's own evaluation, with what others are compared to. Errors: those of check_kept() and of the parts.
Evaluation evaluate_source(const Model& model, const Tokenizer& tokenizer, const Workload& workload, const Keep& keep,
                           Source& source);
// `source`: adds the divergence from it.
Evaluation evaluate(const Model& model, const Tokenizer& tokenizer, const Workload& workload, const Keep& keep,
                    Source* source);

Json to_json(const Evaluation& evaluation, const Workload& workload);
// What gates and comparisons may name: parameters, bytes, perplexity (of the first text), kl, same_first_choice,
// TASK.METRIC, and METRIC for the mean over the tasks.
Figures figures(const Evaluation& evaluation, const Model& model);
// The names that figures() will have, before the work; those of the source have no divergence.
std::vector<std::string> figure_names(const Workload& workload, bool with_divergence);
// "perplexity 58.31 ± 0.72 (…)" a text, with the divergence where there is a source.
std::string perplexity_lines(const Evaluation& evaluation, const Workload& workload);
// The sets' figures as rows of a table, groups of several sets as one.
std::vector<std::vector<std::string>> task_rows(const std::vector<TaskAnswers>& answers);

}  // namespace streamline::cli

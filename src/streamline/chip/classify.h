// SPDX-License-Identifier: Apache-2.0
// Classifying texts with chosen chips: the layers up to the last of them run, once for all tasks that read a text
// alike.
#pragma once

#include <optional>

#include "streamline/chip/chips_file.h"
#include "streamline/engine/model.h"

namespace streamline::chip {

struct Verdict {
  std::vector<double> probabilities;  // by class
  std::int64_t layer = 0;             // behind which it was decided

  std::size_t best() const;  // of equals the first
};

struct ClassifyOptions {
  // With a threshold each text runs layer by layer, and stops where every task has a chip (of the chosen one's kind, at
  // most as deep) whose highest probability is at least this.
  std::optional<double> exit = {};
  std::int64_t batch_tokens = 0;
};

// One verdict a task for each text, [text][task]. `lines` go through each task's prompt. Every task must have a choice.
// Errors: mismatch for chips of another model; format for a line that does not fit a prompt (its number).
std::vector<std::vector<Verdict>> classify(const Model& model, const Tokenizer& tokenizer, const Chips& chips,
                                           const std::vector<std::string>& lines, const ClassifyOptions& options);

// The head of a …ForSequenceClassification checkpoint, [classes, hidden] float32. Errors: mismatch when there is none.
torch::Tensor class_head(const Model& model);

// How chips would do with early exits, from features: accuracy and mean layers run.
struct ExitScore {
  Score score;
  double layers = 0;  // mean number of layers that run
};
ExitScore score_exits(const TaskChips& task, const Features& features, double threshold);

}  // namespace streamline::chip

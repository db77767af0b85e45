// SPDX-License-Identifier: Apache-2.0
// Predictions as OpenCompass's PPL mode stores them: PREDICTIONS/MODEL/DATASET.json, an object keyed "0", "1", … whose
// values hold "gold", "prediction" and, for each "label: X", the text and its mean negative log likelihood as "PPL".
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "streamline/tasks/answers.h"
#include "streamline/tasks/task_set.h"

namespace streamline {

// FOLDER/opencompass/predictions/MODEL/DATASET.json, every set under the name that OpenCompass has for it. Answers
// answer the questions in their order; all are of Style::opencompass. Errors: io; internal.
void write_opencompass(const std::filesystem::path& folder, const std::string& model,
                       std::span<const TaskAnswers> answers, std::span<const TaskSet> questions);

// One file of predictions. Questions are called by their keys; the labels are those of the file, and "gold" may be a
// string or a number ("1" and 1 are the same). tokens is empty unless the file lets them be known (by "BPB", which is
// PPL · tokens / bytes of the text). Errors: io; format, naming the file and the key, also when "prediction" is not the
// label of the lowest PPL.
TaskAnswers read_opencompass(const std::filesystem::path& file);

// All files of a model: the folder of the model, of predictions (of one model), or of a run. Files NAME_0.json,
// NAME_1.json, … of a run that was split are one set. Errors: as above; io when there are none.
std::vector<TaskAnswers> read_opencompass_folder(const std::filesystem::path& folder);

// Whether a file of JSON looks like one of predictions, by its beginning.
bool is_opencompass(const std::filesystem::path& file);

}  // namespace streamline

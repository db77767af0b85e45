// SPDX-License-Identifier: Apache-2.0
// Answers from wherever they are: our own results, lm-evaluation-harness's samples, OpenCompass's predictions.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "streamline/tasks/answers.h"

namespace streamline {

enum class ResultsFormat { streamline, lm_eval, opencompass };
std::string_view name(ResultsFormat format);  // "streamline", "lm-eval samples", "opencompass predictions"

struct Results {
  ResultsFormat format = ResultsFormat::streamline;
  std::vector<TaskAnswers> sets = {};  // of both styles, where our own results have both
};

// A folder or one file, whose format shows in its contents. Errors: io; format, also for what is none of the three;
// those of the readers.
Results read_results(const std::filesystem::path& path);

}  // namespace streamline

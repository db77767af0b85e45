// SPDX-License-Identifier: Apache-2.0
// What the tables and charts of a comparison read from its record.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

// Benchmarks in the order of the first model that has them: tasks, and groups in place of their sets.
std::vector<std::string> benchmark_names(const Json& record);
// A model's figures of a benchmark; null when it has none.
Json benchmark(const Json& model, const std::string& name);

// The sets' questions that were asked, and those in the data; nothing when no model says it.
struct Asked {
  std::int64_t questions = 0, in_data = 0;
};
std::optional<Asked> asked(const Json& record, const std::string& benchmark);

// A model's perplexities, each with "text": one, or several under "perplexities".
std::vector<Json> perplexities(const Json& model);
// What tables call the texts, in their order: the last part of a path; all of it where two texts would have one name.
std::vector<std::string> text_names(const Json& record);
// How each was measured: "Perplexity on valid.txt: 32704 tokens scored in windows of 512, stride 512, without BOS."
std::vector<std::string> text_sentences(const Json& record);

// The windows of the first text, where perplexities were measured on so few of them (kFewestPairs) that nothing is said
// of which differences are more than chance; else nothing.
std::optional<std::int64_t> too_few_windows(const Json& record);
// That in words, for people; empty where there are enough.
std::string few_windows_text(const Json& record);

// What went, in words: "dropped layers 5..6"; empty when nothing is known.
std::string what_was_cut(const Json& model);

// Which models on the Pareto front ("parameters", "speed") are within the error of each other, a line for each and
// those after it, "A and B, C"; only "A, B, C" where all are. Empty when all are told apart. `written`: how a name is.
std::vector<std::string> told_together(const Json& record, const std::string& front,
                                       std::string (*written)(const std::string& name));

// What models are judged by: "perplexity" where one was measured, else "mean accuracy" where the models have tasks.
std::string quality_name(const Json& record);
bool judged_by_tasks(const Json& record);
// Higher is better: the mean accuracy in per cent, or minus the perplexity; nothing when it was not measured.
std::optional<double> quality(const Json& record, const Json& model);

}  // namespace streamline::report

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

// What models are judged by: "mean accuracy" where the models have tasks, else "perplexity".
std::string quality_name(const Json& record);
bool judged_by_tasks(const Json& record);
// Higher is better: the mean accuracy in per cent, or minus the perplexity; nothing when it was not measured.
std::optional<double> quality(const Json& record, const Json& model);

}  // namespace streamline::report

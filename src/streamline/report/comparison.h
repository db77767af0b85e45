// SPDX-License-Identifier: Apache-2.0
// The record of `compare` (docs/report.md) as tables for terminal, Markdown and spreadsheets, and as one HTML page.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline {

// Sets models[i].pareto to {"parameters": bool, "speed": bool}: whether no other model is as good and smaller (faster),
// or better and as small (as fast). Good is the perplexity where one was measured, else the mean accuracy.
void mark_pareto(Json& record);

// Models × figures; stars mark the models on the Pareto front of quality and parameters.
std::string comparison_table(const Json& record);
std::string comparison_markdown(const Json& record);
// A row a model, a column a figure, numbers in full; RFC 4180.
std::string comparison_csv(const Json& record);
// Works offline; parts that are missing are left out, and everything from the record is escaped.
std::string comparison_html(const Json& record);

}  // namespace streamline

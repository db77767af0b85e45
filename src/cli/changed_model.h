// SPDX-License-Identifier: Apache-2.0
// What commands share that change a model: the figures before and after, and how the result is written.
#pragma once

#include <optional>
#include <string>

#include "options.h"
#include "streamline/eval/perplexity.h"
#include "streamline/surgery/apply.h"

namespace streamline::cli {

// A text whose perplexity is measured before and after; without one, sizes alone are.
struct Measured {
  bool given = false;
  EvaluationText text = {};
  PerplexityOptions perplexity = {};
  std::optional<PerplexityResult> first = {};  // of the model as it was, once that is measured
};
// Windows are as long as the sequences of `data`.
PerplexityOptions measured_windows(const OpenedModel& opened, const DataOptions& data, std::int64_t windows);
// path empty: there is none.
Measured load_measured(const OpenedModel& opened, const DataOptions& data, const std::string& path,
                       std::int64_t windows);

// The "perplexity" of a row of "models"; after the first, which is kept, with "log_perplexity_ratio" to that one.
Json perplexity_record(const PerplexityResult& result, const PerplexityOptions& options, const EvaluationText& text,
                       std::optional<PerplexityResult>& first);

// Says it, and keeps it among the report's "warnings".
void warn(Json& report, const std::string& sentence);

// Adds a row to the report's "models", and "evaluation" where there is a text.
void add_measured(Json& report, const OpenedModel& opened, Measured& measured, const char* name, const Model& model);

// The report's "source".
Json source_record(const std::string& path, const Model& model);

// The report's "output".
Json output_record(const std::string& path, const AppliedPlan& applied);

// Writes report.json and report.html, and its "recipe", what the command was given, as streamline/recipe.yaml.
void write_report(OutputDirectory& directory, const Json& report);

// For those that leave the layers where they are: the plan that keeps all, decided by `command`.
Plan plan_of_all(const Model& model, const char* command);

struct Target {
  const std::string& source;  // the model as it was named
  const std::string& max_shard_size;
  bool overwrite = false;
};
// Below the card's front matter stands `card`; the plan does not repeat the result.
ApplyOptions changed_options(const Target& target, const Json& report, std::string card);

// The end of a card: the command that made the model.
std::string card_recipe(const Json& report);

}  // namespace streamline::cli

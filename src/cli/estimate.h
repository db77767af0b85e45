// SPDX-License-Identifier: Apache-2.0
// What a run of another command would take: time, memory and disk, from the model's shapes and about a second of
// measuring this machine.
#pragma once

#include <string>

#include "shared_options.h"

namespace streamline::cli {

// What such a run would be told.
struct EstimateOptions {
  std::string command;  // score, prune, heal; empty: nothing is estimated
  DataOptions data;     // without a path: as much text as is asked for
  std::int64_t cut = 1, start = -1, tokens = 300000, epochs = 1, validation_sequences = 16, evaluation_windows = 64;
  std::string replacement = "layer";
  bool no_speed = false, evaluates = false;
};
// Those of the machine among them, which nothing else of `inspect` needs.
void add_estimate_options(Arguments& arguments, EstimateOptions& options, CommonOptions& common);

// {"command", "stages": [{"name", "seconds", "memory"}], "seconds", "memory", "mapped", "disk", "temporary_disk",
// "measured"}; seconds, bytes. Errors: those of the run itself that can be told before it.
Json estimate(const std::string& model, const EstimateOptions& options, const CommonOptions& common);
std::string estimate_text(const Json& estimate);

}  // namespace streamline::cli

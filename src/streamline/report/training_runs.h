// SPDX-License-Identifier: Apache-2.0
// The training curves of a report, one by one: each window's stages, and the candidates that were tried first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

struct TrainingRun {
  std::string chart;  // "training-0"; what stands before the hyphen names the chart's specification
  std::string title;  // "layers 5..8, kl"; empty where there is but one
  std::string loss;   // "mean squared error", for the axis
  bool candidate = false;
  bool whole = false;  // of adapters in a model that stays, not of what stands in for layers
  Json window = {};    // trained_parameters, tokens, seconds …
  Json stage = {};     // steps, validations, errors
};

std::vector<TrainingRun> training_runs(const Json& report);

// How many steps to each side the running mean of the loss takes; 0 where there are too few steps for one.
std::int64_t smoothing_reach(const Json& stage);

}  // namespace streamline::report

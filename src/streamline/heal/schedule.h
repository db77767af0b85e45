// SPDX-License-Identifier: Apache-2.0
// Learning rate: linear warm-up, half cosine to a minimum, then constant.
#pragma once

#include <cstdint>

namespace streamline {

struct Schedule {
  double warmup = 0, total = 0;  // optimizer steps
  double maximum = 2e-4, minimum = 5e-5;
};
// LLM-Streamline's released schedule, clamped at its end (the release climbs again). step counts from 0.
double learning_rate(const Schedule& schedule, double step);

}  // namespace streamline

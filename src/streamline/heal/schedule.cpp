// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace streamline {

double learning_rate(const Schedule& schedule, double step) {
  if (step < schedule.warmup) return schedule.maximum * step / std::max(1.0, schedule.warmup);
  const double progress = (step - schedule.warmup) / std::max(1.0, schedule.total - schedule.warmup);
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * std::min(progress, 1.0)));
  return schedule.minimum + share * (schedule.maximum - schedule.minimum);
}

}  // namespace streamline

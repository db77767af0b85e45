// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/llama3_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace streamline {

double llama3_frequency(const RopeConfig& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_max_positions) * frequency / (2 * std::numbers::pi);
  const double range = rope.high_frequency_factor - rope.low_frequency_factor;
  const double keep = std::clamp((turns - rope.low_frequency_factor) / range, 0.0, 1.0);
  return keep * frequency + (1 - keep) * frequency / rope.factor;
}

double llama3_factor(const RopeConfig& rope, std::size_t i, std::size_t count) {
  const double frequency = std::pow(rope.theta, -static_cast<double>(i) / static_cast<double>(count));
  return frequency / llama3_frequency(rope, frequency);
}

}  // namespace streamline

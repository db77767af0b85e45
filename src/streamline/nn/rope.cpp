// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"
#include "streamline/nn/norms.h"

namespace streamline {
namespace {

// Dynamic NTK scaling: beyond the trained length the base grows with the length, so that the slowest pair stretches by
// just the ratio of lengths.
double dynamic_base(const RopeConfig& rope, std::int64_t head_dim, double trained, double positions) {
  if (positions <= trained) return rope.theta;
  const double stretch = rope.factor * positions / trained - (rope.factor - 1);
  const double dim = static_cast<double>(head_dim);
  return rope.theta * std::pow(stretch, dim / (dim - 2));
}

// Llama 3: short wavelengths stay, long ones are stretched by `factor`, those between are blended.
double llama3_frequency(const RopeConfig& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_max_positions) * frequency / (2 * std::numbers::pi);
  const double range = rope.high_frequency_factor - rope.low_frequency_factor;
  const double keep = std::clamp((turns - rope.low_frequency_factor) / range, 0.0, 1.0);
  return keep * frequency + (1 - keep) * frequency / rope.factor;
}

std::int64_t rotated_head_dim(const Config& config) {
  for (const LayerConfig& layer : config.layers)
    if (layer.attention) return layer.attention->head_dim;
  return 0;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeConfig& rope, std::int64_t head_dim, std::int64_t max_positions,
                                     std::int64_t positions) {
  const std::int64_t trained = rope.original_max_positions > 0 ? rope.original_max_positions : max_positions;
  double base = rope.theta;
  if (rope.scaling == RopeScaling::dynamic)
    base = dynamic_base(rope, head_dim, static_cast<double>(trained), static_cast<double>(positions));
  std::vector<double> result;
  for (std::int64_t pair = 0; pair < head_dim / 2; ++pair) {
    double frequency = std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
    if (rope.scaling == RopeScaling::linear) frequency /= rope.factor;
    if (rope.scaling == RopeScaling::llama3) frequency = llama3_frequency(rope, frequency);
    result.push_back(frequency);
  }
  return result;
}

Positions rope_positions(const Config& config, std::int64_t first, std::int64_t seq, torch::Device device) {
  Positions positions{.first = first};
  const std::int64_t head_dim = rotated_head_dim(config);
  if (config.family->traits.position != Position::rope || head_dim == 0) return positions;
  const std::vector<double> frequencies = rope_frequencies(config.rope, head_dim, config.max_positions, first + seq);
  // Angles in double: position * frequency in fp32 is off by 1e-3 at position 20,000.
  const auto frequency = torch::tensor(frequencies, torch::kDouble);                              // [head_dim / 2]
  const auto angle = torch::outer(torch::arange(first, first + seq, torch::kDouble), frequency);  // [seq, head_dim / 2]
  positions.cos = angle.cos().to(device, torch::kFloat);
  positions.sin = angle.sin().to(device, torch::kFloat);
  return positions;
}

torch::Tensor rotate(const torch::Tensor& x, const Positions& positions) {
  const std::int64_t half = x.size(-1) / 2;
  SL_ASSERT(positions.cos.size(0) == x.size(1) && positions.cos.size(1) == half);
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto a = wide.narrow(-1, 0, half), b = wide.narrow(-1, half, half);
  const auto cos = positions.cos.unsqueeze(1), sin = positions.sin.unsqueeze(1);  // [seq, 1, head_dim / 2]
  return torch::cat({a * cos - b * sin, b * cos + a * sin}, -1).to(x.scalar_type());
}

}  // namespace streamline

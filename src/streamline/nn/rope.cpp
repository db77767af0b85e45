// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/arch/llama3_rope.h"
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

// The pair that turns `turns` times over the original length, as a real number.
double yarn_pair(const RopeConfig& rope, double dim, double turns) {
  const double length = static_cast<double>(rope.original_max_positions);
  return dim * std::log(length / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
}

// YaRN (Peng et al., arXiv 2309.00071, eq. 17 to 19): fast pairs stay, slow ones are stretched by `factor`, those
// between are blended.
double yarn_frequency(const RopeConfig& rope, double dim, double pair, double frequency) {
  double low = yarn_pair(rope, dim, rope.beta_fast), high = yarn_pair(rope, dim, rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // as the authors' code does
  const double stretch = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return stretch * frequency / rope.factor + (1 - stretch) * frequency;
}

std::int64_t rotated_head_dim(const Config& config) {
  for (const LayerConfig& layer : config.layers)
    if (layer.attention) return layer.attention->head_dim;
  return 0;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeConfig& rope, std::int64_t dim, std::int64_t max_positions,
                                     std::int64_t positions) {
  const std::int64_t trained = rope.original_max_positions > 0 ? rope.original_max_positions : max_positions;
  double base = rope.theta;
  if (rope.scaling == RopeScaling::dynamic)
    base = dynamic_base(rope, dim, static_cast<double>(trained), static_cast<double>(positions));
  const double width = static_cast<double>(dim);
  const std::vector<double>& factors = positions > trained ? rope.long_factors : rope.short_factors;
  std::vector<double> result;
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    const double pair = static_cast<double>(i);
    double frequency = std::pow(base, -2.0 * pair / width);
    if (rope.scaling == RopeScaling::linear) frequency /= rope.factor;
    if (rope.scaling == RopeScaling::llama3) frequency = llama3_frequency(rope, frequency);
    if (rope.scaling == RopeScaling::yarn) frequency = yarn_frequency(rope, width, pair, frequency);
    if (rope.scaling == RopeScaling::longrope) frequency /= factors[static_cast<std::size_t>(i)];
    result.push_back(frequency);
  }
  return result;
}

const RotaryTable& Positions::of(RopeUse use) const {
  static const RotaryTable none;
  if (use == RopeUse::none) return none;
  return use == RopeUse::local ? local : global;
}

Positions rope_positions(const Config& config, std::int64_t first, std::int64_t seq, torch::Device device) {
  Positions positions{.first = first};
  const std::int64_t head_dim = rotated_head_dim(config);
  if (config.family->traits.position != Position::rope || head_dim == 0) return positions;
  const auto table = [&](const RopeConfig& rope) {
    const auto frequencies = rope_frequencies(rope, rotary_dim(rope, head_dim), config.max_positions, first + seq);
    // Angles in double: position * frequency in fp32 is off by 1e-3 at position 20,000.
    const auto frequency = torch::tensor(frequencies, torch::kDouble);                              // [pairs]
    const auto angle = torch::outer(torch::arange(first, first + seq, torch::kDouble), frequency);  // [seq, pairs]
    return RotaryTable{(angle.cos() * rope.attention_factor).to(device, torch::kFloat),
                       (angle.sin() * rope.attention_factor).to(device, torch::kFloat)};
  };
  positions.global = table(config.rope);
  if (config.local_rope) positions.local = table(*config.local_rope);
  return positions;
}

Positions packed_rope_positions(const Config& config, std::shared_ptr<const Packing> packing, torch::Device device) {
  const torch::Tensor rows = packed_positions(*packing);
  const std::int64_t longest = rows.numel() > 0 ? rows.max().item<std::int64_t>() + 1 : 0;
  Positions positions = rope_positions(config, 0, longest, device);
  const auto pick = [index = rows.to(device)](RotaryTable& table) {
    if (!table.cos.defined()) return;
    table.cos = table.cos.index_select(0, index);
    table.sin = table.sin.index_select(0, index);
  };
  pick(positions.global);
  pick(positions.local);
  positions.packing = std::move(packing);
  return positions;
}

bool length_decides_angles(const Config& config, std::int64_t length) {
  const auto decides = [&](const RopeConfig& rope) {
    const std::int64_t trained = rope.original_max_positions > 0 ? rope.original_max_positions : config.max_positions;
    return (rope.scaling == RopeScaling::dynamic || rope.scaling == RopeScaling::longrope) && length > trained;
  };
  return decides(config.rope) || (config.local_rope && decides(*config.local_rope));
}

torch::Tensor rotate(const torch::Tensor& x, const RotaryTable& table, bool neighbours) {
  const std::int64_t pairs = table.cos.size(1), rest = x.size(-1) - 2 * pairs;
  SL_ASSERT(table.cos.size(0) == x.size(1) && rest >= 0);
  const auto wide = x.narrow(-1, 0, 2 * pairs).to(accumulation_type(x.scalar_type()));
  const auto cos = table.cos.unsqueeze(1), sin = table.sin.unsqueeze(1);  // [seq, 1, pairs]
  const auto two = neighbours ? wide.unflatten(-1, {pairs, 2}) : wide.unflatten(-1, {2, pairs});
  const std::int64_t side = neighbours ? -1 : -2;  // the dimension in which the two of a pair lie
  const auto a = two.select(side, 0), b = two.select(side, 1);
  const auto turned = torch::stack({a * cos - b * sin, b * cos + a * sin}, side).flatten(-2).to(x.scalar_type());
  return rest == 0 ? turned : torch::cat({turned, x.narrow(-1, 2 * pairs, rest)}, -1);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_rope.h"

#include <algorithm>
#include <cmath>

#include "streamline/arch/llama3_rope.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr double kTheta = 10000;  // where a file does not say
// Every model that has such factors says so; only the factor differs (8 in Llama 3.1, 32 in the small 3.2).
RopeConfig llama3(double factor) {
  return {.scaling = RopeScaling::llama3,
          .factor = factor,
          .low_frequency_factor = 1,
          .high_frequency_factor = 4,
          .original_max_positions = 8192};
}
constexpr double kTolerance = 1e-5;  // relative; the factors are float32

// What frequency i of `count` is divided by.
double llama3_factor(const RopeConfig& rope, double theta, std::size_t i, std::size_t count) {
  const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(count));
  return frequency / llama3_frequency(rope, frequency);
}

Json llama3_scaling(const std::vector<float>& factors, double theta, const std::string& where) {
  const RopeConfig rope = llama3(*std::max_element(factors.begin(), factors.end()));
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double expected = llama3_factor(rope, theta, i, factors.size());
    if (!(std::abs(factors[i] - expected) <= kTolerance * expected))
      fail(ErrorKind::unsupported, where, ": 'rope_freqs.weight' holds ", factors[i], " at ", i,
           " where Llama 3.1's rule gives ", expected, "; other factors are not supported");
  }
  return {{"rope_type", "llama3"},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_frequency_factor},
          {"high_freq_factor", rope.high_frequency_factor},
          {"original_max_position_embeddings", rope.original_max_positions}};
}

}  // namespace

void add_gguf_rope(const RopeMetadata& rope, const std::vector<float>& factors, const std::string& where,
                   Json& config) {
  const double theta = rope.theta.value_or(kTheta);
  config["rope_theta"] = theta;
  const bool scaled = !rope.scaling.empty() && rope.scaling != "none";
  if (scaled && (rope.scaling != "linear" || !factors.empty()))
    fail(ErrorKind::unsupported, where, ": RoPE scaling '", rope.scaling, "' is not supported",
         factors.empty() ? "; none and linear are" : " beside 'rope_freqs.weight'");
  if (scaled) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", rope.factor.value_or(1)}};
  if (!factors.empty()) config["rope_scaling"] = llama3_scaling(factors, theta, where);
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr double kTheta = 10000;  // where a file does not say
// Every model that has such factors says so; only the factor differs (8 in Llama 3.1, 32 in the small 3.2).
constexpr double kLowFrequency = 1, kHighFrequency = 4;
constexpr std::int64_t kOriginalPositions = 8192;
constexpr double kTolerance = 1e-5;  // relative; the factors are float32

// What frequency i of `count` is divided by: 1 for short waves, `factor` for long ones, between them a blend.
double llama3_factor(double factor, double theta, std::size_t i, std::size_t count) {
  const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(count));
  const double turns = static_cast<double>(kOriginalPositions) * frequency / (2 * std::numbers::pi);
  if (turns > kHighFrequency) return 1;
  if (turns < kLowFrequency) return factor;
  const double share = (turns - kLowFrequency) / (kHighFrequency - kLowFrequency);
  return 1 / ((1 - share) / factor + share);
}

Json llama3_scaling(const std::vector<float>& factors, double theta, const std::string& where) {
  const double factor = *std::max_element(factors.begin(), factors.end());
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double expected = llama3_factor(factor, theta, i, factors.size());
    if (!(std::abs(factors[i] - expected) <= kTolerance * expected))
      fail(ErrorKind::unsupported, where, ": 'rope_freqs.weight' holds ", factors[i], " at ", i,
           " where Llama 3.1's rule gives ", expected, "; other factors are not supported");
  }
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", kLowFrequency},
          {"high_freq_factor", kHighFrequency},
          {"original_max_position_embeddings", kOriginalPositions}};
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

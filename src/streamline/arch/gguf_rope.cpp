// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_rope.h"

#include <algorithm>
#include <cmath>

#include "streamline/arch/llama3_rope.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr double kTheta = 10000;  // where a file does not say
// Every model that has such factors was stretched from these positions, by factors of 8 (Llama 3.1) or 32 (the small
// 3.2); files say neither.
constexpr std::int64_t kOriginal = 8192;
RopeConfig llama3(double theta, double factor, std::int64_t original) {
  return {.theta = theta,
          .scaling = RopeScaling::llama3,
          .factor = factor,
          .low_frequency_factor = 1,
          .high_frequency_factor = 4,
          .original_max_positions = original};
}
constexpr double kTolerance = 1e-5;  // relative; the factors are float32

// The first factor that is not what the rule gives; the number of factors when there is none.
std::size_t first_other(const RopeConfig& rope, const std::vector<float>& factors) {
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double expected = llama3_factor(rope, i, factors.size());
    if (!(std::abs(factors[i] - expected) <= kTolerance * expected)) return i;
  }
  return factors.size();
}

Json llama3_scaling(const std::vector<float>& factors, double theta, const std::string& where) {
  RopeConfig rope = llama3(theta, *std::max_element(factors.begin(), factors.end()), kOriginal);
  const std::size_t other = first_other(rope, factors);
  for (std::int64_t original = 1; other != factors.size() && original <= kMaxPositions; original *= 2)
    if (const RopeConfig candidate = llama3(theta, rope.factor, original);
        first_other(candidate, factors) == factors.size())
      rope = candidate;
  if (rope.original_max_positions == kOriginal && other != factors.size())
    fail(ErrorKind::unsupported, where, ": 'rope_freqs.weight' holds ", factors[other], " at ", other,
         " where Llama 3.1's rule gives ", llama3_factor(rope, other, factors.size()),
         "; other factors are not supported");
  return {{"rope_type", "llama3"},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_frequency_factor},
          {"high_freq_factor", rope.high_frequency_factor},
          {"original_max_position_embeddings", rope.original_max_positions}};
}

}  // namespace

void add_gguf_rope(const RopeMetadata& rope, const RopeFactors& factors, const std::string& where, Json& config) {
  const double theta = rope.theta.value_or(kTheta);
  config["rope_theta"] = theta;
  const bool longrope = !factors.short_text.empty() && !factors.long_text.empty();
  const bool scaled = !rope.scaling.empty() && rope.scaling != "none" && !(longrope && rope.scaling == "longrope");
  const bool tensors = longrope || !factors.always.empty();
  if (scaled && ((rope.scaling != "linear" && rope.scaling != "yarn") || tensors))
    fail(ErrorKind::unsupported, where, ": RoPE scaling '", rope.scaling, "' is not supported",
         tensors ? " beside a tensor of factors" : "; none, linear and yarn are");
  if (!longrope && rope.attention_factor)
    fail(ErrorKind::unsupported, where, ": 'rope.scaling.attn_factor' is supported beside LongRoPE's factors only");
  if (scaled) config["rope_scaling"] = {{"rope_type", rope.scaling}, {"factor", rope.factor.value_or(1)}};
  if (!factors.always.empty()) config["rope_scaling"] = llama3_scaling(factors.always, theta, where);
  if (longrope)
    config["rope_scaling"] = {{"rope_type", "longrope"},
                              {"short_factor", factors.short_text},
                              {"long_factor", factors.long_text},
                              {"attention_factor", rope.attention_factor.value_or(1)}};
  if (rope.original && (longrope || rope.scaling == "yarn"))
    config["rope_scaling"]["original_max_position_embeddings"] = *rope.original;
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/block_arithmetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "streamline/base/simd.h"
#include "streamline/io/quantize.h"

namespace streamline::merge {
namespace {

// Sums side by side, which the compiler turns into vectors without reordering anything else.
template <class Term>
double lane_sum(std::size_t count, const Term& term) {
  constexpr std::size_t kLanes = 8;
  double lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (; i < count; ++i) lanes[i % kLanes] += term(i);
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

// Three sums as lane_sum() makes them, each number read once.
SL_INLINE void add_products_body(const float* __restrict first, const float* __restrict second, std::size_t count,
                                 Products* sums) {
  constexpr std::size_t kLanes = 8;
  double firsts[kLanes] = {}, seconds[kLanes] = {}, both[kLanes] = {};
  const auto add_one = [&](std::size_t i, std::size_t lane) {
    const auto a = static_cast<double>(first[i]), b = static_cast<double>(second[i]);
    firsts[lane] += a * a;
    seconds[lane] += b * b;
    both[lane] += a * b;
  };
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) add_one(i + lane, lane);
  for (; i < count; ++i) add_one(i, i % kLanes);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sums->first += firsts[lane];
    sums->second += seconds[lane];
    sums->both += both[lane];
  }
}
SL_DISPATCH(add_products, (const float* first, const float* second, std::size_t count, Products* sums),
            (first, second, count, sums))

// Adds to `to` the values that have the sign of the sums, and their weight to `shares`.
SL_INLINE void add_elected_body(const float* __restrict values, const float* __restrict sums, float weight,
                                std::size_t count, float* __restrict to, float* __restrict shares) {
  for (std::size_t i = 0; i < count; ++i) {
    const float signed_value = sums[i] >= 0 ? values[i] : -values[i];
    to[i] += signed_value > 0 ? values[i] : 0;
    shares[i] += signed_value > 0 ? weight : 0;
  }
}
SL_DISPATCH(add_elected,
            (const float* values, const float* sums, float weight, std::size_t count, float* to, float* shares),
            (values, sums, weight, count, to, shares))

// Sets `beyond` where a value is not finite once rounded.
SL_INLINE void round_bf16_body(const float* __restrict values, std::size_t count, simd::Bf16* __restrict to,
                               unsigned* beyond) {
  constexpr unsigned kExponent = 0x7f80;
  unsigned found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    simd::store(to + i, values[i]);
    found |= (to[i] & kExponent) == kExponent ? 1u : 0u;
  }
  *beyond = found;
}
SL_DISPATCH(round_bf16, (const float* values, std::size_t count, simd::Bf16* to, unsigned* beyond),
            (values, count, to, beyond))

bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  unsigned infinite = 0;
  for (const float value : values) infinite |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent ? 1u : 0u;
  return infinite == 0;
}

}  // namespace

float divisor_of_weights(float sum) { return std::abs(sum) < 1e-8f ? 1 : sum; }

void scale(std::span<float> values, double factor) {
  if (factor == 1) return;
  const auto by = static_cast<float>(factor);
  for (float& value : values) value *= by;
}

void divide(std::span<float> values, double divisor) {
  const auto by = static_cast<float>(divisor);
  for (float& value : values) value /= by;
}

void add(std::span<const float> from, std::span<float> to) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

void add_scaled(std::span<const float> from, double factor, std::span<float> to) {
  const auto by = static_cast<float>(factor);
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += by * from[i];
}

void subtract(std::span<const float> from, std::span<float> to) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] -= from[i];
}

void interpolate(std::span<const float> base, double share, std::span<float> to) {
  const auto by = static_cast<float>(share);
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = base[i] + by * (to[i] - base[i]);
}

void mix_all(const Parts& parts, std::span<const double> weights, bool normalise, std::span<float> to) {
  std::ranges::copy(parts.front(), to.begin());
  auto total = static_cast<float>(weights.front());
  for (std::size_t i = 1; i < parts.size(); ++i) {
    add(parts[i], to);
    total += static_cast<float>(weights[i]);
  }
  if (normalise) divide(to, divisor_of_weights(total));
}

void mix_elected(const Parts& parts, std::span<const double> weights, bool normalise, std::span<float> to) {
  std::vector<float> sums(to.size()), shares(to.size());
  for (const std::vector<float>& part : parts) add(part, sums);
  std::ranges::fill(to, 0.0f);
  for (std::size_t part = 0; part < parts.size(); ++part)
    add_elected(parts[part].data(), sums.data(), static_cast<float>(weights[part]), to.size(), to.data(),
                shares.data());
  if (!normalise) return;
  for (std::size_t i = 0; i < to.size(); ++i) to[i] /= shares[i] == 0 ? 1 : shares[i];
}

double absolute_sum(std::span<const float> values) {
  return lane_sum(values.size(), [&](std::size_t i) { return std::abs(static_cast<double>(values[i])); });
}

double squared_sum(std::span<const float> values) {
  return lane_sum(values.size(), [&](std::size_t i) {
    const auto value = static_cast<double>(values[i]);
    return value * value;
  });
}

Products products_of(std::span<const float> first, std::span<const float> second) {
  Products sums;
  add_products(first.data(), second.data(), first.size(), &sums);
  return sums;
}

bool round_to(DType dtype, std::span<const float> values, std::span<std::byte> to) {
  if (dtype != DType::bf16) return all_finite(values) && quantize(dtype, values, to);
  unsigned beyond = 0;
  round_bf16(values.data(), values.size(), reinterpret_cast<simd::Bf16*>(to.data()), &beyond);
  return beyond == 0;
}

}  // namespace streamline::merge

// SPDX-License-Identifier: Apache-2.0
// The angle follows from t = (1 - cosine) / 2 = sin²(angle / 2): no precision is lost where vectors nearly coincide.
#include "streamline/prune/angles.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"

namespace streamline {
namespace {

constexpr float kTwoOverPi = 2 / std::numbers::pi_v<float>;

// asin(sqrt(u)) / sqrt(u) for u in 0 … 1/2: Chebyshev interpolation of degree 8, 7e-8 off at most in fp32.
SL_INLINE float arc_over_chord(float u) {
  float p = 0.123913489F;
  p = p * u - 0.135916263F;
  p = p * u + 0.107400008F;
  p = p * u - 0.00702057453F;
  p = p * u + 0.0358142368F;
  p = p * u + 0.0440916158F;
  p = p * u + 0.0750275701F;
  p = p * u + 0.166666135F;
  return p * u + 1.0F;
}

SL_INLINE void add_distances_body(const float* versed, double* sums, std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) {
    const float t = 0.5F * versed[k];
    const float u = t > 0.5F ? 1 - t : t;  // beyond a right angle: what is left of the half turn
    const float distance = __builtin_sqrtf(u) * arc_over_chord(u) * kTwoOverPi;
    sums[k] += static_cast<double>(t > 0.5F ? 1 - distance : distance);
  }
}
SL_DISPATCH(add_distances, (const float* versed, double* sums, std::int64_t count), (versed, sums, count))

// Of vectors of length 1: the chord between them and its complement give the angle (Kahan).
double angle(const std::vector<double>& u, const std::vector<double>& v) {
  constexpr std::size_t kLanes = 8;  // partial sums, so that the loop vectorises
  double apart[kLanes] = {}, together[kLanes] = {};
  for (std::size_t first = 0; first < u.size(); first += kLanes) {
    const std::size_t lanes = std::min(kLanes, u.size() - first);
    for (std::size_t k = 0; k < lanes; ++k) {
      const double difference = u[first + k] - v[first + k], sum = u[first + k] + v[first + k];
      apart[k] += difference * difference;
      together[k] += sum * sum;
    }
  }
  const double apart_squared = std::accumulate(apart, apart + kLanes, 0.0);
  const double together_squared = std::accumulate(together, together + kLanes, 0.0);
  return 2 * std::atan2(std::sqrt(apart_squared), std::sqrt(together_squared));
}

// To length 1; false where there is no length.
bool normalise(std::vector<double>& vector) {
  const double norm = std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
  if (norm == 0) return false;
  for (double& value : vector) value /= norm;
  return true;
}

}  // namespace

void add_angular_distances(const float* versed, double* sums, std::int64_t count) {
  add_distances(versed, sums, count);
}

std::vector<double> angular_distances(std::vector<std::vector<double>> vectors) {
  const std::size_t count = vectors.size();
  std::vector<bool> has_length(count);
  for (std::size_t i = 0; i < count; ++i) has_length[i] = normalise(vectors[i]);
  std::vector<double> distances(count * count);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = i + 1; j < count; ++j) {
      SL_ASSERT(vectors[i].size() == vectors[j].size());
      const bool defined = has_length[i] && has_length[j];
      distances[i * count + j] = defined ? angle(vectors[i], vectors[j]) / std::numbers::pi : 0.5;
      distances[j * count + i] = distances[i * count + j];
    }
  return distances;
}

}  // namespace streamline

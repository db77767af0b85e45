// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/magnitude_at.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>

#include "streamline/base/error.h"
#include "streamline/base/magnitude_counts.h"

namespace streamline::sparse {
namespace {

constexpr std::int64_t kCountsOfThread = 1 << 17;  // numbers that are worth another thread, and its counts

template <class Element>
MagnitudeCounts::Counts counted_by_all(const MagnitudeCounts& magnitudes, const Element* values, std::int64_t count) {
  MagnitudeCounts::Counts total = magnitudes.empty();
  std::mutex mutex;
  at::parallel_for(0, count, kCountsOfThread, [&](std::int64_t first, std::int64_t last) {
    MagnitudeCounts::Counts own = magnitudes.empty();
    magnitudes.count(std::span(values + first, static_cast<std::size_t>(last - first)), own);
    const std::lock_guard lock(mutex);
    std::transform(total.begin(), total.end(), own.begin(), total.begin(), std::plus());
  });
  return total;
}

template <class Element>
float magnitude_of_place(const Element* values, std::int64_t count, std::int64_t place) {
  SL_ASSERT(place >= 0 && place < count);
  MagnitudeCounts magnitudes;
  magnitudes.narrow(counted_by_all(magnitudes, values, count), count - place);
  const float found = magnitudes.find(counted_by_all(magnitudes, values, count)).magnitude;
  return std::isnan(found) ? INFINITY : found;
}

}  // namespace

float magnitude_at(const float* values, std::int64_t count, std::int64_t place) {
  return magnitude_of_place(values, count, place);
}
float magnitude_at(const simd::Bf16* values, std::int64_t count, std::int64_t place) {
  return magnitude_of_place(values, count, place);
}

}  // namespace streamline::sparse

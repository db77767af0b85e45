// SPDX-License-Identifier: Apache-2.0
// Means with standard errors, accumulated in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>

#include "streamline/base/json.h"

namespace streamline {

struct Estimate {
  double value = 0;
  std::optional<double> standard_error = {};  // of one there is none
  std::int64_t count = 0;                     // of what is independent, where it is known
};

// Of fewer independent pairs no verdict is given: their spread says little of itself. Of 8 the interval of 1.96
// standard errors holds 91 % instead of 95, of 4 it holds 86 (Student's t).
inline constexpr std::int64_t kFewestPairs = 8;

// {"value": …, "standard_error": …}, the error null where there is none.
inline Json to_json(const Estimate& estimate) {
  return {{"value", estimate.value},
          {"standard_error", estimate.standard_error ? Json(*estimate.standard_error) : Json()}};
}

// Of independent estimates, each counted the same; without an error where one of them has none. `count` is their sum.
inline Estimate mean_of(std::span<const Estimate> estimates) {
  const auto number = static_cast<double>(estimates.size());
  Estimate mean;
  double squares = 0;
  bool known = true;
  for (const Estimate& one : estimates) {
    mean.value += one.value / number;
    mean.count += one.count;
    known = known && one.standard_error;
    const double error = one.standard_error.value_or(0);
    squares += error * error;
  }
  if (known) mean.standard_error = std::sqrt(squares) / number;
  return mean;
}

// Welford's running mean and variance.
class MeanAccumulator {
 public:
  void add(double x) {
    ++count_;
    const double delta = x - mean_;
    mean_ += delta / static_cast<double>(count_);
    squares_ += delta * (x - mean_);
  }
  std::int64_t count() const { return count_; }
  double mean() const { return mean_; }
  // Sample variance (divided by count - 1); 0 for fewer than two values.
  double variance() const { return count_ > 1 ? squares_ / static_cast<double>(count_ - 1) : 0; }
  Estimate estimate() const {
    Estimate result{.value = mean_, .count = count_};
    if (count_ > 1) result.standard_error = std::sqrt(variance() / static_cast<double>(count_));
    return result;
  }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

}  // namespace streamline

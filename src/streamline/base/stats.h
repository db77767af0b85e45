// SPDX-License-Identifier: Apache-2.0
// Means with standard errors, accumulated in double.
#pragma once

#include <cmath>
#include <cstdint>

#include "streamline/base/json.h"

namespace streamline {

struct Estimate {
  double value = 0;
  double standard_error = 0;
  std::int64_t count = 0;  // of what is independent, where it is known; of one there is no error

  bool has_error() const { return count != 1; }
};

// {"value": …, "standard_error": …}, the error null where there is none.
inline Json to_json(const Estimate& estimate) {
  return {{"value", estimate.value}, {"standard_error", estimate.has_error() ? Json(estimate.standard_error) : Json()}};
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
    return {mean_, count_ > 0 ? std::sqrt(variance() / static_cast<double>(count_)) : 0, count_};
  }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

}  // namespace streamline

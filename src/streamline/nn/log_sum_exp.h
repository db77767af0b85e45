// SPDX-License-Identifier: Apache-2.0
// The softmax's normaliser over a vocabulary that comes in pieces.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "streamline/base/simd.h"

namespace streamline {

// log(sum of e^x) over values seen so far, as their largest and the sum of e^(x - largest) in double.
struct LogSumExp {
  double largest = -std::numeric_limits<double>::infinity();
  double sum = 0;

  double value() const { return largest + std::log(sum); }
};

// Adds `values` in one pass for the largest and one for the sum; exponentials in fp32 (2 ulp), added in double: a
// float32 sum over 262,144 entries is off by 2e-5 nats. NaN and +infinity make value() NaN.
void add(LogSumExp& total, std::span<const float> values);
void add(LogSumExp& total, std::span<const simd::Bf16> values);

}  // namespace streamline

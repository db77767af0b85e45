// SPDX-License-Identifier: Apache-2.0
// Loops over the numbers of a block, each product and sum rounded to float32 as mergekit does; sums of a block are
// kept in double.
#pragma once

#include <span>
#include <vector>

#include "streamline/io/dtype.h"

namespace streamline::merge {

void scale(std::span<float> values, double factor);
void divide(std::span<float> values, double divisor);
void add(std::span<const float> from, std::span<float> to);
void add_scaled(std::span<const float> from, double factor, std::span<float> to);
void subtract(std::span<const float> from, std::span<float> to);                   // to -= from
void interpolate(std::span<const float> base, double share, std::span<float> to);  // base + share * (to - base)

// What a sum of task vectors is divided by: the sum of their weights, or, where that cancels, 1.
float divisor_of_weights(float sum);

using Parts = std::vector<std::vector<float>>;  // task vectors, each times its weight

// Their sum, divided by that of the weights if `normalise` says so.
void mix_all(const Parts& parts, std::span<const double> weights, bool normalise, std::span<float> to);
// Of each entry the sum of those that have the sign of the sum of all (zero counts as positive), divided by their
// weights if `normalise` says so.
void mix_elected(const Parts& parts, std::span<const double> weights, bool normalise, std::span<float> to);

double absolute_sum(std::span<const float> values);
double squared_sum(std::span<const float> values);
// Of two tensors with themselves and with each other.
struct Products {
  double first = 0, second = 0, both = 0;
};
Products products_of(std::span<const float> first, std::span<const float> second);

// Writes the values in a type, rounded once. Returns whether each is a finite number of it. Errors: unsupported for
// types other than float32, float16 and bfloat16.
bool round_to(DType dtype, std::span<const float> values, std::span<std::byte> to);

}  // namespace streamline::merge

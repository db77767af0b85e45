// SPDX-License-Identifier: Apache-2.0
// Which entries of a task vector take part in a merge: those of some size, or those that chance picks.
#pragma once

#include <cstdint>
#include <span>

namespace streamline::merge {

// Puts zero for the values whose magnitude's bits, as a float32 without its sign, are fewer than these; NaN stays.
void drop_below(std::uint32_t bits, std::span<float> values);

// Of the entries from `first` on of a tensor: all bits where one is among the random share, else none. The same at
// every run and thread count.
void draw_entries(std::uint64_t seed, std::uint64_t first, double density, std::span<std::uint32_t> masks);

}  // namespace streamline::merge

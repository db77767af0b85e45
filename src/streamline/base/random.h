// SPDX-License-Identifier: Apache-2.0
// A seeded generator whose numbers are the same on every platform (std distributions are not).
#pragma once

#include <cstdint>
#include <vector>

namespace streamline {

// SplitMix64 (Steele, Lea, Flood 2014).
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound); bound > 0
  double uniform();                          // in [0, 1)
  double normal();                           // standard normal, Box-Muller
  std::uint64_t state() const { return state_; }

 private:
  std::uint64_t state_;
};

// A random order of 0 … count-1 (Fisher-Yates).
std::vector<std::int64_t> permutation(std::int64_t count, Rng& rng);

}  // namespace streamline

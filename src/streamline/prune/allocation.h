// SPDX-License-Identifier: Apache-2.0
// How much of each layer goes, so that as much goes of all as was asked for: a metric of the layers mapped linearly to
// ratios (AlphaPruning, Lu et al., arXiv 2410.10912, section 3; normalisation of the released code).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace streamline {

// One entry a part, a layer or a matrix: what it is measured by (larger: more goes), and how many weights it has.
struct AllocationPart {
  double metric = 0;
  std::int64_t size = 0;
};

struct Allocation {
  std::vector<double> ratios;             // of each part's weights that go, in [0, cap]
  double spread = 0;                      // what was used
  double eta = 0;                         // the factor that makes the weighted mean what was asked for
  double largest_spread = 0;              // up to which no ratio is above the cap; infinite where none ever is
  std::vector<std::size_t> clipped = {};  // parts that stand at the cap
};

struct AllocationOptions {
  double ratio = 0.5;   // of all weights
  double spread = 0.3;  // tau of the paper, epsilon of its code: raw ratios lie in [1 - spread, 1 + spread]
  double cap = 1;       // no part loses more
  bool clip = false;    // parts above the cap stand there and the others lose more; else that is an error
};

// Errors: usage for ratios, spreads and caps that cannot be, whatever the parts are.
void check_allocation(const AllocationOptions& options);

// Parts whose metrics are all equal lose the same. Errors: those of check_allocation(); usage for a spread that
// leads above the cap, naming the largest that does not.
Allocation allocate(const std::vector<AllocationPart>& parts, const AllocationOptions& options);

// What a part would lose of each of `units` equal pieces, as whole pieces: the sum, weighted by size, is as near to the
// wanted as it can be (largest remainders). At most `units` each.
std::vector<std::int64_t> whole_units(const std::vector<double>& ratios, const std::vector<AllocationPart>& parts,
                                      std::int64_t units);

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Labels of logarithmic axes.
#pragma once

#include <cstddef>
#include <vector>

namespace streamline::report {

// Round numbers between low and high (both above 0), about as many as an axis has room for; evenly spaced where the two
// are too close for a decade's own.
std::vector<double> round_values(double low, double high, std::size_t room);

}  // namespace streamline::report

// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/axis.h"

#include <cmath>

namespace streamline::report {

namespace {

// Multiples of the smallest of 1, 2 and 5 times a power of ten of which there is room for all.
std::vector<double> evenly(double low, double high, std::size_t room) {
  std::vector<double> values;
  const double least = (high - low) / static_cast<double>(room);
  if (!(least > 0) || !std::isfinite(least)) return values;
  double step = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {2.0, 2.5, 2.0}) {  // 1, 2, 5, 10
    if (step >= least) break;
    step *= factor;
  }
  for (double k = std::ceil(low / step); k * step <= high; ++k) values.push_back(k * step);
  return values;
}

}  // namespace

std::vector<double> round_values(double low, double high, std::size_t room) {
  std::vector<double> fine, coarse, decades;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high && std::isfinite(decade); decade *= 10)
    for (const double step : {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}) {
      if (decade * step < low || decade * step > high) continue;
      fine.push_back(decade * step);
      if (step == 1 || step == 2 || step == 5) coarse.push_back(decade * step);
      if (step == 1) decades.push_back(decade);
    }
  if (fine.size() < 2) return evenly(low, high, room);
  return fine.size() <= room ? fine : coarse.size() <= room ? coarse : decades;
}

}  // namespace streamline::report

// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/axis.h"

#include <cmath>

namespace streamline::report {

std::vector<double> round_values(double low, double high, std::size_t room) {
  std::vector<double> fine, coarse, decades;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high && std::isfinite(decade); decade *= 10)
    for (const double step : {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}) {
      if (decade * step < low || decade * step > high) continue;
      fine.push_back(decade * step);
      if (step == 1 || step == 2 || step == 5) coarse.push_back(decade * step);
      if (step == 1) decades.push_back(decade);
    }
  return fine.size() <= room ? fine : coarse.size() <= room ? coarse : decades;
}

}  // namespace streamline::report

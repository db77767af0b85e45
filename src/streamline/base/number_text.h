// SPDX-License-Identifier: Apache-2.0
// How numbers are written for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace streamline {

std::string fixed(double value, int digits);        // so many behind the point: 0.250
std::string significant(double value, int digits);  // 0.00123, 12.3, 123; never an exponent for ordinary sizes
std::string general(double value, int digits);      // as printf's %g: 0.00123, 12.3, 1.23e+03, no zeros at the end

std::string plural(std::int64_t count, std::string_view unit);   // "thread" of one, "threads" of any other number
std::string counted(std::int64_t count, std::string_view unit);  // "1 thread", "2 threads"

}  // namespace streamline

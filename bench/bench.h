// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: their command lines, their errors, how they time and what they print.
#pragma once

#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "arguments.h"
#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/base/resources.h"

namespace streamline {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The median of so many runs, after one that does not count.
inline double median_seconds(std::int64_t repetitions, const std::function<void()>& work) {
  work();
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < repetitions; ++i) {
    const Stopwatch watch;
    work();
    seconds.push_back(watch.seconds());
  }
  return median(std::move(seconds));
}

inline void print_line(const Json& json) { std::cout << json.dump() << std::endl; }

// Parses the words into what `declare` declares and runs `work`; the program's exit status.
inline int run_benchmark(int count, char** words, const std::string& name, const std::string& about,
                         const std::function<void(cli::Arguments)>& declare, const std::function<void()>& work) {
  try {
    cli::Program program(name, about, "");
    declare(program.arguments());
    if (const auto help = program.parse({words, words + count}))
      std::cout << *help;
    else
      work();
    return 0;
  } catch (const Error& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return exit_status(error.kind());
  }
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// How fast each stored type becomes float32, beside copying as many bytes as come out.
//   dequantize_bench [THREADS] [MEGABYTES]     (2 threads, 256 MB of floats)
// Prints GB/s of output, and its share of the copy's.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "streamline/base/resources.h"
#include "streamline/io/dequantize.h"

namespace streamline {
namespace {

constexpr int kRepetitions = 7;
constexpr std::size_t kUnit = 256;  // elements: whole blocks of every type

// Runs `work(first, count)` over `units` on the threads; the best time in seconds.
double best_seconds(int threads, std::size_t units, const std::function<void(std::size_t, std::size_t)>& work) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    const Stopwatch watch;
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
      const std::size_t first = units * t / threads, last = units * (t + 1) / threads;
      running.emplace_back([&, first, last] { work(first, last - first); });
    }
    for (std::thread& thread : running) thread.join();
    best = std::min(best, watch.seconds());
  }
  return best;
}

void run(int threads, std::size_t megabytes) {
  const std::size_t units = megabytes * 1'000'000 / sizeof(float) / kUnit;
  // All bytes the same, one that is an ordinary number as scale of any type: subnormal ones would be what is timed.
  std::vector<float> from(units * kUnit), to(units * kUnit, 2.0f);
  std::memset(from.data(), 0x3c, from.size() * sizeof(float));
  const double bytes = static_cast<double>(to.size() * sizeof(float));
  const double copy = best_seconds(threads, units, [&](std::size_t first, std::size_t count) {
    std::memcpy(to.data() + first * kUnit, from.data() + first * kUnit, count * kUnit * sizeof(float));
  });
  std::printf("copy    %6.2f GB/s on %d threads\n", bytes / copy / 1e9, threads);
  for (int i = 0; i <= static_cast<int>(DType::q1_0); ++i) {
    const auto type = static_cast<DType>(i);
    if (!can_dequantize(type)) continue;
    const std::size_t unit = kUnit / dtype_block(type).elements * dtype_block(type).bytes;
    const auto blocks = std::as_bytes(std::span(from)).first(units * unit);
    const double seconds = best_seconds(threads, units, [&](std::size_t first, std::size_t count) {
      dequantize(type, blocks.subspan(first * unit, count * unit), std::span(to).subspan(first * kUnit, count * kUnit));
    });
    std::printf("%-7s %6.2f GB/s, %.2f of the copy\n", std::string(dtype_name(type)).c_str(), bytes / seconds / 1e9,
                copy / seconds);
  }
}

}  // namespace
}  // namespace streamline

int main(int count, char** arguments) {
  streamline::run(count > 1 ? std::atoi(arguments[1]) : 2, count > 2 ? std::strtoul(arguments[2], nullptr, 10) : 256);
}
